"""Stage train@MODEL: train or calibrate one entry of params.models."""

import sys

from denoiselab import config, experiment, tracking
from pipeline import run


def main() -> None:
    plan = experiment.plan(config.load(), sys.argv[1])
    with tracking.training(plan.name, plan.card(), plan.fingerprint()) as log:
        experiment.run(plan, log)


if __name__ == "__main__":
    run(main)
