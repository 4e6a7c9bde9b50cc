"""denoiselab denoise: pictures in, denoised pictures out."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoiselab.app.cli._options import AsJson, Force, check_free, check_writable, model_names
from denoiselab.app.cli._output import quiet, report, say

if TYPE_CHECKING:
    from denoiselab.app.batch_denoise import Outcome


def denoise(
    sources: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Pictures, folders, or patterns in quotes such as '*.tif'.")
    ],
    output: Annotated[str, typer.Argument(metavar="OUT", help="A file for a single picture, else a folder.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Name (see denoiselab models), path such as models/unet, models:/name@alias, or auto.",
            autocompletion=model_names,
        ),
    ] = "auto",
    sigma: Annotated[
        float | None,
        typer.Option(min=0, max=255, help="Noise level of 255 where it is known, for models that take one."),
    ] = None,
    white: Annotated[
        float | None,
        typer.Option(min=1e-9, help="The files' value that is white; by default the highest of 8, 10, 12 ... bits."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    tile: Annotated[
        int | None, typer.Option(min=64, help="Side of the tiles in pixels; else by the memory that is free.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Denoise pictures: PNG, JPEG, TIFF, WebP and BMP, at their depth, with their EXIF, profile and transparency.

    The model is chosen for each picture by its noise (see denoiselab estimate), unless --model names one. Of a folder
    that was partly done, what is missing is done; a picture that cannot be read stops no other, and the exit code is 1.

    \b
    Examples:
      denoiselab denoise photo.jpg better.jpg
      denoiselab denoise photos/ denoised/ --model colour
      denoiselab denoise 'scans/*.tif' denoised/ --white 20000
      denoiselab denoise noisy.png better.png --model models/unet --json
    """
    if device not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"{device!r} is none of auto, cpu, cuda", param_hint="--device")
    from tqdm import tqdm

    from denoiselab.app import batch_denoise

    planned = batch_denoise.tasks(sources, output)
    passed_over = batch_denoise.passed_over(sources, output)
    if len(sources) == 1 and Path(sources[0]).is_file():
        check_free(planned[0].target, force)
    for target in {task.target.parent: task.target for task in planned}.values():
        check_writable(target)
    settings = batch_denoise.Settings(model, sigma, white, device, tile, force)
    outcomes = list(tqdm(batch_denoise.run(planned, settings), total=len(planned), unit="picture", disable=quiet()))
    _summarise(outcomes, passed_over)
    if as_json:
        report("", [_row(outcome) for outcome in outcomes], as_json)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _summarise(outcomes: "list[Outcome]", passed_over: int) -> None:
    """What became of them, on stderr."""
    if blind := {outcome.model: None for outcome in outcomes if outcome.level_unused}:
        say(f"--sigma: of no use to {', '.join(blind)}, which {'takes' if len(blind) == 1 else 'take'} no noise level")
    if len(outcomes) == 1 and outcomes[0].status in ("denoised", "clean") and not passed_over:
        (one,) = outcomes
        chosen = f"{one.model} ({one.reason})" if one.reason and one.model else one.model or one.reason
        say(f"{one.task.target}: {chosen}{', written as it was' if one.status == 'clean' else ''}")
        return
    for outcome in outcomes:
        if outcome.status == "failed":
            say(f"error: {outcome.reason}")
    counted = Counter(outcome.status for outcome in outcomes)
    models = Counter(outcome.model for outcome in outcomes if outcome.model)
    by = ", ".join(f"{name} {number}" for name, number in models.most_common())
    said = {
        "denoised": f"denoised ({by})",
        "clean": "written as they were, being clean",
        "there": "there already (--force does them again)",
        "failed": "failed",
    }
    counts = [f"{counted[status]} {words}" for status, words in said.items() if counted[status]]
    say(", ".join([*counts, *([f"{passed_over} passed over, being no pictures"] if passed_over else [])]))


def _row(outcome: "Outcome") -> dict[str, str]:
    task = outcome.task
    return {
        "source": str(task.source),
        "target": str(task.target),
        "status": outcome.status,
        "model": outcome.model,
        "reason": outcome.reason,
    }
