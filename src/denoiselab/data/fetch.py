"""Stage fetch: decode all images of a data set into data/raw/, with checks for damaged, duplicate and leaked images."""

import hashlib
import importlib
import re
import shutil
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from denoiselab.config.data import Data, Pairs, Sampled
from denoiselab.data import copies, leaks, pair_fit
from denoiselab.data.manifest import SPLITS, Row, Source, write
from denoiselab.data.readers import further_sets
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import limited
from denoiselab.imaging import arrays, dataset_images
from denoiselab.runtime.errors import UserError

MIN_SIDE = 16  # pixels; SSIM needs 11
MANY = 5000  # images; the search for copies takes a minute or so for that many
HIGHEST_BITS = 14  # of cameras that store 16-bit files of less


def fetch(data: Data, out: Path) -> list[Row]:
    """Decode all images of a data set into `out` as PNG or, if float, TIFF, with manifest.csv and dataset.json.

    White is 255, 65535 or 1 there, whatever it is in the files.

    UserError names the file and the reason: unreadable or too small image, another depth, pair of different sizes or
    contents, duplicate name, empty split, image in two splits.
    """
    side = data.side if isinstance(data, Sampled) else None
    read, fits = _Reader(data), pair_fit.Fits()
    with Sources() as sources:
        images = importlib.import_module(f"denoiselab.data.readers.{data.name}").images(data, sources)
        further = further_sets.training(data, sources) + further_sets.tests(data, sources)
        for name, held in Counter(source.source for source in images + further).items():
            sources.used[name]["held"] = held  # before `limit`
        if isinstance(data, Sampled):
            images = limited(images, data.limit, data.seed)
        _check_sets(images, further)
        _check_names(images + further)
        _check_duplicates(images + further)
        shutil.rmtree(out, ignore_errors=True)
        read.few = len(images) + len(further) <= MANY
        rows = [_store(source, read, side, out, fits) for source in images]
        rows += [_store(source, read, None, out, fits) for source in further]
    read.check_white()
    misfits = _check_pairs(fits, data)
    found = leaks.find(rows)
    if read.few:
        found += leaks.find_copies(rows, read.views, found)
    else:
        print(f"more than {MANY} images: crops and turned copies in two splits are not looked for")
    dropped = leaks.images_to_drop(found) if data.drop_leaks else set()
    for row in (row for row in rows if row.image in dropped):
        for name in filter(None, (row.path, row.noisy)):
            (out / name).unlink()
    rows = [row for row in rows if row.image not in dropped]
    remaining = [leak for leak in found if not dropped & {leak.image, leak.other}]
    if remaining and not data.allow_leak:
        raise UserError(leaks.refusal(remaining))
    for split in SPLITS:
        if not any(row.split == split for row in rows):
            raise UserError(f"data {data.name}: no image in the {split} split")
    notes = {"sources": sources.used, "leaks": [leak.text for leak in remaining], "dropped": sorted(dropped)}
    if misfits:
        notes["misfits"] = misfits
    write(out, rows, notes | ({} if data.depth == 8 else {"depth": data.depth, "white": data.white}))
    return rows


@dataclass
class _Reader:
    """Reads the images of a data set at its depth."""

    data: Data
    few: bool = True  # images, so that copies are looked for
    highest: int = 0  # value of all images
    views: dict[str, list[copies.Features]] = field(default_factory=dict)  # by image, for leaks.find_copies

    def __call__(self, file: Path, source: Source) -> np.ndarray:
        pixels = self._pixels(file, source)
        if source.crop:
            top, left, height, width = source.crop
            pixels = pixels[top : top + height, left : left + width]
        return pixels

    def check_white(self) -> None:
        """Refuse images whose values all fit into 14 bits, as white is then unlikely to be 65535."""
        if self.data.depth == 16 and self.data.white is None and (bits := self.highest.bit_length()) <= HIGHEST_BITS:
            raise UserError(
                f"data.white: the highest value in the images is {self.highest}; set data.white to the value of white, "
                f"such as {2**bits - 1} for {bits} bits (65535 if the images are only dark)"
            )

    def _pixels(self, file: Path, source: Source) -> np.ndarray:
        channels = self.data.channels
        if source.pixels is not None:
            return dataset_images.convert(source.pixels, channels)
        if self.data.depth == 8:
            return dataset_images.read(file, channels, source.page)
        pixels = dataset_images.read_deep(file, channels, self.data.depth, self.data.white, source.page)
        self.highest = max(self.highest, int(pixels.max()))
        return pixels


def _check_pairs(fits: pair_fit.Fits, data: Data) -> list[str]:
    """Descriptions of the pairs that do not fit. UserError if these are not allowed; shifts are printed."""
    misfits, shifts = fits.misfits(), fits.shifts()
    if shifts:
        advice = "cut to what both show" if _aligns(data) else "data.align=true cuts both to what they share"
        print(f"{len(shifts)} noisy images are shifted: {pair_fit.shown(shifts)}; {advice}")
    if misfits and isinstance(data, Pairs) and not data.allow_misfit:
        raise UserError(
            f"data.path: {len(misfits)} pairs do not fit: {pair_fit.shown(misfits)}; correct or remove them, or set "
            "data.allow_misfit=true to continue with an alarm in the report"
        )
    return misfits


def _aligns(data: Data) -> bool:
    return isinstance(data, Pairs) and data.align


def _store(source: Source, read: _Reader, side: int | None, out: Path, fits: pair_fit.Fits) -> Row:
    original, noisy = read(source.file, source), None
    if source.noisy:
        noisy = read(source.noisy, source)
        if noisy.shape != original.shape:
            sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (noisy.shape, original.shape))
            raise UserError(f"{source.noisy} and {source.file}: a pair of different sizes, {sizes}")
        fit = fits.add(source.image, original, noisy)
        if fit.fits and _aligns(read.data):
            original, noisy = pair_fit.aligned(original, noisy, fit.shift)
    pixels = _reduced(original, side)
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise UserError(f"{source.file}: {width}x{height} is too small; each side must have {MIN_SIDE} pixels or more")
    relative = f"{source.split}/{_slug(source.image)}.{'tif' if pixels.dtype.kind == 'f' else 'png'}"
    dataset_images.write(out / relative, pixels)
    if read.few:
        views = (False,) if source.split == "train" else (False, True)
        read.views[source.image] = [copies.features(pixels, mirrored=mirrored) for mirrored in views]
    noisy_path = noisy_sha256 = ""
    if noisy is not None:
        noisy = _reduced(noisy, side)
        noisy_path, noisy_sha256 = f"noisy/{relative}", arrays.pixel_hash(noisy)
        dataset_images.write(out / noisy_path, noisy)
    return Row(
        image=source.image,
        split=source.split,
        label=source.label,
        group=source.group or source.image,
        sets=" ".join(source.sets or ([source.source] if source.split == "test" else [])),
        path=relative,
        noisy=noisy_path,
        sha256=arrays.pixel_hash(pixels),
        noisy_sha256=noisy_sha256,
        dhash=leaks.difference_hash(pixels),
        width=width,
        height=height,
        source=source.source,
    )


def _reduced(pixels: np.ndarray, side: int | None) -> np.ndarray:
    """Downscale so that the shorter side has `side` pixels; never upscale."""
    if side and side < min(pixels.shape[:2]):
        scale = side / min(pixels.shape[:2])
        size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return pixels


def _slug(image: str) -> str:
    """File name for an image id: readable, and unique even if ids differ in special characters only."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", image).strip("_")
    return plain if plain and plain == image else f"{plain[:80]}-{hashlib.sha256(image.encode()).hexdigest()[:8]}"


def _check_sets(images: list[Source], further: list[Source]) -> None:
    """Reject a further test set that the data set has itself."""
    own = {name for source in images for name in source.sets}
    for name in {name for source in further for name in source.sets}:
        if name in own:
            raise UserError(f"data.tests: {name} is part of the data set already")


def _check_names(sources: list[Source]) -> None:
    """Reject names with control characters or invalid Unicode, which would break CSV and Markdown tables."""
    for source in sources:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in source.image + source.label + source.group):
            raise UserError(f"{str(source.file)!r}: a name with a control character, or that is not UTF-8; rename it")


def _check_duplicates(sources: list[Source]) -> None:
    for image, count in Counter(source.image for source in sources).items():
        if count > 1:
            files = [str(source.file) for source in sources if source.image == image]
            raise UserError(f"{' and '.join(files)}: images of the same name, {image!r}")
