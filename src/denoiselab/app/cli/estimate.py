"""denoiselab estimate: estimate the noise in images and choose a model for it."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoiselab.app.cli._options import AsJson
from denoiselab.app.cli._output import only_own_lines, plain, report, say

if TYPE_CHECKING:
    from denoiselab.noise.curve import Curve

BAR = 30  # characters, of the longest bar


def estimate(
    sources: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Images, folders, or patterns in quotes such as '*.tif'.")
    ],
    white: Annotated[
        float | None,
        typer.Option(min=1e-9, help="Pixel value of white. Default: as stated in the file or found in its values."),
    ] = None,
    curve: Annotated[
        bool, typer.Option("--curve", help="Also show the noise by brightness, measured with a released model.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate the level and kind of noise in images, and choose a model.

    The level is the standard deviation on a scale where white is 255. Kinds: gaussian (the same everywhere),
    signal-dependent (grows with brightness, as photon noise does), correlated (camera noise smeared by processing and
    JPEG), impulse (black and white dots), clean. In images without smooth areas, fine texture counts
    as noise. The images of a stack, and channels that do not belong together, are estimated one by one.

    The curve is that of flat areas (of green in colour images; --json has all channels). With it comes the correlation
    length: 0.6 pixels for white noise, more where processing has smeared it.

    \b
    Examples:
      denoiselab estimate photo.jpg --curve
      denoiselab estimate 'scans/*.tif' --white 20000 --json
    """
    from denoiselab.app import batch_denoise, batch_plan

    rows, failed = [], False
    for source in batch_plan.image_files(sources):
        try:
            with only_own_lines():
                for row, lines in _estimates(source, white, curve):
                    rows.append(row)
                    if not as_json:
                        print(*map(plain, lines), sep="\n")
        except batch_denoise.FAULTS as error:
            failed = True
            say(f"error: {batch_denoise.failure(error, source)}")
    if as_json:
        report("", rows, as_json)
    if failed:
        raise typer.Exit(1)


def _estimates(source: Path, white: float | None, curve: bool) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Row and lines of each image in a file, and of each of its channels that do not belong together."""
    from dataclasses import replace

    from denoiselab.app import denoisers, noise_curve
    from denoiselab.imaging import photos, stacks

    with stacks.opened(source) as stack:
        for n in range(len(stack) if stack else 1):
            photo = photos.of_stack(stack, n, white) if stack else photos.read(source, white=white, separate=True)
            for c, (pixels, factor) in enumerate(photos.channels(photo)):
                found = denoisers.estimate(pixels)
                found = replace(found, reason=found.reason + photos.brightened(factor))
                noise, (model, why) = found.darkened(factor), denoisers.choose(found, pixels.shape[2])
                where = {"file": str(source), "image": n + 1, "channel": c + 1 if photo.separate else None}
                name = f"{source}{f', image {n + 1}' if stack else ''}{f', channel {c + 1}' if photo.separate else ''}"
                line = f"{name}: sigma {noise.sigma_255:.1f}, {noise.kind}; {model}: {why}"
                line += f"; {photo.white_in_words}" if photo.white_in_words else ""
                drawn: list[str] = []
                row = {**where, **asdict(noise), "model": model, "why": f"{model}: {why}"}
                if curve:
                    measured = noise_curve.measure(pixels, found)
                    curves = tuple(one and one.darkened(factor) for one in measured)
                    row["curves"] = [asdict(one) if one else None for one in curves]
                    drawn = _drawn(curves)
                yield row, [line, *drawn]


def _drawn(curves: tuple["Curve | None", ...]) -> list[str]:
    """The curve of green or gray as lines of text, one for each bin of brightness."""
    if not curves:
        return ["  no curve: clean, or impulses"]
    if not (curve := curves[len(curves) // 2]):
        return ["  no curve: too few pixels"]
    sigmas = [255 * variance**0.5 for variance in curve.variance]
    bars = (
        f"  {brightness:10.2f}  {sigma:5.1f}  {'█' * round(BAR * sigma / max(*sigmas, 1e-9))}"
        for brightness, sigma in zip(curve.brightness, sigmas, strict=True)
    )
    middle = f"; {curve.sigma_255(0.5):.1f} at middle gray" if curve.white else ""
    head = f"  brightness  sigma{middle}; correlation length {curve.correlation_length:.1f} pixels"
    return [head, *bars]
