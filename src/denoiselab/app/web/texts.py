"""The page's texts, as Markdown."""

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

LEAD = "Take the noise out of a picture, and see what it costs. Drag the divider to compare."
EMPTY = "Choose a picture and a denoiser; the result appears here."
AS_IT_IS = "The page estimates how noisy it is. Without a clean version of it, nothing can be scored: judge by eye."
NO_MEMORY = "This machine has too little memory left for that picture; try it later, or a smaller one."
AGAIN = "Try it again"
KINDS = {  # of denoisers.Estimate
    "clean": "hardly any",
    "gaussian": "Gaussian",
    "signal-dependent": "stronger where it is brighter",
    "correlated": "smeared over neighbouring pixels",
    "impulse": "black and white dots",
}
PRIVACY = (
    "Pictures stay on the machine that runs this page, in memory and in a temporary folder, and are deleted when you "
    "replace them, or a minute after you have left. Nothing is sent anywhere else."
)
READING = """
- **Look at 1:1.** Shown whole, a large picture is made smaller, and that alone removes noise. At 1:1 every pixel of the
  picture is one of the screen.
- **A good result keeps what was there.** Compare edges, hair and fine texture with the clean picture: a smooth surface
  is easily won, detail that is lost is lost.
- **PSNR** says how far the values are from the clean ones, in decibels: 1 dB more is a fifth less squared error.
  **SSIM** compares local structure and is 1 for the clean picture itself. Both need the clean picture, so they are
  there for a sample or when the page added the noise.
- **Noise level**: the standard deviation of the noise on the scale of 0 to 255. At 5 it is just visible, at 25 it is
  strong, at 50 it hides most detail.
- **No denoiser brings information back.** What a net adds is what such pictures usually look like. Where a pixel is
  evidence, in diagnosis say, use the original.
"""


def plain(text: str) -> str:
    """Any text so that Streamlit's Markdown shows it as it is: names of files are visitors' own."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|$<>~:&-])", r"\\\1", printable(" ".join(text.split())))


def failure(error: Exception) -> str:
    """What a visitor is told; it is raised again where neither the picture nor the machine is to blame."""
    if isinstance(error, ValueError):
        return str(error)
    if devices.ran_out(error):
        return NO_MEMORY
    if isinstance(error, OSError):
        return f"This machine cannot keep the result ({error.strerror or error}); try it later."
    if isinstance(error, cv2.error):
        return f"That picture cannot be computed here ({error.err})."
    raise error


def place(ahead: int) -> str:
    """In the line."""
    if ahead == 0:
        return "Starting"
    return f"Waiting: {ahead} {'picture is' if ahead == 1 else 'pictures are'} before yours"


def models(entries: Iterable[denoisers.Entry]) -> str:
    """What there is to choose from."""
    rows = [f"- **{computation.AUTO}**: the page estimates the noise and takes what fits"]
    rows += [f"- **{plain(entry.name)}**: {plain(entry.title)} ({plain(entry.noise)})" for entry in entries]
    return "\n".join(rows)


def noise_found(outcome: computation.Outcome, added: tuple[str, float] | None) -> str:
    """What noise the page finds in a picture, what was added, and the choice that follows."""
    estimate = outcome.estimate
    found = f"**Noise found:** {KINDS.get(estimate.kind, plain(estimate.kind))}, about {estimate.sigma_255:.1f} of 255"
    level = synthesis.level(noise_presets.of_kind(*added)) if added else None
    sentences = [found if level is None else f"{found} ({level:g} was added)"]
    if outcome.chosen:
        name, why = outcome.chosen
        sentences.append(f"**{computation.AUTO.capitalize()}** took **{plain(name)}**: {plain(why)}")
    width, height = outcome.size
    return f"{'. '.join(sentences)}.  \nThe picture: {width} × {height} pixels, {outcome.depth}."


def kind_of_file(outcome: computation.Outcome, result: computation.Result) -> str:
    """Such as "16-bit TIFF"."""
    suffix = result.download.file.suffix
    kind = {".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP"}
    return f"{outcome.depth} {kind.get(suffix, suffix.removeprefix('.').upper())}"


def downloads(outcome: computation.Outcome) -> str:
    """A link to each result's file, as HTML."""
    links = [
        f'<a class="download" href="{result.download.address}" download>'
        f"Download {html.escape(result.model)} ({kind_of_file(outcome, result)})</a>"
        for result in outcome.results
    ]
    return f"<nav>{' '.join(links)}</nav>"


def table(outcome: computation.Outcome) -> str:
    """A row a model, with scores where there is a clean picture."""
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
