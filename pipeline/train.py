"""Stage train@MODEL: train or calibrate one entry of params.models, once a seed."""

from contextlib import AbstractContextManager, nullcontext

from denoiselab import config, tracking
from denoiselab.runtime import distributed
from denoiselab.training import jobs, runner
from denoiselab.training.loop import Log
from pipeline import argument, launcher, run


def main() -> None:
    name = argument("the model's name in params.models")
    params = config.load()
    several = jobs.trains(params, name)
    with launcher.processes(params, name, "pipeline.train", several=several):
        plans = jobs.plans(params, name)
        results = []
        for plan in plans:
            with tracked(plan) as log:
                results.append(runner.run(plan, log))
        if distributed.first():
            runner.record(plans, results)


def tracked(plan: jobs.Plan) -> AbstractContextManager[Log]:
    """The training's run, of the first process."""
    if not distributed.first():
        return nullcontext(lambda step, values: None)
    return tracking.training(plan.name, plan.card(), plan.fingerprint, plan.folder)


if __name__ == "__main__":
    run(main)
