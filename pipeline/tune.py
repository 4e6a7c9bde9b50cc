"""Search hyper-parameters on the validation patches: `python -m pipeline.tune` after `dvc repro add-noise`."""

from denoiselab import config, devices, search, search_report, tracking
from pipeline import run


def main() -> None:
    params = config.load()
    model = params.tune.model
    devices.claim(search.settings(params, model).device)
    with tracking.search(model, params.tune.model_dump(mode="json", exclude={"storage"})) as tracked:
        studies = search.run(params, model, tracked)
    print(f"search: {search_report.write(params, model, studies)}")


if __name__ == "__main__":
    run(main)
