"""Stage train@MODEL: train or calibrate one entry of params.models."""

from denoiselab import config, experiment, planning, tracking
from pipeline import argument, run


def main() -> None:
    plan = planning.plan(config.load(), argument("the model's name in params.models"))
    with tracking.training(plan.name, plan.card(), plan.fingerprint) as log:
        experiment.run(plan, log)


if __name__ == "__main__":
    run(main)
