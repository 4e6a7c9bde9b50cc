"""denoiselab models: what can denoise a picture here."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def models(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List the denoisers there are: what they were trained on, what was measured of them, and their licence.

    Released weights come with the project; trained and classical ones are those that the experiment in the working
    directory made (models/). Any of them goes behind --model.
    """
    from denoiselab import denoisers

    found = denoisers.known(Path())
    if as_json:
        rows = [{**asdict(entry), "folder": str(entry.folder)} for entry in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for entry in found:
        print(f"{entry.name}  {entry.title} ({entry.origin}, {entry.noise}, {entry.parameters:,} parameters)")
