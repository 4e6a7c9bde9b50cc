"""Stage fetch: download or collect the data set's images in data/raw/."""

from denoiselab import config
from denoiselab.data.fetch import fetch
from denoiselab.runtime import paths
from pipeline import run


def main() -> None:
    from denoiselab import architectures  # imports torch

    params = config.load()
    architectures.check_all(params.architectures(), params.data.channels)  # before the download
    rows = fetch(params.data, paths.RAW)
    print(f"{len(rows)} images in {paths.RAW}")


if __name__ == "__main__":
    run(main)
