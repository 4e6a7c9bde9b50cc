"""Stage patchify: cut training and validation images into patches."""

from denoiselab import config
from denoiselab.data import patches
from denoiselab.runtime import paths
from pipeline import run


def main() -> None:
    params = config.load()
    counts = patches.cut(paths.RAW, params.patches, params.data.channels, paths.PATCHES, params.parallel)
    print(f"{counts['train']} training and {counts['val']} validation patches in {paths.PATCHES}")


if __name__ == "__main__":
    run(main)
