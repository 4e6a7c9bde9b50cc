"""Run recipes, each in a clone of HEAD, and publish their reports as reports/recipes/<name>.md.

    DENOISELAB_MIRROR=/mirror python -m bench.recipes [NAME ...]

Default: all recipes. All numbers come from the run; nothing is edited by hand.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGES = Path("reports/recipes")
RUNS = {
    "hair": ["recipe=hair"],
    "hair_polyu": ["recipe=hair", "data=polyu", "noise=hair_mix"],
    "stl10": ["recipe=stl10"],
    "stl10_harder": ["recipe=stl10_harder"],
    "animals": ["recipe=animals"],
    "animals_sr": ["recipe=animals_sr"],
    "faces": ["recipe=faces"],
    "bsds500": ["recipe=bsds500"],
    "cpu_budget": ["recipe=cpu_budget"],
    "small": ["recipe=small"],
    "mismatch": ["recipe=mismatch"],
    "league_colour": ["recipe=league_colour"],
    "league_gray": ["recipe=league_gray"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    args = parser.parse_args()
    names = args.names or list(RUNS)
    if unknown := sorted({*names} - {*RUNS}):
        parser.error(f"unknown: {', '.join(unknown)}; choose from: {', '.join(RUNS)}")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            _run(Path(folder) / "clone", RUNS[name])
            publish(Path(folder) / "clone" / "reports", name, RUNS[name])
        print(f"{name}: {(time.perf_counter() - started) / 60:.1f} min, {PAGES / name}.md", flush=True)


def _run(clone: Path, overrides: list[str]) -> None:
    subprocess.run(["git", "clone", "-q", ".", str(clone)], check=True)
    dvc = Path(sys.executable).with_name("dvc")
    settings = [word for override in overrides for word in ("-S", override)]
    subprocess.run([str(dvc), "exp", "run", *settings], cwd=clone, check=True, stdout=subprocess.DEVNULL)


def publish(reports: Path, name: str, overrides: list[str]) -> None:
    """Copy a report, its plots and its costs to reports/recipes/. Leaves out the photos, whose rights others hold."""
    own = PAGES / name
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    others = [reports / file for file in ("cost.md", "pairs.csv", "comparison.tex", "references.bib")]
    plots = [path for folder in ("figures", "tradeoffs") for path in sorted((reports / folder).iterdir())]
    for path in [*plots, *others]:
        shutil.copyfile(path, own / path.name)
    cost = (own / "cost.md").read_text(encoding="utf-8").replace("](tradeoffs/", "](")
    (own / "cost.md").write_text(cost, encoding="utf-8", newline="\n")
    text = (reports / "report.md").read_text(encoding="utf-8")
    # captions and photos
    text = re.sub(r"((\*\*[^\n]*\*\*|Validation patches[^\n]*)\n\n)?(!\[[^\n]*\]\(photos/[^\n]*\n)+\n", "", text)
    text = re.sub(
        r"(?<=## Example images\n\n)[^\n]*", "Photos are not published here; the report of your own run has them.", text
    )
    text = re.sub(r"Scores of every image as CSV: [^\n]*\n\n", "", text)
    text = re.sub(r"## Best, median and worst\n.*?(?=\n## )", "", text, flags=re.DOTALL)
    text = re.sub(r"## How to reproduce\n.*?\n(?=## )", "", text, flags=re.DOTALL)  # the first line has the command
    title, _, rest = text.partition("\n")
    command = " ".join(["dvc exp run", *(f"-S {override}" for override in overrides)])
    linked = re.sub(r"\]\((?:figures/|tradeoffs/)?([^)/]+\.(?:png|svg|md|csv|tex|bib))\)", rf"]({name}/\1)", rest)
    linked = linked.replace("](../docs/", "](../../docs/")
    (PAGES / f"{name}.md").write_text(f"{title}\n\nMade by `{command}`.\n{linked}", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
