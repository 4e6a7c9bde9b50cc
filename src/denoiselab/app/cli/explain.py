"""denoiselab explain: find the evaluation conventions behind a published PSNR."""

import math
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoiselab.app.cli._options import AsJson, Model, Quality
from denoiselab.app.cli._output import report
from denoiselab.runtime import progress

if TYPE_CHECKING:
    from denoiselab.app.conventions import Found


def explain(
    model: Model,
    psnr: Annotated[float, typer.Option(help="The number to explain, in dB.")],
    place: Annotated[
        str, typer.Option("--set", help="bsd68, cbsd68, cid22, kodak24, set12, or a folder of clean images.")
    ],
    sigma: Annotated[float, typer.Option(min=0, max=255, help="Level of the Gaussian noise on the scale of 0 to 255.")],
    images: Annotated[
        int | None, typer.Option(min=1, help="Use only so many of the images, evenly spread. Default: all.")
    ] = None,
    quality: Quality = "best",
    as_json: AsJson = False,
) -> None:
    """Find the evaluation conventions that bring a model's PSNR nearest to a given number, such as a paper's.

    Restores the images under the project's protocol and with one convention changed at a time: clipping and seed of
    the noise, crop or size of the images, rounding of the output, channels, border, average and peak. The nearest
    pair of a change before the restoration and one after it is also listed. A near number does not prove which
    conventions were used.

    \b
    Examples:
      denoiselab explain colour --psnr 31.2 --set cbsd68 --sigma 25
      denoiselab explain models/unet --psnr 30.9 --set photos/ --sigma 25 --images 8
    """
    from tqdm import tqdm

    from denoiselab.app import conventions, denoisers

    denoiser = denoisers.load(model, quality=quality)
    with redirect_stdout(sys.stderr):  # licences of the data
        clean, total = conventions.read(place, denoiser.channels, images)
    with tqdm(total=len(clean) * len(conventions.one_at_a_time(conventions.INPUTS)), disable=progress.hidden()) as bar:

        def restore(noisy: Any) -> Any:
            bar.update()
            return denoiser.restore(noisy, sigma_255=sigma)

        found = conventions.measure(clean, restore, sigma)
    ranked, sentence = conventions.ranked(found, psnr), conventions.summary(found, psnr)
    of = f"{len(clean)} of {total} images" if len(clean) < total else f"{total} image{'s' if total > 1 else ''}"
    lines = [f"{denoiser.entry.name} on {of} of {place}, sigma {sigma:g}; mean PSNR with its 95 % interval (dB):"]
    lines += [f"  {_row(one, psnr)}" for one in ranked] + [sentence]
    if len(clean) < total:
        lines.append(f"The number of all {total} images may differ from that of these {len(clean)}.")
    values = {"model": denoiser.entry.name, "images": len(clean), "of": total, "summary": sentence}
    report("\n".join(lines), values | {"conventions": [_values(one) for one in ranked]}, as_json)


def _row(found: "Found", given: float) -> str:
    interval = " " * 14 if math.isnan(found.low) else f"[{found.low:.2f}, {found.high:.2f}]"
    return f"{found.psnr:6.2f} {interval}  {found.psnr - given:+6.2f}  {found.words}"


def _values(found: "Found") -> dict[str, Any]:
    low, high = (None if math.isnan(value) else value for value in (found.low, found.high))
    return {"changes": found.changes, "psnr": found.psnr, "low": low, "high": high}
