"""How long patchify takes and how much memory it needs, as the number of images grows.

`python -m bench.patchify` cuts the classic recipe's patches (40x40, stride 40, scales 1, 0.8, 0.7, 0.5) from the 500
images of BSDS500 (from DENOISELAB_MIRROR or the network; photographs of the same size that ship with packages where
neither is at hand, and it says so) once, four times and sixteen times over. Each size runs in a process of its own,
whose peak memory is measured. Prints a table and one JSON line.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, "src")

from denoiselab import patches
from denoiselab.config import Patches
from denoiselab.data import manifest

CLASSIC = {"size": 40, "stride": 40, "val_size": 40, "scales": [1.0, 0.8, 0.7, 0.5], "shard_mib": 1024}


def fetched(folder: Path) -> str:
    """500 images of 481x321 into `folder`; says which."""
    from denoiselab.data.fetch import fetch
    from tests.conftest import composed, photograph

    try:
        fetch(composed("data=bsds500").data, folder)
        return "the 500 images of BSDS500"
    except ValueError as error:
        print(f"no BSDS500: {error}", file=sys.stderr)
    from denoiselab import images

    rows = []
    for n in range(500):
        pixels = photograph(("astronaut", "coffee", "motorcycle_left")[n % 3])[
            n // 25 : n // 25 + 321, n % 19 : n % 19 + 481
        ]
        images.write_png(folder / f"{n}.png", pixels)
        height, width = pixels.shape[:2]
        rows.append(manifest.Row(str(n), "train", "", "", f"{n}.png", "", "", "", "", width, height, ""))
    manifest.write(folder, rows)
    return "500 crops of photographs inside scikit-image"


def cut(raw: Path, times: int, out: Path) -> None:
    """Cut `times` times the images of `raw` and print seconds, patches and the peak of memory."""
    rows = manifest.read(raw)
    again = [
        manifest.Row(**{**vars(row), "image": f"{row.image}-{n}", "split": "train", "path": str(raw / row.path)})
        for n in range(times)
        for row in rows
    ]
    folder = out / "raw"
    manifest.write(folder, again)
    started = time.perf_counter()
    counts = patches.cut(folder, Patches.model_validate(CLASSIC), 3, out / "patches")
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"images": len(again), "patches": counts["train"], "seconds": seconds, "peak_mib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16], help="how many times over")
    parser.add_argument("--one", nargs=3, metavar=("RAW", "TIMES", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        raw, times, out = arguments.one
        return cut(Path(raw), int(times), Path(out))
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch, "raw").resolve()
        what = fetched(raw)
        results = []
        print(
            f"patchify, classic recipe, {what}\n\n"
            "| images | patches | s | patches/s | peak MiB |\n|--:|--:|--:|--:|--:|"
        )
        for times in arguments.times:
            with tempfile.TemporaryDirectory(dir=scratch) as out:
                command = [sys.executable, "-m", "bench.patchify", "--one", str(raw), str(times), out]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            results.append(found)
            seconds, count = found["seconds"], found["patches"]
            row = (
                f"{found['images']:,}",
                f"{count:,}",
                f"{seconds:.1f}",
                f"{count / seconds:,.0f}",
                f"{found['peak_mib']:.0f}",
            )
            print(f"| {' | '.join(row)} |")
    print(json.dumps({"bench": "patchify", "data": what, "results": results}))
    return None


if __name__ == "__main__":
    main()
