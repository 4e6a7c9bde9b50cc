"""Write docs/gallery.md, one picture for each task: python -m docs.make.gallery

The page's sample photos with one kind of noise each, and what `--model auto` makes of them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from denoiselab.app import denoisers
from denoiselab.app.web import noise_choices
from denoiselab.app.web.samples import SAMPLES
from denoiselab.imaging import photos
from denoiselab.metrics import image_quality
from denoiselab.runtime import files
from docs.make.transcripts import webp

PAGE, PICTURES = Path("docs/gallery.md"), Path("docs/pictures")
LARGEST = 90_000  # bytes of a picture
GAP = 8  # pixels between the parts of a picture
HEAD = """# Gallery

<!-- Written by `python -m docs.make.gallery`, which denoises what is shown here. -->

One image for each task: noisy on the left, denoised by `denoiselab denoise` in the middle,
clean on the right, each enlarged twice. The photos are those of [the web page](page.md); no
model has seen them in training. The noise is synthetic, clipped and rounded to 8 bits. PSNR is that of the whole image.
"""


@dataclass(frozen=True)
class Task:
    """A photo with noise of a kind and level, and the upper left corner of the part that is shown."""

    title: str
    photo: str  # name in SAMPLES
    kind: str
    level: float
    corner: tuple[int, int]  # x, y
    text: str


TASKS = (
    Task("Colour photo", "astronaut", "gaussian", 25, (110, 40), "Gaussian noise of sigma 25 of 255."),
    Task("Strong noise", "cat", "gaussian", 50, (100, 60), "Gaussian noise of sigma 50: fine fur is lost."),
    Task("Gray photo", "camera", "gaussian", 25, (160, 60), "Gaussian noise of sigma 25 of 255."),
    Task("Camera JPEG", "rocket", "camera_jpeg", 0.004, (250, 160), "Noise of a sensor after a camera's processing."),
    Task("Few photons", "cell", "poisson", 30, (350, 287), "Photon noise, 30 photons at white."),
    Task("Salt-and-pepper noise", "temple", "salt_pepper", 0.1, (240, 140), "A tenth of the pixels is black or white."),
)
SIDE = 160  # pixels of the part that is shown


@dataclass(frozen=True)
class Result:
    """Images (H, W, C) in [0, 1], the model that auto chose, and PSNR (dB) before and after."""

    noisy: np.ndarray
    restored: np.ndarray
    clean: np.ndarray
    model: str
    before: float
    after: float


def main() -> None:
    sections = [section(task) for task in TASKS]
    files.write_text(PAGE, "\n".join([HEAD, *sections]))
    print(PAGE)


def section(task: Task) -> str:
    """The task's part of the page; writes its picture."""
    result = restored(task)
    picture = PICTURES / f"gallery-{task.kind.replace('_', '-')}-{task.photo}.webp"
    picture.write_bytes(webp(shown(result, task.corner), LARGEST))
    gain = f"{result.before:.2f} dB noisy, {result.after:.2f} dB restored by `{result.model}`"
    return (
        f"## {task.title}\n\n{task.text} {gain}.\n\n![{task.title}: noisy, restored, clean](pictures/{picture.name})\n"
    )


def restored(task: Task) -> Result:
    """The noisy photo, rounded to 8 bits, and what the model chosen for it restores."""
    photo = photos.read(SAMPLES[task.photo].path)
    clean = photo.pixels
    noisy = photos.at_depth(photo, noise_choices.added(clean, task.kind, task.level))
    name, _ = denoisers.choose(denoisers.estimate(noisy), noisy.shape[2])
    name = denoisers.resolved(name)
    output = photos.at_depth(photo, denoisers.load(name).restore(noisy))
    before, after = (image_quality.psnr(clean, image, data_range=1) for image in (noisy, output))
    return Result(noisy, output, clean, name, before, after)


def shown(result: Result, corner: tuple[int, int]) -> Image.Image:
    """Noisy, restored and clean part side by side, each enlarged twice."""
    x, y = corner
    picture = Image.new("RGB", (6 * SIDE + 2 * GAP, 2 * SIDE), "white")
    for number, image in enumerate((result.noisy, result.restored, result.clean)):
        part = image[y : y + SIDE, x : x + SIDE]
        pixels = np.broadcast_to(np.round(255 * part), (SIDE, SIDE, 3)).astype(np.uint8)
        enlarged = Image.fromarray(pixels).resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST)
        picture.paste(enlarged, (number * (2 * SIDE + GAP), 0))
    return picture


if __name__ == "__main__":
    main()
