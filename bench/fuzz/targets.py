"""All code that reads untrusted input, as functions of bytes. They may reject an input with a ValueError or OSError of
one line, and must not fail in any other way. Shared by the hypothesis tests and the fuzzer."""

import contextlib
import html.parser
import io
import os
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from starlette.responses import FileResponse

from bench.fuzz import seeds
from denoiselab import config
from denoiselab.app import cli, denoisers
from denoiselab.app.cli import models as listing
from denoiselab.app.cli._output import plain
from denoiselab.app.web import computation, server, texts
from denoiselab.architectures import build
from denoiselab.config.data import Cifar10, Hair, Stl10
from denoiselab.data import manifest
from denoiselab.data.readers import archives, cifar10, hair, stl10
from denoiselab.data.readers.sources import Sources
from denoiselab.imaging import boxes, dataset_images, encoders, exif, metadata, photos, stacks
from denoiselab.models import model_store, pretrained
from denoiselab.report.rendering import page
from denoiselab.runtime.errors import SettingsError, UserError
from denoiselab.runtime.sanitize import markdown
from denoiselab.training import checkpoint

REFUSALS = (UserError, OSError)
LONGEST = 4096  # characters of an error message
CPU_S = 20.0  # processor time per input on one core
MEMORY_MIB = 1024  # additional memory per input
PIXELS = 1 << 16  # limit for uploaded images
IMAGES = 8  # of a stack
UNPACKED = 1 << 20  # limit for unpacked archives, bytes
WORDS = (
    *("denoise", "estimate", "noise", "compare", "models", "export", "--version", "--help", "--json", "--force", "-f"),
    *("--model", "-m", "gaussian", "median", "models/net", "--sigma", "25", "-1", "nan", "1e400", "--tile", "64"),
    *("--white", "4095", "--device", "cpu", "--noise", "gaussian25", "--kind", "poisson", "--level", "--seed", "0"),
    *("--float", "--list", "--clean", "--models", "a.png", "b.tif", "-x.png", "line\nbreak.png", "out.png", "out/"),
    *(".", "*.png", "?", "[", "**", "", "--", "-", "~", "‮", "\x1b[31m", "n.tif", "c.jpg", "net.onnx", "runs:/1/model"),
    *("--quality", "fast"),
)


@dataclass(frozen=True)
class Target:
    """Code under test: `run` gets an input and an empty folder to work in; `seeds` returns valid inputs."""

    run: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]
    named: bool = False  # error messages must name the file


class FindingError(AssertionError):
    """An input caused forbidden behaviour."""


def check(target: Target, data: bytes, folder: Path) -> None:
    """Run a target. FindingError for a bad error message or too much time or memory; other errors pass through."""
    started, memory = time.process_time(), _peak_mib()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.run(data, folder)
    except REFUSALS as error:
        if fault := _message_fault(error, target, folder):
            raise FindingError(f"{fault}: {type(error).__name__}: {str(error)[:300]!r}") from error
    if (seconds := time.process_time() - started) > CPU_S * torch.get_num_threads():
        raise FindingError(f"took {seconds:.1f} s of processor time")
    if (grown := _peak_mib() - memory) > MEMORY_MIB:
        raise FindingError(f"took {grown:.0f} MiB of memory")


def _message_fault(error: Exception, target: Target, folder: Path) -> str:
    """What is wrong with an error message; empty if nothing."""
    text = str(error)
    if not text.strip():
        return "empty error message"
    if len(text) > LONGEST:
        return f"error message of {len(text)} characters"
    if "\n" in text and not isinstance(error, SettingsError):
        return "error message of several lines"
    return "error message does not name the file" if target.named and str(folder) not in text else ""


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _params(data: bytes, folder: Path) -> None:
    config.load(_file(folder / "params.yaml", data))


def _manifest(data: bytes, folder: Path) -> None:
    """Accepted rows name files inside the folder and known splits."""
    _file(folder / "manifest.csv", data)
    _file(folder / "dataset.json", b"{}")  # as written by earlier versions, without checksums
    for row in manifest.read(folder):
        for name in filter(None, (row.path, row.noisy)):
            _expect((folder / name).resolve().is_relative_to(folder.resolve()), f"{name!r} is outside the folder")
        _expect(row.split in manifest.SPLITS and row.width > 0 and row.height > 0, f"{row}")


def _tables(data: bytes, folder: Path) -> None:
    """Label files of data sets whose images are valid."""
    kind, content = data[:1], data[1:]
    for n in range(3):
        _file(folder / "input" / f"{n}.png", b"x"), _file(folder / "target" / f"{n}.png", b"x")
    names = content if kind in (b"\1", b"\3") else b"airplane\ncat\ndog\n"
    record = bytes([1]) + bytes(3 * 32 * 32)
    _file(folder / "labels.csv", content if kind == b"\0" else b"input,target\n")
    _file(folder / "batches.meta.txt", names), _file(folder / "class_names.txt", names)
    for stem in cifar10.BATCHES:
        _file(folder / f"{stem}.bin", content if kind == b"\2" else record)
    for split in ("train", "test"):
        labels = content if kind == b"\4" else b"\1\2"
        _file(folder / f"{split}_y.bin", labels)
        _file(folder / f"{split}_X.bin", bytes(3 * 96 * 96 * 2))
    sources = cast(Sources, SimpleNamespace(unpacked=lambda *args, **more: folder))
    archive = SimpleNamespace(url="an archive")
    share = SimpleNamespace(train=0.4, val=0.3, test=0.3)
    block: Any = SimpleNamespace(hair=archive, cifar10=archive, stl10=archive, seed=0, split=share, val_share=0.1)
    if kind == b"\0":
        hair.images(cast(Hair, block), sources)
    elif kind in (b"\1", b"\2"):
        cifar10.images(cast(Cifar10, block), sources)
    else:
        stl10.images(cast(Stl10, block), sources)


def _image(data: bytes, folder: Path) -> None:
    """Images of the pipeline, with any suffix."""
    pixels = dataset_images.read(_file(folder / f"a{_suffix(data)}", data[1:]), 3)
    _expect(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, f"{pixels.dtype} {pixels.shape}")


def _photo(data: bytes, folder: Path) -> None:
    """Users' photos: written to TIFF and read again, they are unchanged."""
    photos.size(data, max_pixels=PIXELS)
    photo = photos.read(data, max_pixels=PIXELS, separate=True)
    channels = photo.pixels.shape[2]
    _expect(bool(np.isfinite(photo.pixels).all()) and (channels in (1, 3) or photo.separate), "not an image")
    again = photos.read(photos.encode(photo, photo.pixels, ".tif"), white=photo.white, separate=True)
    _expect(np.allclose(again.pixels, photo.pixels, rtol=1e-5, atol=1e-5), "the round trip changed the image")


def _stack(data: bytes, folder: Path) -> None:
    """Stacks: written to a TIFF file and read again, they are unchanged."""
    path = _file(folder / "a.tif", data)
    with stacks.opened(path) as stack:
        images = [stack.decode(n, PIXELS) for n in range(min(len(stack), IMAGES))] if stack else []
        if stack is None or len(stack) > IMAGES:
            return
        with stacks.written(folder / "b.tif", stack) as write:
            for n, image in enumerate(images):
                stack.channel(n)
                write(image.values, image.metadata, image.separate)
    with stacks.opened(folder / "b.tif") as again:
        _expect(again is not None and len(again) == len(images), "another number of images")
        for n, image in enumerate(images if again else []):
            found, exact = again.decode(n, PIXELS).values, image.values.dtype.kind != "f"
            _expect(np.array_equal(found, image.values, equal_nan=not exact), "the round trip changed an image")


def _exif(data: bytes, folder: Path) -> None:
    """EXIF blocks and TIFF metadata; never rejected."""
    try:
        exif.orientation(data)
        exif.reset_orientation(data)
        exif.from_tiff(data)
        if data[:4] in exif.ORDERS:
            exif.into_tiff(data, data)
    except REFUSALS as error:
        raise FindingError(f"{error!r}") from error


def _containers(data: bytes, folder: Path) -> None:
    """Metadata of JPEG 2000, AVIF, PNG and JPEG, besides Pillow's; never rejected."""
    try:
        boxes.of_jp2(data)
        boxes.of_jp2(boxes.JP2 + data)
        boxes.cicp(data)
        metadata.end_of_jpeg(data)
        for kind, content in metadata.png_chunks(data):
            _expect(len(kind) == 4 and len(content) <= len(data), "a chunk beyond the file")
        for _, _, whole in metadata.resources(data):
            _expect(len(whole) <= len(data) + 1, "a resource beyond the file")
    except REFUSALS as error:
        raise FindingError(f"{error!r}") from error


def _archive(data: bytes, folder: Path) -> None:
    """Unpacks only files and folders, not more than the limit, and nothing outside the folder."""
    path, out = _file(folder / "archive", data), folder / "out"
    try:
        archives.unpack(path, out, limit=UNPACKED)
    except REFUSALS:
        _expect([*folder.iterdir()] == [path], "a rejected archive left files behind")
        raise
    found = [*out.rglob("*")]
    _expect({*folder.iterdir()} == {path, out}, "files outside the folder")
    _expect(all(p.is_dir() or p.is_file() for p in found) and not any(p.is_symlink() for p in found), "special files")
    _expect(sum(p.stat().st_size for p in found if p.is_file()) <= UNPACKED, "more than the limit was unpacked")


def _weights(data: bytes, folder: Path) -> None:
    """Imported weights, what `denoiselab weights` tells of them, and checkpoints, which are set aside if damaged."""
    suffix = ".safetensors" if data[:1] == b"\0" else ".pth"
    if suffix == ".pth":
        _file(folder / "fingerprint" / "state.pt", data[1:])
        with contextlib.redirect_stderr(io.StringIO()):
            checkpoint.Checkpoint(folder, "fingerprint").load()
    path = _file(folder / f"weights{suffix}", data[1:])
    pretrained.recognise(pretrained.read(path))
    pretrained.load_weights(build(seeds.NET), seeds.NET, path)


def _model(data: bytes, folder: Path) -> None:
    """Folder of a trained model: lists of models skip it if damaged, loading it raises an error."""
    kind, place = data[:1], folder / "models" / "net"
    model_store.save(place, {"best_psnr": seeds.tensors()}, {})
    _file(place / "model.json", data[1:] if kind == b"\0" else seeds.released()[0][1:])
    _file(place / "README.md", data[1:] if kind == b"\1" else seeds.README)
    if kind == b"\2":
        _file(place / "best_psnr.safetensors", data[1:])
    try:
        for entry in denoisers.trained(folder):
            if entry.origin == "trained":
                listing._cells(entry, denoisers.measured(replace(entry, origin="released")))
    except REFUSALS as error:
        raise FindingError(f"one damaged model stops the list: {error}") from error
    denoisers.load(str(place), folder).restore(np.zeros((16, 16, 1), np.float32), sigma_255=25)


def _arguments(data: bytes, folder: Path) -> None:
    """The command line, without `doctor`, `export` and the web server. All output is printable."""
    arguments = [WORDS[part[0] % len(WORDS)] if len(part) == 1 else _word(part) for part in data.split(b"\0")]
    if {"doctor", "export"} & {*arguments}:
        return
    for name in ("a.png", "-x.png", "line\nbreak.png"):
        _file(folder / name, seeds.images()[0])
    _file(folder / "b.tif", seeds.images()[2])
    output, back = io.StringIO(), Path.cwd()
    no_server = _replaced(server, "run", lambda *args, **options: None)
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), no_server:
            cli.main(arguments)
    except SystemExit as end:
        text = end.code if isinstance(end.code, str) else ""
        _expect(end.code in (None, 0, 1, 2, 3) or bool(text), f"exit code {end.code!r}")
        output.write(text)
    finally:
        os.chdir(back)
    shown = output.getvalue()
    _expect("Traceback" not in shown, shown[-500:])
    _expect(all(map(str.isprintable, shown.split("\n"))), f"unprintable: {shown[-300:]!r}")


def _upload(data: bytes, folder: Path) -> None:
    """An upload to the web page: file name, noise to add, image, and the texts that the page shows."""
    kind, length, rest = data[:1], data[1] if len(data) > 1 else 0, data[2:]
    name = rest[:length].decode("utf-8", "replace")
    noise = {b"\0": None, b"\1": ("gaussian", 25.0), b"\2": ("salt_pepper", 0.1)}.get(kind)
    try:
        outcome = computation.run(
            computation.Task(rest[length:], name, noise, ("gaussian",)), PIXELS, lambda step: None
        )
    except ValueError as error:
        _expect_text(texts.plain(str(error)))
        return
    download = outcome.results[0].download
    texts.table(outcome), texts.noise_found(outcome, noise), texts.downloads(outcome)
    _expect(Path(download.name).name == download.name, "the file name contains folders")
    sent = FileResponse(download.file, filename=download.name).headers["content-disposition"]
    _expect(sent.isprintable(), f"unprintable header: {sent!r}")


def _words(data: bytes, folder: Path) -> None:
    """File names on the page, in the report and in a terminal: shown as plain text."""
    name = data.decode("utf-8", "surrogateescape")
    _expect(plain(name).isprintable(), f"unprintable in a terminal: {plain(name)!r}")
    _expect_text(texts.plain(name))
    _expect_text(markdown(name))


TARGETS: dict[str, Target] = {
    "params": Target(_params, seeds.params, named=True),
    "manifest": Target(_manifest, seeds.manifest, named=True),
    "tables": Target(_tables, seeds.tables),
    "image": Target(_image, seeds.suffixed, named=True),
    "photo": Target(_photo, seeds.images),
    "stack": Target(_stack, seeds.stacks, named=True),
    "exif": Target(_exif, seeds.exif),
    "containers": Target(_containers, seeds.containers),
    "archive": Target(_archive, seeds.archives, named=True),
    "weights": Target(_weights, seeds.weights, named=True),
    "model": Target(_model, seeds.released, named=True),
    "arguments": Target(_arguments, seeds.arguments),
    "upload": Target(_upload, seeds.uploads),
    "words": Target(_words, seeds.words),
}


class _Elements(html.parser.HTMLParser):
    """The elements of a page, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(key for key, _ in attrs)))


def _expect_text(escaped: str) -> None:
    """Check that Markdown renders it as plain text in a paragraph, in bold and in a table cell."""
    made, plainly = _elements(escaped or "x"), _elements("x")
    _expect(made == plainly, f"{escaped!r} is not plain text: {[e for e in made if e not in plainly]}")


@lru_cache(2)
def _elements(name: str) -> list[tuple[str, tuple[str, ...]]]:
    """HTML elements of a page with a name in a paragraph, in bold and in a table cell."""
    text = f"# Q\n\nThe {name}.\n\n**{name}**, one\n\n| a | b |\n|:--|--:|\n| {name} | 1 |\n"
    return _Elements(page(text)).found


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise FindingError(message)


def _file(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _suffix(data: bytes) -> str:
    return [*encoders.FORMATS][(data[0] if data else 0) % len(encoders.FORMATS)]


def _word(part: bytes) -> str:
    """A word of a command line, without slashes, so that it cannot leave the folder."""
    return part.decode("utf-8", "surrogateescape").replace("/", "")


@contextlib.contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a module for the duration of the block."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, in memory if possible: a disk would be slower than the code under test."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@contextlib.contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """Empty the folder after the block."""
    try:
        yield folder
    finally:
        for left in folder.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()
