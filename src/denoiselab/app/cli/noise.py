"""denoiselab noise: add noise of a known kind to images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoiselab.app.cli._options import AsJson, Force, check_free
from denoiselab.app.cli._output import plain, report, say
from denoiselab.runtime.errors import UserError

if TYPE_CHECKING:
    from denoiselab.config.noise import NoiseSpec

FLOAT_SUFFIX = ".tif"


def _list(wanted: bool) -> None:
    if wanted:
        from denoiselab.config import noise_presets
        from denoiselab.noise.describe import in_words

        named = noise_presets.conditions()
        width = max(map(len, {**named, **noise_presets.KINDS}))
        print("Conditions for --noise:" if named else "Conditions for --noise: in a clone of the project only")
        for name, spec in named.items():
            print(f"  {name:{width}}  {in_words(spec.model_dump(mode='json'))}")
        print("\nKinds for --kind, with the meaning of --level and its default:")
        for name, kind in noise_presets.KINDS.items():
            print(f"  {name:{width}}  {kind.level} ({kind.usual:g})")
        raise typer.Exit


def _list_cameras(wanted: bool) -> None:
    if wanted:
        from denoiselab.noise import cameras

        for camera in cameras.table().values():
            print(f"{camera.name}: ISO {camera.iso[0]:g} to {camera.iso[-1]:g}")
        raise typer.Exit


def _conditions(begun: str) -> list[str]:
    from denoiselab.config import noise_presets

    return [name for name in noise_presets.conditions() if name.startswith(begun)]


def _kinds(begun: str) -> list[str]:
    from denoiselab.config import noise_presets

    return [name for name in noise_presets.KINDS if name.startswith(begun)]


def noise(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Clean images, folders, or patterns in quotes such as '*.tif'."),
    ],
    output: Annotated[str, typer.Argument(metavar="OUT", help="A file for a single image, otherwise a folder.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--noise",
            help="A test condition of the project, such as gaussian25.",
            autocompletion=_conditions,
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="A kind of noise, such as gaussian.", autocompletion=_kinds)] = None,
    level: Annotated[
        float | None, typer.Option("--level", "--sigma", help="Strength of --kind, in the unit that --list shows.")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="A camera, such as 'Canon EOS 6D'; --kind camera (the default) or camera_jpeg.")
    ] = None,
    iso: Annotated[float | None, typer.Option(help="ISO setting of --camera.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    as_float: Annotated[
        bool, typer.Option("--float", help=f"Write float TIFF ({FLOAT_SUFFIX}), without clipping or rounding.")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", callback=_list, is_eager=True, help="List the conditions and kinds, and exit.")
    ] = False,
    cameras: Annotated[
        bool, typer.Option("--cameras", callback=_list_cameras, is_eager=True, help="List the cameras, and exit.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Add noise to clean images: a test condition of the project, a kind of noise at a level, or that of a camera.

    The noise depends on the seed, the name of the noise and the file name: the same command writes the same pixels. Bit
    depth, colour profile and EXIF are kept. Files of 8 or 16 bits clip values below black and above white, as a camera
    does. Published results for Gaussian noise are for unclipped noise: use --float to reproduce them. Metadata that the
    output cannot hold are listed; the exit code is 3.

    \b
    Examples:
      denoiselab noise --list
      denoiselab noise clean.png noisy.png --noise gaussian25
      denoiselab noise clean.png noisy.png --kind poisson --level 20
      denoiselab noise photos/ noisy/ --kind gaussian --sigma 25 --seed 1
      denoiselab noise clean.png noisy.tif --noise gaussian50 --float
      denoiselab noise clean.png noisy.png --camera "Canon EOS 6D" --iso 3200
      denoiselab noise clean.png noisy.png --camera "Canon EOS 6D" --iso 3200 --kind camera_jpeg
    """
    if name and kind:
        raise typer.BadParameter("use either --noise or --kind, not both")
    if name and camera:
        raise typer.BadParameter("use either --noise or --camera, not both")
    if not (name or kind or camera):
        raise typer.BadParameter("--noise, --kind or --camera is required; see --list and --cameras")
    if (camera is None) != (iso is None):
        raise typer.BadParameter("--camera and --iso go together")
    if camera and level is not None:
        raise typer.BadParameter("--level does not go with --camera, whose noise follows from --iso")
    if name and level is not None:
        raise typer.BadParameter("--level needs --kind; a condition of --noise has its own level")

    from denoiselab.app import batch_denoise
    from denoiselab.config import noise_presets

    if camera and iso is not None:
        spec = noise_presets.of_camera(kind or "camera", camera, iso)
    else:
        spec = noise_presets.condition(name) if name else noise_presets.of_kind(str(kind), level)
    spec = _boundless(spec) if as_float else spec
    rows, failed = [], False
    for source, target in _planned(sources, output, as_float):
        try:
            check_free(target, force)
            row = _write(source, target, spec, (seed, name or kind or "camera", source.name), as_float)
        except batch_denoise.FAULTS as error:
            say(f"error: {batch_denoise.failure(error, source, target)}")
            failed = True
        else:
            rows.append(row)
            if not as_json:
                words = f"{target}: {row['noise']}, seed {seed}; PSNR {row['psnr']:.2f} dB{_clipping(row['clipped'])}"
                print(plain(words))
    if as_json:
        report("", {"noise": spec.model_dump(mode="json"), "seed": seed, "images": rows}, as_json)
    if failed:
        raise typer.Exit(1)
    if any(row["dropped"] for row in rows):
        raise typer.Exit(3)


def _planned(sources: list[str], output: str, as_float: bool) -> list[tuple[Path, Path]]:
    """(source, target) of every image; with `as_float`, targets in a folder end in .tif."""
    from denoiselab.app import batch_plan

    tasks = [(task.source, task.target) for task in batch_plan.tasks(sources, output)]
    if as_float and [target for _, target in tasks] != [Path(output)]:
        tasks = [(source, target.with_suffix(FLOAT_SUFFIX)) for source, target in tasks]
    taken: dict[Path, Path] = {}
    for source, target in tasks:
        if target in taken:
            raise UserError(f"{taken[target]} and {source} would both be written to {target}")
        taken[target] = source
    return tasks


def _clipping(share: float) -> str:
    return f"; {100 * share:.1f} % of the values clipped to the file's range" if share else ""


def _boundless(spec: "NoiseSpec") -> "NoiseSpec":
    """The noise without clipping and rounding, also of its parts."""
    changed: dict[str, Any] = {"clip": False, "quantise": False}
    if spec.kind == "chain":
        changed["steps"] = [_boundless(step) for step in spec.steps]
    if spec.kind == "sometimes":
        changed["noise"] = _boundless(spec.noise)
    return spec.model_copy(update=changed)


def _write(source: Path, target: Path, spec: "NoiseSpec", key: tuple[object, ...], as_float: bool) -> dict[str, Any]:
    """Write an image with noise that is seeded by `key`; returns its row of the JSON output."""
    from dataclasses import replace

    import numpy as np

    from denoiselab.imaging import depths, photos
    from denoiselab.imaging.tensors import interleaved, planar
    from denoiselab.metrics import image_quality
    from denoiselab.noise import synthesis as noises
    from denoiselab.noise.describe import in_words
    from denoiselab.runtime import seeding

    photo = photos.read(source)
    if as_float and photo.dtype.kind == "u":
        photo = replace(photo, dtype=np.dtype(np.float32), white=1.0)
    with photos.named(target):
        photos.check(photo, target.suffix)
    depth = next((depth for depth, dtype in depths.DTYPES.items() if dtype == photo.dtype), "float")
    steps = depths.steps(depths.DTYPES[depth])
    noisy = interleaved(noises.add(planar(photo.pixels), seeding.generator(*key), spec, steps=steps))
    stored = noisy if photo.dtype.kind == "f" else noisy.clip(0, 1)
    written = noisy if photo.dtype.kind == "f" else photos.at_depth(photo, stored)
    photos.write(target, photo, written)
    dropped = photos.dropped(photo, target.suffix)
    if dropped:
        say(f"{target}: without {', '.join(dropped)}, which it cannot hold")
    return {
        "in": str(source),
        "out": str(target),
        "noise": in_words(spec.model_dump(mode="json"), depth),
        "psnr": image_quality.capped_psnr(photo.pixels, written, data_range=1),
        "clipped": float(np.mean(noisy != stored)),
        "dropped": dropped,
    }
