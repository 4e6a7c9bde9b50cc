"""Load test on the loopback address: 50 clients send valid, invalid and huge images to the web page and the model.

    python -m bench.load [--clients 50] [--seconds 120] [--servers page model] [--note WORDS]
                         [--out reports/benchmarks/load.md]

Clients are threads of this process, so they use processor time, too. They use the protocol of a browser but do not
render the page. Each checks that the answer belongs to its own request. The exit code is 1 if a target is missed.
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
NOTES = """\
Each client sends one upload after another, 0.5 to 3 s after the previous answer. Most are images of 0.03 megapixels,
some of one megapixel. Others are invalid: not an image, truncated, too many pixels or bytes, an invalid noise level.
Some clients close the page before the answer arrives. One client starts with an image of six megapixels, and all
others wait for it, because both servers process one image at a time.

`Correct`: the restored image, or the right error message; times are those of correct answers, from sending the
request. `Busy`: the page's queue is full (20 images), or the model took longer than one minute (`--timeout`). `Wrong`:
anything else, for example a valid image rejected, an image of another size or content, another client's file name, or
no answer. (Every client sends its own sizes, contents and names.) `Crashes`: the server exited, plus the number of
tracebacks in its output.

Memory is the resident memory of the server's processes, sampled ten times per second. Its limit is the memory of the
idle server plus one tile of the model, the processing of the largest image sent, and an allowance per client."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench.load", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=50, help="number of simultaneous clients (default: 50)")
    parser.add_argument("--seconds", type=float, default=120, help="duration per server (default: 120)")
    parser.add_argument("--servers", nargs="+", choices=[*SERVERS], default=[*SERVERS], metavar="SERVER")
    parser.add_argument("--note", default="", help='a sentence for the page, such as "The machine was busy."')
    parser.add_argument("--out", type=Path, default=OUT, help=f"output file (default: {OUT})")
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
    """The page in Markdown."""
    about = [{"machine": key, "": value} for key, value in machine.items()]
    targets: list[Target] = [target for measured in found for target in measured.targets()]
    return "\n\n".join(
        [
            "# Load test of the web page and the served model",
            f"Made by `python -m bench.load` {how}. {note}".rstrip(),
            table(about),
            "## Targets",
            "\n".join(map(str, targets)),
            "## Answers",
            table([row for measured in found for row in measured.rows()]),
            NOTES + "\n",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
