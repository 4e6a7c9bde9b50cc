"""What can denoise a picture: released weights, the models of an experiment in the workspace, classical methods.

`known` lists them without loading any (nor torch), `load` makes one ready, `estimate` and `choose` pick one.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoiselab.app.model_choice import choose
from denoiselab.models import metadata
from denoiselab.models.metadata import CARD
from denoiselab.noise.analysis import Estimate, estimate
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Denoiser", "Entry", "Estimate", "Measured", "choose", "estimate", "known", "load", "measured"]

PROJECT = Path(__file__).resolve().parents[3]  # whose released weights serve in every working directory
STRENGTHS = Path(__file__).with_name("strengths.csv")  # of the classical methods, as bench/strengths.py calibrates them
TILE = 1024  # pixels: larger ones are hardly faster
SMALLEST_TILE = 128
BYTES_PER_PIXEL = 1024  # of a tile, for a net's features: those of 17 layers of 64 take 768
# Of pictures that are taken whole; measured: up to 68 bytes (nlm in colour), and 1246 for NAFNet of width 32.
CLASSICAL_BYTES, NET_BYTES = 80, 1280
MLFLOW = ("models:/", "runs:/")
NOISE_OF_CARD = re.compile(r"gaussian \(sigma of 255 ([\d.]+).*")
NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?(?= |$)")
TITLES = {
    "gaussian": "Gaussian blur",
    "median": "Median over a disc",
    "bilateral": "Bilateral filter (Tomasi, Manduchi 1998)",
    "nlm": "Non-local means (Buades, Coll, Morel 2005)",
    "tv": "Total variation (Chambolle 2004)",
    "wavelet": "Wavelet shrinkage, BayesShrink (Chang, Yu, Vetterli 2000)",
}


@dataclass(frozen=True)
class Entry:
    """A denoiser, as its files describe it."""

    name: str
    origin: str  # released, trained or classical
    title: str
    channels: int  # of the pictures that it was made for: 1 or 3
    noise: str  # that it was trained on or is for, in words
    levels: tuple[float, float] | None  # lowest and highest sigma_255 of its training, where that was Gaussian
    licence: str  # of the weights; empty: not stated
    parameters: int
    folder: Path  # of the weights and their card


@dataclass(frozen=True)
class Measured:
    """A mean PSNR that the pipeline measured of a denoiser."""

    test_set: str
    noise: str
    psnr: float  # dB
    gain: float  # dB over the noisy input


class _NoDenoiserError(UserError):
    """Of a model that does something else."""


class Denoiser:
    """A loaded one. `module` may move to another device; do not use one Denoiser on two devices at a time."""

    def __init__(self, entry: Entry, module: "nn.Module", gray: "nn.Module | None" = None):
        """`gray` takes the place of `module` for gray pictures, where the method has one for them."""
        self.entry = entry
        self.module = module
        self.gray = gray
        self.channels = entry.channels

    @property
    def reach(self) -> int | None:
        """How many pixels away an output depends on the input; None: on all of it, so that tiles are none."""
        return getattr(self.module, "reach", None)

    def takes_level(self, channels: int) -> bool:
        """Whether it makes use of a given noise level for a picture of so many channels."""
        return bool(getattr(self.module, "noise_aware", False)) or (channels == 1 and self.channels == 3)

    def whole_bytes(self, pixels: int) -> int:
        """Memory for a picture of so many pixels if it is taken whole; 0: it is taken in tiles, as there is memory."""
        if self.reach is not None:
            return 0
        return pixels * (CLASSICAL_BYTES if self.entry.origin == "classical" else NET_BYTES)

    def restore(
        self,
        pixels: np.ndarray,
        *,
        sigma_255: float | None = None,
        device: str = "auto",
        tile: int | None = None,
        jobs: int = 1,
    ) -> np.ndarray:
        """The denoised picture, float32 and not clipped, of (H, W, C) in [0, 1] plus noise, C 1 or 3.

        A net for colours gets gray as `_three_of_gray` makes it; one for gray gets each colour on its own.
        `sigma_255`: the noise level, for those that make use of it; None: estimated. `tile` in pixels, of pictures
        that are larger; None: by the memory that is free, of which `jobs` such calls at a time take a share each.
        ValueError where there is too little for a model that takes pictures whole.
        """
        from denoiselab.runtime import devices

        chosen = devices.choose(device, "--device")
        devices.prepare(chosen)
        free = devices.free_bytes(chosen)
        self._check_memory(pixels, free)
        tile = tile or _tile(free // jobs, self.reach or 0)
        given = pixels.shape[2]
        if given == self.channels or self.gray is not None:
            return self._restored(pixels, sigma_255, chosen, tile)
        if given == 1:
            level = estimate(pixels).sigma_255 if sigma_255 is None else sigma_255
            restored = self._restored(_three_of_gray(pixels, level), 3**0.5 * level, chosen, tile)
            return restored.mean(axis=2, keepdims=True)
        return np.concatenate(
            [self._restored(pixels[:, :, c : c + 1], sigma_255, chosen, tile) for c in range(given)], axis=2
        )

    def _check_memory(self, pixels: np.ndarray, free: int) -> None:
        needed = self.whole_bytes(pixels.shape[0] * pixels.shape[1])
        if needed > free:
            raise UserError(
                f"{self.entry.name} takes a picture whole, and for one of {pixels.shape[1]} x {pixels.shape[0]} pixels "
                f"some {needed / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB are free; take a model that works "
                "in tiles, such as colour or gray, or a smaller picture"
            )

    def _restored(self, pixels: np.ndarray, sigma_255: float | None, device: "torch.device", tile: int) -> np.ndarray:
        from denoiselab.models import tiled_inference

        module = self.gray if self.gray is not None and pixels.shape[2] == 1 else self.module
        return tiled_inference.restore(module.to(device), pixels, device=device, sigma_255=sigma_255, tile=tile)


def _three_of_gray(pixels: np.ndarray, sigma_255: float) -> np.ndarray:
    """Three channels (H, W, 3) for a net for colours, whose mean is the gray picture (H, W, 1).

    A net for colours takes noise that is the same in all channels for texture. White noise that adds up to zero over
    the channels, of twice the picture's noise variance in each, makes theirs independent: covariance s^2 - 2 s^2 / 2.
    """
    noise = np.random.default_rng(0).standard_normal((*pixels.shape[:2], 3), np.float32)
    noise -= noise.mean(axis=2, keepdims=True)  # which leaves 2/3 of the variance
    return pixels + np.float32(3**0.5 * sigma_255 / 255) * noise


def known(root: Path = Path()) -> list[Entry]:
    """What there is: released weights, then the models of the experiment in the workspace `root`, then the classical
    methods as they come with the package.

    Of two with the same name the first one counts; its folder names the other. Those that restore nothing (classifiers,
    the noisy input) and damaged ones are left out.
    """
    found: dict[str, Entry] = {}
    for folder, origin in _folders(root):
        with suppress(ValueError):
            found.setdefault(folder.name, _described(folder, name=folder.name, origin=origin))
    for entry in _classical():
        found.setdefault(entry.name, entry)
    return list(found.values())


def load(reference: str, root: Path = Path()) -> Denoiser:
    """The denoiser that `reference` names: one of `known`, a folder with model.json, a weights file in such a folder,
    or a model of MLflow (models:/name@alias, models:/name/1, runs:/id/model).

    ValueError says what there is, or what is wrong with it: another of the same name does not take its place.
    """
    for folder, origin in _folders(root):
        if folder.name == reference:
            with suppress(_NoDenoiserError):
                return _loaded(_described(folder, name=reference, origin=origin))
    there = {entry.name: entry for entry in known(root)}
    if reference in there:
        return _loaded(there[reference])
    if reference.startswith(MLFLOW):
        from denoiselab.tracking import model_download

        with model_download.fetched(reference) as folder:
            return _loaded(_described(folder, name=reference, origin="trained"))
    path = Path(reference)
    if reference and path.is_dir():
        return _loaded(_described(path, name=path.resolve().name, origin="trained"))
    if path.is_file():
        return _loaded(_described(path.parent, name=path.stem, origin="trained"), weights=path.stem)
    raise UserError(f"model {reference!r} is unknown; there: {', '.join(there) or 'none'}, or a folder with {CARD}")


def _loaded(entry: Entry, weights: str | None = None) -> Denoiser:
    from denoiselab.models import model_store

    if entry.folder == STRENGTHS.parent:
        return Denoiser(entry, _calibrated(entry.name, 3), _calibrated(entry.name, 1))
    return Denoiser(entry, model_store.load(entry.folder, weights))


def _calibrated(method: str, channels: int) -> "nn.Module":
    """A classical method with the strengths that come with the package."""
    from denoiselab import architectures

    rows = [row for row in files.read_csv(STRENGTHS) if (row["method"], row["channels"]) == (method, str(channels))]
    strengths = {float(row["sigma_255"]): float(row["strength"]) for row in rows}
    block = {"arch": "classical", "channels": channels, "method": method, "strengths": list(strengths.values())}
    module: Any = architectures.build(block)
    module.set_strengths(strengths)
    return module.eval()


def _tile(free: int, reach: int) -> int:
    """Half of what is free may be taken, by a tile and what is computed around it."""
    from denoiselab.models.tiled_inference import GRID

    tile = TILE
    while tile > SMALLEST_TILE and (tile + 2 * (reach + GRID)) ** 2 * BYTES_PER_PIXEL > free // 2:
        tile //= 2
    return tile


def _folders(root: Path) -> Iterator[tuple[Path, str]]:
    """Of released and of the workspace's models, with their origin."""
    released = ((base / paths.released(""), "released") for base in dict.fromkeys([root.resolve(), PROJECT]))
    for place, origin in (*released, (root / paths.model(""), "trained")):
        for card in sorted(place.glob(f"*/{CARD}")):
            yield card.parent, origin


def _classical() -> Iterator[Entry]:
    rows = [row for row in files.read_csv(STRENGTHS) if row["channels"] == "3"]
    for method in dict.fromkeys(row["method"] for row in rows):
        levels = [float(row["sigma_255"]) for row in rows if row["method"] == method]
        gaussian = None if method == "median" else (min(levels), max(levels))
        noise = _gaussian(*gaussian) if gaussian else "black and white dots"
        yield Entry(method, "classical", TITLES[method], 3, noise, gaussian, "MIT", 0, STRENGTHS.parent)


def _described(folder: Path, *, name: str, origin: str) -> Entry:
    """ValueError where the folder has no model, or one that does not restore."""
    card = metadata.read(folder)
    facts = _facts(folder / "README.md")
    try:
        arch = card["architecture"]["arch"]
        if card["task"] != "restore" or arch == "identity":
            raise _NoDenoiserError(f"{folder}: {card['name']} is no denoiser")
        levels = _levels(card)
        return Entry(
            name,
            "classical" if arch == "classical" else origin,
            facts.get("title") or _title(card),
            {1: 1, 3: 3}[card["architecture"]["channels"]],
            _noise(card, levels),
            levels,
            facts.get("license", ""),
            int(card["parameters"]),
            folder,
        )
    except _NoDenoiserError:
        raise
    except KeyError as error:
        raise UserError(f"{folder / CARD}: lacks {error}") from None
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise UserError(f"{folder / CARD}: is no card of a denoiser: {error}") from None


def _facts(readme: Path) -> dict[str, str]:
    """Title and licence that the card of released weights states: its heading, and the YAML before that."""
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
    return TITLES[block["method"]] if block["arch"] == "classical" else f"{block['arch']} of the experiment"


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
        return "as its source says"
    kind = card["noise"]["train"]["kind"]
    return "of real cameras" if kind == "real" else kind.replace("_", " ")


def _gaussian(low: float, high: float) -> str:
    return f"Gaussian, sigma {low:g} of 255" if low == high else f"Gaussian, sigma {low:g} to {high:g} of 255"


def measured(entry: Entry, root: Path = Path()) -> list[Measured]:
    """What the pipeline measured: of released weights, as their card says; of the experiment's, by its last compare."""
    if entry.origin == "released":
        return list(_of_card(entry.folder / "README.md"))
    if entry.folder.resolve() != (root / paths.model(entry.name)).resolve() or not (root / paths.COMPARISON).is_file():
        return []
    rows = [row for row in files.read_csv(root / paths.COMPARISON) if row["model"] == entry.name]
    return [Measured(r["set"], r["condition"], float(r["psnr_mean"]), float(r["psnr_gain"])) for r in rows]


def _of_card(readme: Path) -> Iterator[Measured]:
    """The rows of the measured part's table that are about the weights: their name is bold."""
    for line in _lines(readme):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[3].startswith("**") and NUMBER.match(cells[4]) and NUMBER.fullmatch(cells[5]):
            noise = NOISE_OF_CARD.sub(r"sigma \1", cells[1]).partition(" (")[0]
            yield Measured(cells[0], noise, float(cells[4].partition(" ")[0]), float(cells[5]))


def _lines(readme: Path) -> list[str]:
    """None where there is no such file; what is no text in it is marked."""
    return readme.read_text(encoding="utf-8", errors="replace").splitlines() if readme.is_file() else []
