"""Catalogue of denoisers, read from their model cards without loading weights or torch.

`known` lists those that come with the package, by name; the name of a family of released weights, such as colour, means
one of its sizes (`resolved`). `trained` lists those in the workspace, by path, such as models/unet: training a model
never changes the meaning of a name.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiselab.models import metadata
from denoiselab.models.metadata import CARD, CLASSICAL
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError

PROJECT = Path(__file__).resolve().parents[3]
PACKED = Path(__file__).resolve().parents[1] / "released"  # in a wheel
STRENGTHS = Path(__file__).with_name("strengths.csv")  # calibrated by bench/strengths.py
NOISE_OF_CARD = re.compile(r"gaussian \(sigma ([\d.]+) of 255(?=.*,( clipped)|).*")
NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?(?= |$)")
BM3D_LEVELS = (0.0, 100.0)  # of the paper's tables
TITLES = {
    "bm3d": "BM3D (Dabov, Foi, Katkovnik, Egiazarian 2007)",
    "gaussian": "Gaussian blur",
    "median": "Median over a disc",
    "bilateral": "Bilateral filter (Tomasi, Manduchi 1998)",
    "nlm": "Non-local means (Buades, Coll, Morel 2005)",
    "tv": "Total variation (Chambolle 2004)",
    "wavelet": "Wavelet shrinkage, BayesShrink (Chang, Yu, Vetterli 2000)",
}


@dataclass(frozen=True)
class Entry:
    """Description of a denoiser, from its files."""

    name: str
    origin: str  # released, trained or classical
    title: str
    channels: int  # 1 (gray) or 3 (colour)
    noise: str  # description of the noise that it was trained on or is meant for
    levels: tuple[float, float] | None  # lowest and highest sigma_255 of Gaussian training noise
    licence: str  # of the weights; empty: not stated
    parameters: int
    folder: Path  # of the weights and their card


@dataclass(frozen=True)
class Measured:
    """Mean PSNR of a denoiser, measured by the pipeline."""

    test_set: str
    noise: str
    psnr: float  # dB
    gain: float  # dB over the noisy input


def known() -> list[Entry]:
    """Denoisers that come with the package: released weights, then classical methods. Damaged ones are left out."""
    found = []
    for name, folder in released().items():
        with suppress(ValueError):
            found.append(described(folder, name=name, origin="released"))
    return [*found, *_classical()]


def trained(root: Path = Path()) -> list[Entry]:
    """Denoisers in the workspace `root`, named by their path: those trained by its experiment (models/unet), and its
    released weights (models/released/mine) unless `root` is the package's own project.

    Models that do not restore images (classifiers, the noisy input) and damaged ones are left out.
    """
    folders = [(folder, "trained") for folder in _with_card(root / paths.model(""))]
    if root.resolve() != PROJECT:
        folders += [(folder, "released") for folder in _with_card(root / paths.released(""))]
    found = []
    for folder, origin in folders:
        with suppress(ValueError):
            found.append(described(folder, name=path_name(folder, root), origin=origin))
    return found


def resolved(name: str, quality: str = "best") -> str:
    """Name of the released weights of this quality in the family `name`, or of the size that there is.

    `color` is another spelling of `colour`. Names and paths of other models are returned as they are. UserError if the
    quality is unknown.
    """
    if quality not in paths.QUALITIES:
        raise UserError(f"unknown quality {quality!r}; choose from: {', '.join(paths.QUALITIES)}")
    name = re.sub(r"^color(?=_|$)", "colour", name)
    sizes, there = paths.sizes(name), released()
    return next((size for size in (sizes[quality], *sizes.values()) if size in there), name)


def named(name: str, root: Path = Path()) -> Entry:
    """The denoiser of `known` called `name`. UserError if it is damaged or does not exist; the message then suggests
    models in the workspace `root`."""
    if folder := released().get(name):
        return described(folder, name=name, origin="released")
    for entry in _classical():
        if entry.name == name:
            return entry
    raise UserError(_unknown(name, root))


def _unknown(name: str, root: Path) -> str:
    """Error message that names the path of a model of that name in the workspace, if there is one."""
    nearby = {
        "trained here": paths.model(name) / CARD,
        "released here": paths.released(name) / CARD,
        "in this folder": Path(name),
    }
    for where, file in nearby.items():
        if name and (root / file).exists():
            path = file.parent.as_posix() if file.name == CARD else f"./{name}"
            return f"model {name!r} is not shipped; for the one {where}, use {path}"
    names = ", ".join(entry.name for entry in known())
    return f"unknown model {name!r}; choose from: {names}, or give the path of a folder with {CARD}"


def path_name(path: Path, root: Path = Path()) -> str:
    """Display name of a model given by its path: the path within the workspace `root`, or the last part elsewhere."""
    absolute, base = (Path(os.path.abspath(one)) for one in (path, root))  # noqa: PTH100 - resolve() follows links
    if base in absolute.parents:
        return absolute.relative_to(base).as_posix()
    return absolute.stem if absolute.is_file() else absolute.name


def released() -> dict[str, Path]:
    """Folders of the released weights, which are available in every working directory, by name."""
    place = PACKED if PACKED.is_dir() else PROJECT / paths.released("")
    return {folder.name: folder for folder in _with_card(place)}


def _with_card(place: Path) -> list[Path]:
    return [card.parent for card in sorted(place.glob(f"*/{CARD}"))]


def _classical() -> Iterator[Entry]:
    yield Entry(
        "bm3d", "classical", TITLES["bm3d"], 3, _gaussian(*BM3D_LEVELS), BM3D_LEVELS, "MIT", 0, STRENGTHS.parent
    )
    rows = [row for row in files.read_csv(STRENGTHS) if row["channels"] == "3"]
    for method in dict.fromkeys(row["method"] for row in rows):
        levels = [float(row["sigma_255"]) for row in rows if row["method"] == method]
        gaussian = None if method == "median" else (min(levels), max(levels))
        noise = _gaussian(*gaussian) if gaussian else "black and white dots"
        yield Entry(method, "classical", TITLES[method], 3, noise, gaussian, "MIT", 0, STRENGTHS.parent)


def described(folder: Path, *, name: str, origin: str) -> Entry:
    """Entry of a folder with a model. UserError if there is none, or it does not restore images."""
    card = metadata.read(folder)
    facts = _facts(folder / "README.md")
    try:
        arch = card["architecture"]["arch"]
        if card["task"] != "restore" or arch == "identity":
            raise UserError(f"{folder}: {card['name']} is not a denoiser")
        levels = _levels(card)
        return Entry(
            name,
            "classical" if arch in CLASSICAL else origin,
            facts.get("title") or _title(card),
            {1: 1, 3: 3}[card["architecture"]["channels"]],
            _noise(card, levels),
            levels,
            facts.get("license", ""),
            int(card["parameters"]),
            folder,
        )
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{folder / CARD}: lacks {error}") from None
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise UserError(f"{folder / CARD}: is not the card of a denoiser: {error}") from None


def _facts(readme: Path) -> dict[str, str]:
    """Title (the heading) and the YAML header of the card of released weights."""
    facts: dict[str, str] = {}
    for line in _lines(readme):
        if line.startswith("# "):
            return facts | {"title": line.removeprefix("# ").partition(": ")[2]}
        key, colon, value = line.partition(": ")
        if colon:
            facts[key] = value
    return facts


def _title(card: dict[str, Any]) -> str:
    block = card["architecture"]
    arch = block["arch"]
    return TITLES[block.get("method", arch)] if arch in CLASSICAL else f"{arch} of the experiment"


def _levels(card: dict[str, Any]) -> tuple[float, float] | None:
    spec = card["noise"]["train"]
    if spec["kind"] != "gaussian" or card["imported"]:
        return None
    level = spec["sigma_255"]
    return (min(level), max(level)) if isinstance(level, list) else (level, level)


def _noise(card: dict[str, Any], levels: tuple[float, float] | None) -> str:
    if levels:
        return _gaussian(*levels)
    if card["imported"]:
        return "see its source"
    kind = card["noise"]["train"]["kind"]
    return "camera noise" if kind in ("real", "camera", "camera_jpeg") else kind.replace("_", " ")


def _gaussian(low: float, high: float) -> str:
    return f"Gaussian, sigma {low:g} of 255" if low == high else f"Gaussian, sigma {low:g} to {high:g} of 255"


def measured(entry: Entry, root: Path = Path()) -> list[Measured]:
    """Mean PSNR measured by the pipeline: from the card of released weights, or the workspace's last comparison."""
    if entry.origin == "released":
        return list(_of_card(entry.folder / "README.md"))
    if entry.folder.parent.resolve() != (root / paths.model("")).resolve() or not (root / paths.COMPARISON).is_file():
        return []
    rows = [row for row in files.read_csv(root / paths.COMPARISON) if row["model"] == entry.folder.name]
    rows = [row for row in rows if row.get("psnr_mean") and row.get("psnr_gain")]  # empty or missing without scores
    return [Measured(r["set"], r["condition"], float(r["psnr_mean"]), float(r["psnr_gain"])) for r in rows]


def _of_card(readme: Path) -> Iterator[Measured]:
    """Rows for the weights themselves, whose name is bold, in the card's table of results."""
    for line in _lines(readme):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[3].startswith("**") and NUMBER.match(cells[4]) and NUMBER.fullmatch(cells[5]):
            noise = NOISE_OF_CARD.sub(r"sigma \1\2", cells[1]).partition(" (")[0]
            yield Measured(cells[0], noise, float(cells[4].partition(" ")[0]), float(cells[5]))


def _lines(readme: Path) -> list[str]:
    """Lines of the file, none if it does not exist; undecodable bytes are replaced."""
    return readme.read_text(encoding="utf-8", errors="replace").splitlines() if readme.is_file() else []
