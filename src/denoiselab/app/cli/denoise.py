"""denoiselab denoise: restore image files."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoiselab.app.cli._options import AsJson, Force, Quality, check_free, check_writable, model_names
from denoiselab.app.cli._output import only_own_lines, report, say
from denoiselab.runtime import progress

if TYPE_CHECKING:
    from denoiselab.app.photo_denoise import Outcome


def denoise(
    sources: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Images, folders, or patterns in quotes such as '*.tif'.")
    ],
    output: Annotated[str, typer.Argument(metavar="OUT", help="A file for a single image, otherwise a folder.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Name (see denoiselab models), path such as models/unet, models:/name@alias, or auto.",
            autocompletion=model_names,
        ),
    ] = "auto",
    quality: Quality = "best",
    sigma: Annotated[
        float | None,
        typer.Option(min=0, max=255, help="Noise level on the scale of 0 to 255, for models that take one."),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of the model's result in the output; the rest is the input. Below 1, the noise left and the "
            "fine detail kept are printed.",
        ),
    ] = 1.0,
    white: Annotated[
        float | None,
        typer.Option(min=1e-9, help="Pixel value of white. Default: as stated in the file or found in its values."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    tile: Annotated[
        int | None, typer.Option(min=64, help="Tile size in pixels. Default: as free memory allows, up to 1024.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="Format of the outputs in a folder, such as tif. Default: as the input.")
    ] = "",
    suffix: Annotated[str, typer.Option(help="Added to the names of the outputs in a folder, such as _denoised.")] = "",
    linear: Annotated[
        bool, typer.Option("--linear", help="Develop camera raw files without sRGB's transfer function.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Denoise images and stacks, in all common formats. Depth, metadata and transparency are kept.

    Without --model, the model is chosen for each image, or channel of a stack, by its noise (see denoiselab estimate).
    If OUT is a folder, images whose output already exists are skipped. Images that cannot be read are listed, and the
    exit code is 1. Metadata that the output cannot hold, and files that are not images, are listed; the exit code is 3.
    Warnings say where mean brightness or colour changes by more than 2 of 255 and by more than its 95 % interval, and
    which share of the values is far outside black and white and therefore kept.

    \b
    Examples:
      denoiselab denoise photo.jpg better.jpg
      denoiselab denoise photos/ denoised/ --quality fast
      denoiselab denoise photos/ denoised/ --model colour
      denoiselab denoise photo.jpg better.jpg --strength 0.7
      denoiselab denoise 'scans/*.tif' denoised/ --white 20000
      denoiselab denoise stack.ome.tif denoised.ome.tif
      denoiselab denoise noisy.png better.png --model models/unet --json
    """
    if device not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"unknown device {device!r}; choose from: auto, cpu, cuda", param_hint="--device")
    from tqdm import tqdm

    from denoiselab.app import batch_denoise, batch_plan, photo_denoise

    planned = batch_plan.tasks(sources, output, form=form.lower().removeprefix("."), suffix=suffix)
    ignored = batch_plan.ignored(sources, output)
    if len(sources) == 1 and Path(sources[0]).is_file():
        check_free(planned[0].target, force)
    for target in {task.target.parent: task.target for task in planned}.values():
        check_writable(target)
    settings = photo_denoise.Settings(
        model, quality, sigma, white, device, tile, force, linear, progress=not progress.hidden(), strength=strength
    )
    with only_own_lines():
        outcomes = list(
            tqdm(batch_denoise.run(planned, settings), total=len(planned), unit="file", disable=progress.hidden())
        )
    _summarise(outcomes, ignored)
    if as_json:
        report("", [_row(outcome) for outcome in outcomes], as_json)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)
    if ignored or any(outcome.dropped for outcome in outcomes):
        raise typer.Exit(3)


def _summarise(outcomes: "list[Outcome]", ignored: list[Path]) -> None:
    """Print the model of a single image, or the errors and the counts of several, on stderr."""
    if blind := {outcome.model: None for outcome in outcomes if outcome.level_unused}:
        say(f"--sigma: ignored by {', '.join(blind)}: no noise level needed")
    for outcome in outcomes:
        if outcome.warning:
            say(f"warning: {outcome.task.source}: {outcome.warning}")
        if outcome.dropped:
            say(f"{outcome.task.target}: without {', '.join(outcome.dropped)}, which it cannot hold")
    for path in ignored:
        say(f"{path}: ignored: not an image by its suffix")
    if len(outcomes) == 1 and outcomes[0].status in ("denoised", "clean") and not ignored:
        (one,) = outcomes
        chosen = f"{one.model} ({one.reason})" if one.reason and one.model else one.model or one.reason
        many = f"{one.images} images, " if one.images > 1 else ""
        say(f"{one.task.target}: {many}{chosen}{', saved unchanged' if one.status == 'clean' else ''}")
        return
    for outcome in outcomes:
        if outcome.status == "failed":
            say(f"error: {outcome.reason}")
    counted = Counter(outcome.status for outcome in outcomes)
    models = Counter(outcome.model for outcome in outcomes if outcome.model)
    by = ", ".join(f"{name} {number}" for name, number in models.most_common())
    labels = {
        "denoised": f"denoised ({by})",
        "clean": "clean, saved unchanged",
        "there": "already there (use --force to redo)",
        "failed": "failed",
    }
    counts = [f"{counted[status]} {label}" for status, label in labels.items() if counted[status]]
    say(", ".join([*counts, *([f"{len(ignored)} ignored (not images)"] if ignored else [])]))


def _row(outcome: "Outcome") -> dict[str, Any]:
    task = outcome.task
    return {
        "source": str(task.source),
        "target": str(task.target),
        "status": outcome.status,
        "model": outcome.model,
        "reason": outcome.reason,
        "images": outcome.images,
        "dropped": [*outcome.dropped],
        "warning": outcome.warning,
    }
