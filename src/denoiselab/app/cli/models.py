"""denoiselab models: list the available denoisers."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from denoiselab.app.cli._options import AsJson
from denoiselab.app.cli._output import plain, report

if TYPE_CHECKING:
    from denoiselab.app.denoisers import Entry, Measured

COLUMNS = ("model", "origin", "images", "noise", "PSNR (gain) in dB", "parameters", "licence")


def models(as_json: AsJson = False) -> None:
    """List the available denoisers with the noise they are for, their measured PSNR and their licence.

    Released weights and classical methods come with the project. Models trained in the current folder are listed below
    them, under their path (models/unet). The other commands take these names and paths as --model. The PSNR is that at
    sigma 25 if it was measured; --json has all of them.

    Released weights have up to two sizes: colour_fast has fewer parameters, colour_best has a higher PSNR. --model
    colour is the one that --quality names or, if it does not exist, the other one.

    \b
    Examples:
      denoiselab models
      denoiselab models --json
    """
    from denoiselab.app import denoisers

    listed = (denoisers.known(), denoisers.trained())
    shipped, trained = ([(entry, denoisers.measured(entry)) for entry in entries] for entries in listed)
    if as_json:
        rows = [
            {**asdict(entry), "folder": str(entry.folder), "measured": [asdict(one) for one in measured]}
            for entry, measured in (*shipped, *trained)
        ]
        report("", rows, as_json)
        return
    _print(shipped)
    if trained:
        print("\nIn this folder:")
        _print(trained)


def _print(listed: "list[tuple[Entry, list[Measured]]]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*COLUMNS, box=None, pad_edge=False)
    for entry, measured in listed:
        table.add_row(*(escape(plain(cell)) for cell in _cells(entry, measured)))  # a card may contain "[red]"
    Console(width=None if Console().is_terminal else 160).print(table)


def _cells(entry: "Entry", measured: "list[Measured]") -> tuple[str, ...]:
    images = {1: "gray", 3: "colour"}[entry.channels] if entry.origin != "classical" else "any"
    one = _typical(measured)
    score = f"{one.test_set}, {one.noise}: {one.psnr:.2f} (+{one.gain:.2f})" if one else ""
    return entry.name, entry.origin, images, entry.noise, score, f"{entry.parameters:,}", entry.licence


def _typical(measured: "list[Measured]") -> "Measured | None":
    """The score to show: in the first test set (CBSD68 or BSD68, by the alphabet), at sigma 25 if it was measured."""
    of_set = [one for one in measured if one.test_set == measured[0].test_set]
    return next((one for one in of_set if one.noise == "sigma 25"), of_set[0] if of_set else None)
