"""denoiselab compare: one image restored by several denoisers, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoiselab.app.cli._options import AsJson, Force, Quality, check_free, model_names
from denoiselab.app.cli._output import report
from denoiselab.runtime.errors import UserError

if TYPE_CHECKING:
    from denoiselab.imaging.photos import Photo

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def compare(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Noisy image.", show_default=False)],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Comparison to write: .png, .jpg or .webp.", show_default=False)
    ],
    clean: Annotated[Path | None, typer.Option(help="The same image without noise, for PSNR and SSIM.")] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Names or paths, separated by commas. Default: all shipped models for such images, in every size.",
            autocompletion=model_names,
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,WIDTH,HEIGHT", help="Area to enlarge, in pixels from the upper left. Default: the centre."
        ),
    ] = None,
    image: Annotated[int, typer.Option(min=1, help="Number of the image in a stack, also in that of --clean.")] = 1,
    quality: Quality = "best",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Restore an image with several models and show the results side by side.

    Each panel shows the whole image, a part of it enlarged, the model's name, the time in seconds (without loading)
    and, with --clean, PSNR and SSIM as in the report, measured at the image's bit depth. The printed lines also say
    which noise a model is for: on other noise it may do worse than its scores suggest.

    \b
    Examples:
      denoiselab compare photo.jpg side-by-side.png
      denoiselab compare noisy.png side-by-side.png --clean clean.png
      denoiselab compare noisy.png side-by-side.png --models colour,models/unet
      denoiselab compare photo.jpg side-by-side.png --crop 640,400,112,112
      denoiselab compare noisy.png side-by-side.png --models colour_fast,colour_best
      denoiselab compare stack.tif side-by-side.png --image 20
    """
    check_free(out, force)
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"{out}: unknown format; choose from: {', '.join(SUFFIXES)}")

    from denoiselab.app import denoisers, side_by_side
    from denoiselab.imaging import photos
    from denoiselab.metrics import image_quality
    from denoiselab.report.figures._panels import Panel
    from denoiselab.report.figures.gallery import gallery
    from denoiselab.runtime import files

    noisy, reference = photos.read(source, page=image - 1), _clean(clean, image) if clean else None
    if reference and reference.dtype == noisy.dtype:  # on one scale, also where noise exceeds white
        noisy = photos.read(source, white=reference.white, page=image - 1)
    elif reference and noisy.dtype.kind == "f":
        noisy = photos.read(source, white=1.0, page=image - 1)
    target = reference.pixels if reference else None
    part = _area(crop, *noisy.pixels.shape[:2]) if crop else None
    names = models.split(",") if models else side_by_side.suitable(denoisers.known(), noisy.pixels.shape[2])
    loaded = [denoisers.load(name.strip(), quality=quality) for name in names]
    panels, rows, facts = [], [], []
    for version in side_by_side.versions(noisy, loaded, target):
        panels.append(Panel(version.caption(), image_quality.to_uint8(version.pixels)))
        if version.name != side_by_side.CLEAN:
            meant = next((one.entry.noise for one in loaded if one.entry.name == version.name), None)
            rows.append(version.numbers() | {"noise": meant})
            facts.append((version.name, version.facts(), f"for {meant}" if meant else ""))
    comparison = gallery(panels, part)
    with files.atomic_write(out) as temporary:
        comparison.save(temporary, {".png": "PNG", ".webp": "WEBP"}.get(out.suffix.lower(), "JPEG"), quality=90)
    widths = [max(len(fact[n]) for fact in facts) for n in range(2)]
    lines = [f"{name:{widths[0]}}  {text:{widths[1]}}  {meant}".rstrip() for name, text, meant in facts]
    report("\n".join([*lines, f"written to {out}"]), {"out": str(out), "versions": rows}, as_json)


def _clean(path: Path, image: int) -> "Photo":
    """The clean image: that of the same number in a stack, otherwise the only one."""
    from denoiselab.imaging import photos, stacks

    return photos.read(path, page=image - 1 if stacks.length(path) > 1 else 0)


def _area(crop: str, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, upper, right and lower edge of "X,Y,WIDTH,HEIGHT" in an image of that size."""
    try:
        left, upper, across, down = map(int, crop.split(","))
    except ValueError:
        raise UserError(f"--crop {crop}: give four whole numbers, such as 640,400,112,112") from None
    if min(left, upper) < 0 or min(across, down) < 1 or left + across > width or upper + down > height:
        raise UserError(f"--crop {crop}: is not within the image of {width} x {height} pixels")
    return left, upper, left + across, upper + down
