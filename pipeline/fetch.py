"""Stage fetch: download or collect the data set's images in data/raw/."""

from denoiselab import config
from denoiselab.data.fetch import fetch
from denoiselab.runtime import paths
from pipeline import run


def main() -> None:
    from denoiselab import architectures  # imports torch

    params = config.load()
    for name, entry in params.models.items():  # before the download, not only before the training
        architectures.check(entry.architecture(), where=f"models.{name}")
    rows = fetch(params.data, paths.RAW)
    print(f"{len(rows)} images in {paths.RAW}")


if __name__ == "__main__":
    run(main)
