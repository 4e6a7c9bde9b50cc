"""Stage evaluate@MODEL: score one trained model on the test images."""

from denoiselab import config, evaluation, tracking
from pipeline import argument, run


def main() -> None:
    name = argument("the model's name in params.models")
    params = config.load()
    summary = evaluation.evaluate(params, name)
    tracking.log_evaluation(name, summary, evaluation.pictures(params, name))


if __name__ == "__main__":
    run(main)
