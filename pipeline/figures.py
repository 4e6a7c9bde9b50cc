"""Write the report's plots for papers, into reports/vector/: `python -m pipeline.figures pdf` or `svg`."""

from denoiselab import config, report
from denoiselab.runtime.errors import UserError
from pipeline import argument, run

FORMATS = ("pdf", "svg")


def main() -> None:
    if (form := argument("pdf or svg")) not in FORMATS:
        raise UserError(f"{form}: choose from: {', '.join(FORMATS)}")
    print(*report.vector_figures(config.load(), f".{form}"), sep="\n")


if __name__ == "__main__":
    run(main)
