"""Stage evaluate@MODEL: score a model's trainings on the test images."""

from denoiselab import config, distributed, evaluation, launcher, paths, placement, tracking
from pipeline import argument, run


def main() -> None:
    name = argument("the model's name in params.models")
    params = config.load()
    several = placement.has_weights(params, name)
    with launcher.processes(params, name, "pipeline.evaluate", several=several):
        summaries = evaluation.evaluate(params, name)
        folders = paths.trainings(name) if distributed.first() else []
        for number, (folder, summary) in enumerate(zip(folders, summaries, strict=True)):
            tracking.log_evaluation(name, folder, summary, [] if number else evaluation.pictures(params, name))


if __name__ == "__main__":
    run(main)
