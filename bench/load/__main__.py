"""Fifty clients at once, on this machine alone, who ask the page and the served model for good, bad and huge pictures.

    python -m bench.load [--clients 50] [--seconds 120] [--servers page model] [--note WORDS]
                         [--out reports/benchmarks/load.md]

The clients are threads of this process: they speak with the page as a browser does, without drawing it, and take a
share of the processor. Each checks that what it gets is its own. The exit code is 1 where a target is missed.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench import _machine
from bench._show import Target, table
from bench.load import model, page
from bench.load.measured import Measured
from denoiselab.runtime import files

OUT = Path("reports/benchmarks/load.md")
SERVERS = {"page": page.measure, "model": model.measure}
READING = """\
Each client sends one upload after another and looks at the answer for half a second to three seconds: most are
pictures of 0.03 megapixels, some of a megapixel, some are no pictures, cut off, of more pixels or bytes than the server
takes, some carry a noise level that there is not, and some visitors close the page before the answer. One client begins
with a picture of six megapixels, behind which all others wait: both servers compute one picture at a time.

`Answered as due`: with the picture, or with why there is none; the seconds are those of these answers, from the moment
of sending. `Told to come later`: the page's line is full (20 wait), or the model's answer took longer than its minute
(`--timeout`). `Wrong`: anything else, such as a refused good picture, a picture of another size or content than the
one sent, or one client's file name in what another gets (every client sends sizes, contents and names of its own), and
no answer at all. `Crashes`: the end of the server, and each traceback in its output.

Memory is what is resident of the server's processes, looked at ten times a second; the bound is what the idle server
takes, a model's tile, what is computed of the largest picture sent, and an allowance for each client."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench.load", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=50, help="at once; 50")
    parser.add_argument("--seconds", type=float, default=120, help="that each server is asked for; 120")
    parser.add_argument("--servers", nargs="+", choices=[*SERVERS], default=[*SERVERS], metavar="SERVER")
    parser.add_argument("--note", default="", help="a sentence for the page, such as: Beside other work.")
    parser.add_argument("--out", type=Path, default=OUT, help=f"the page; {OUT}")
    args = parser.parse_args(argv)
    machine, found = _machine.describe(), []
    for server in args.servers:
        with tempfile.TemporaryDirectory() as folder:
            found.append(SERVERS[server](args.clients, args.seconds, Path(folder)))
        print(f"{table(found[-1].rows())}\n", *found[-1].targets(), "", sep="\n", flush=True)
        for (kind, said), times in Counter((answer.kind, answer.said) for answer in found[-1].wrong).items():
            print(f"wrong, {times} times: {kind}: {said}", file=sys.stderr)
    text = rendered(machine, found, f"with {args.clients} clients for {args.seconds:g} s on each server", args.note)
    files.write_text(args.out, text)
    print(args.out)
    return int(not all(target.met for measured in found for target in measured.targets()))


def rendered(machine: dict[str, str], found: Sequence[Measured], how: str, note: str) -> str:
    """The page, in markdown."""
    about = [{"machine": key, "": value} for key, value in machine.items()]
    targets: list[Target] = [target for measured in found for target in measured.targets()]
    return "\n\n".join(
        [
            "# Load on the page and on the served model",
            f"Made by `python -m bench.load` {how}. {note}".rstrip(),
            table(about),
            "## Targets",
            "\n".join(map(str, targets)),
            "## Answers",
            table([row for measured in found for row in measured.rows()]),
            READING + "\n",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
