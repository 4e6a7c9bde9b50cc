"""Texts of the page, as Markdown."""

import html
import re
from collections.abc import Iterable

import cv2

from denoiselab.app import denoisers
from denoiselab.app.web import computation
from denoiselab.config import noise_presets
from denoiselab.noise import synthesis
from denoiselab.runtime import devices
from denoiselab.runtime.sanitize import printable

LEAD = "Remove noise from an image and check the result. Drag the divider to compare."
EMPTY = "Choose an image and a denoiser; the result appears here."
NO_NOISE = "The noise level is estimated. Without a clean image there are no scores: judge by eye."
NO_MEMORY = "Not enough memory for this image; try again later or use a smaller one."
AGAIN = "Try again"
IMAGE = "Image to show"
QUALITY = "Size of the network that auto chooses"
STRENGTH = "Strength: share of the denoised image in the result"
KINDS = {  # Estimate.kind in words
    "clean": "almost none",
    "gaussian": "Gaussian",
    "signal-dependent": "signal-dependent (stronger in bright areas)",
    "correlated": "correlated (smeared over neighbouring pixels)",
    "impulse": "black and white dots",
}
PRIVACY = (
    "Images stay on the machine that runs this page, in memory and in a temporary folder. They are deleted when you "
    "replace them, or a minute after you leave. Nothing is sent anywhere else."
)
READING = """
- **Look at 1:1.** A large image shown whole is reduced, which already removes noise. At 1:1, one pixel of the image is
  one pixel on the screen.
- **A good result keeps detail.** Compare edges, hair and fine texture with the clean image. Smooth surfaces are easy;
  lost detail cannot be recovered.
- **PSNR** measures the squared error against the clean image, in decibels; 1 dB more is 21 % less error. **SSIM**
  compares local structure; 1 means identical. Both need the clean image, which the page has if it added the noise.
- **Noise level**: the standard deviation of the noise on the scale of 0 to 255. 5 is just visible, 25 is strong, 50
  hides most detail.
- **No denoiser recovers lost information.** A network fills in what similar images usually look like. Where pixels are
  evidence, for example in a diagnosis, use the original.
"""


def plain(text: str) -> str:
    """Escape untrusted text, such as file names, for Streamlit's Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|$<>~:&-])", r"\\\1", printable(" ".join(text.split())))


def failure(error: Exception) -> str:
    """Message for the visitor. Raises `error` again if it is a fault of the program."""
    if isinstance(error, ValueError):
        return str(error)
    if devices.is_out_of_memory(error):
        return NO_MEMORY
    if isinstance(error, OSError):
        return f"The result cannot be saved ({error.strerror or error}); try again later."
    if isinstance(error, cv2.error):
        return f"This image cannot be processed ({error.err})."
    raise error


def place(ahead: int) -> str:
    """Position in the queue, in words."""
    if ahead == 0:
        return "Starting"
    return f"Waiting: {ahead} {'image' if ahead == 1 else 'images'} before yours"


def models(entries: Iterable[denoisers.Entry]) -> str:
    """List of the available denoisers."""
    rows = [f"- **{computation.AUTO}**: chosen by the estimated noise"]
    rows += [f"- **{plain(entry.name)}**: {plain(entry.title)} ({plain(entry.noise)})" for entry in entries]
    return "\n".join(rows)


def noise_found(outcome: computation.Outcome, added: tuple[str, float] | None) -> str:
    """The estimated noise, the added noise, the automatic choice and the image size."""
    estimate = outcome.estimate
    found = f"**Noise found:** {KINDS.get(estimate.kind, plain(estimate.kind))}, about {estimate.sigma_255:.1f} of 255"
    level = synthesis.level(noise_presets.of_kind(*added)) if added else None
    sentences = [found if level is None else f"{found} ({level:g} was added)"]
    if outcome.chosen:
        name, why = outcome.chosen
        sentences.append(f"**{computation.AUTO.capitalize()}** chose **{plain(name)}**: {plain(why)}")
    width, height = outcome.size
    return f"{'. '.join(sentences)}.  \nImage: {width} × {height} pixels, {outcome.depth}."


def kept(outcome: computation.Outcome) -> str:
    """Noise left and detail kept by each model, below strength 1."""
    return "  \n".join(f"{plain(result.model)}: {plain(str(result.kept))}" for result in outcome.results if result.kept)


def kind_of_file(outcome: computation.Outcome, result: computation.Result) -> str:
    """Bit depth and format, such as "16-bit TIFF"."""
    suffix = result.download.file.suffix
    kind = {".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP"}
    return f"{outcome.depth} {kind.get(suffix, suffix.removeprefix('.').upper())}"


def all_images(number: int) -> str:
    """Title of the button that denoises all images."""
    return f"Denoise all {number} images"


def archive(made: computation.Archive) -> str:
    """Download link of all results, as HTML; empty if there are none."""
    if not made.files:
        return ""
    results = "1 file" if made.files == 1 else f"{made.files} files"
    return f'<nav><a class="download" href="{made.download.address}" download>Download all ({results}, ZIP)</a></nav>'


def downloads(outcome: computation.Outcome) -> str:
    """Download links, as HTML."""
    links = [
        f'<a class="download" href="{result.download.address}" download>'
        f"Download {html.escape(result.model)} ({kind_of_file(outcome, result)})</a>"
        for result in outcome.results
    ]
    return f"<nav>{' '.join(links)}</nav>"


def table(outcome: computation.Outcome) -> str:
    """Table of times and, given the clean image, scores; one row per model."""
    if outcome.noisy is None:
        head = ["| denoiser | seconds |", "|:--|--:|"]
        return "\n".join([*head, *(f"| {plain(result.model)} | {result.seconds:.1f} |" for result in outcome.results)])
    head = [
        "| | PSNR (dB) | SSIM | seconds |",
        "|:--|--:|--:|--:|",
        f"| {computation.NOISY} | {_cells(outcome.noisy)} | |",
    ]
    best = max(result.score.psnr for result in outcome.results if result.score)
    rows = [
        f"| {plain(result.model)} | {_cells(result.score, result.score.psnr == best)} | {result.seconds:.1f} |"
        for result in outcome.results
        if result.score
    ]
    return "\n".join(head + rows)


def _cells(score: computation.Score, best: bool = False) -> str:
    psnr, ssim = f"{score.psnr:.2f}", "" if score.ssim is None else f"{score.ssim:.3f}"
    return f"{f'**{psnr}**' if best else psnr} | {ssim}"
