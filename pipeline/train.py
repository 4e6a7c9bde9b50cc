"""Stage train@MODEL: train or calibrate one entry of params.models, once per seed."""

from contextlib import AbstractContextManager, nullcontext

from denoiselab import config, tracking
from denoiselab.runtime import distributed
from denoiselab.training import jobs, runner
from denoiselab.training.loop import Log
from pipeline import argument, launcher, run


def main() -> None:
    name = argument("the model's name in params.models")
    params = config.load()
    several = jobs.is_trained(params, name)
    with launcher.processes(params, name, "pipeline.train", several=several):
        all_jobs = jobs.resolve_all(params, name)
        results = []
        for job in all_jobs:
            with tracked(job) as log:
                results.append(runner.run(job, log))
        if distributed.is_first():
            runner.record(all_jobs, results)


def tracked(job: jobs.Job) -> AbstractContextManager[Log]:
    """The MLflow run of the job; only the first process logs."""
    if not distributed.is_first():
        return nullcontext(lambda step, values: None)
    return tracking.training(job.name, job.card(), job.fingerprint, job.folder)


if __name__ == "__main__":
    run(main)
