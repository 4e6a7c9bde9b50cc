"""Hyper-parameter search on the validation patches: `python -m pipeline.tune` after `dvc repro add-noise`."""

from denoiselab import config, tracking
from denoiselab.report import search_page
from denoiselab.runtime import devices
from denoiselab.training.tuning import search
from pipeline import run


def main() -> None:
    params = config.load()
    model = params.tune.model
    devices.claim(search.settings(params, model).device)
    with tracking.search(model, params.tune.model_dump(mode="json", exclude={"storage"})) as tracked:
        studies = search.run(params, model, tracked)
    print(f"search: {search_page.write(params, model, studies)}")


if __name__ == "__main__":
    run(main)
