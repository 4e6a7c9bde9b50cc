"""Stage compare: compare the evaluated models in tables, figures and the report."""

from denoiselab import config, report
from denoiselab.runtime import paths
from pipeline import run


def main() -> None:
    report.write(config.load())
    print(f"report: {paths.REPORT_MD} and {paths.REPORT_HTML}")


if __name__ == "__main__":
    run(main)
