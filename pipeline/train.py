"""Stage train@MODEL: train or calibrate one entry of params.models, once a seed."""

from denoiselab import config, devices, experiment, planning, tracking
from pipeline import argument, run


def main() -> None:
    name = argument("the model's name in params.models")
    params = config.load()
    devices.claim(params.training(name).device)
    plans = planning.plans(params, name)
    results = []
    for plan in plans:
        with tracking.training(plan.name, plan.card(), plan.fingerprint, plan.folder) as log:
            results.append(experiment.run(plan, log))
    experiment.record(plans, results)


if __name__ == "__main__":
    run(main)
