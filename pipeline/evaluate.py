"""Stage evaluate@MODEL: score all training runs of a model on the test images."""

from functools import partial
from typing import Any

from denoiselab import config, tracking
from denoiselab.evaluation import scoring
from denoiselab.models import device_choice
from denoiselab.runtime import paths
from pipeline import argument, launcher, run


def main() -> None:
    name = argument("the model's name in params.models")
    params = config.load()
    several = device_choice.has_weights(params, name)
    with launcher.processes(params, name, "pipeline.evaluate", several=several):
        scoring.evaluate(params, name, partial(_log, params, name))


def _log(params: config.Params, name: str, summaries: list[dict[str, Any]]) -> None:
    for number, (folder, summary) in enumerate(zip(paths.trainings(name), summaries, strict=True)):
        tracking.log_evaluation(name, folder, summary, [] if number else scoring.sample_strips(params, name))


if __name__ == "__main__":
    run(main)
