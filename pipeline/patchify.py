"""Stage patchify: training and validation images into patches."""

from denoiselab import config, patches, paths
from pipeline import run


def main() -> None:
    params = config.load()
    places = patches.cut(paths.RAW, params.patches, params.data.channels, paths.PATCHES)
    print(f"{len(places)} patches in {paths.PATCHES}")


if __name__ == "__main__":
    run(main)
