"""denoiselab estimate: estimate the noise in images and choose a model for it."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from denoiselab.app.cli._options import AsJson
from denoiselab.app.cli._output import only_own_lines, plain, report, say


def estimate(
    sources: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Images, folders, or patterns in quotes such as '*.tif'.")
    ],
    white: Annotated[
        float | None,
        typer.Option(min=1e-9, help="Pixel value of white. Default: as stated in the file or found in its values."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the level and kind of noise in images, and choose a model.

    The level is the standard deviation on a scale where white is 255. Kinds: gaussian (the same everywhere),
    signal-dependent (grows with brightness, as photon noise does), correlated (camera noise smeared by processing and
    JPEG), impulse (black and white dots), clean. In images without smooth areas, fine texture counts
    as noise. The images of a stack, and channels that do not belong together, are estimated one by one.

    \b
    Examples:
      denoiselab estimate photo.jpg
      denoiselab estimate 'scans/*.tif' --white 20000 --json
    """
    from denoiselab.app import batch_denoise, batch_plan

    rows, failed = [], False
    for source in batch_plan.image_files(sources):
        try:
            with only_own_lines():
                for row, line in _estimates(source, white):
                    rows.append(row)
                    if not as_json:
                        print(plain(line))
        except batch_denoise.FAULTS as error:
            failed = True
            say(f"error: {batch_denoise.failure(error, source)}")
    if as_json:
        report("", rows, as_json)
    if failed:
        raise typer.Exit(1)


def _estimates(source: Path, white: float | None) -> Iterator[tuple[dict[str, Any], str]]:
    """Row and line of each image in a file, and of each of its channels that do not belong together."""
    from denoiselab.app import denoisers
    from denoiselab.imaging import photos, stacks

    with stacks.opened(source) as stack:
        for n in range(len(stack) if stack else 1):
            photo = photos.of_stack(stack, n, white) if stack else photos.read(source, white=white, separate=True)
            for c, (pixels, _) in enumerate(photos.channels(photo)):
                noise = denoisers.estimate(pixels)
                model, why = denoisers.choose(noise, pixels.shape[2])
                where = {"picture": str(source), "image": n + 1, "channel": c + 1 if photo.separate else None}
                name = f"{source}{f', image {n + 1}' if stack else ''}{f', channel {c + 1}' if photo.separate else ''}"
                line = f"{name}: sigma {noise.sigma_255:.1f}, {noise.kind}; {model}: {why}"
                words = f"; {photo.white_in_words}" if photo.white_in_words else ""
                yield {**where, **asdict(noise), "model": model, "why": f"{model}: {why}"}, line + words
