"""Stage evaluate@MODEL: score a model's trainings on the test images."""

from denoiselab import config, devices, evaluation, paths, tracking
from pipeline import argument, run


def main() -> None:
    name = argument("the model's name in params.models")
    params = config.load()
    devices.claim(params.training(name).device)
    summaries = evaluation.evaluate(params, name)
    for number, (folder, summary) in enumerate(zip(paths.trainings(name), summaries, strict=True)):
        tracking.log_evaluation(name, folder, summary, [] if number else evaluation.pictures(params, name))


if __name__ == "__main__":
    run(main)
