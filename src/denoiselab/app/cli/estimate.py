"""denoiselab estimate: estimate the noise in images and choose a model for it."""

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
    as noise.

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
                rows.append(_row(source, white))
        except batch_denoise.FAULTS as error:
            failed = True
            say(f"error: {batch_denoise.failure(error, source)}")
            continue
        if not as_json:
            print(plain(f"{source}: sigma {rows[-1]['sigma_255']:.1f}, {rows[-1]['kind']}; {rows[-1]['why']}"))
    if as_json:
        report("", rows, as_json)
    if failed:
        raise typer.Exit(1)


def _row(source: Path, white: float | None) -> dict[str, Any]:
    from denoiselab.app import denoisers
    from denoiselab.imaging import photos

    pixels = photos.read(source, white=white).pixels
    noise = denoisers.estimate(pixels)
    model, why = denoisers.choose(noise, pixels.shape[2])
    return {"picture": str(source), **asdict(noise), "model": model, "why": f"{model}: {why}"}
