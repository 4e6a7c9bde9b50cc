"""Stage evaluate@MODEL: score one trained model on the test images."""

import sys

from denoiselab import config, evaluation, tracking
from pipeline import run


def main() -> None:
    name = sys.argv[1]
    params = config.load()
    summary = evaluation.evaluate(params, name)
    tracking.log_evaluation(name, summary, evaluation.pictures(params, name))


if __name__ == "__main__":
    run(main)
