"""Stage add-noise: generate the noisy validation patches and test images."""

from denoiselab import config
from denoiselab.data import noise_sampling
from denoiselab.runtime import paths
from pipeline import run


def main() -> None:
    params = config.load()
    noise_sampling.write(paths.RAW, paths.PATCHES, params, paths.NOISY)
    print(f"{', '.join(params.noise.test)} in {paths.NOISY}")


if __name__ == "__main__":
    run(main)
