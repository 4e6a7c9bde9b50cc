"""Small valid inputs of every kind, from which the fuzzer starts: mutations of these reach more code than noise."""

import csv
import io
import json
import struct
import tarfile
import zipfile
import zlib
from functools import cache
from typing import Any

import numpy as np
import tifffile
import torch
import yaml
from PIL import Image
from safetensors.torch import save as serialize

from bench._project import ROOT
from denoiselab import architectures
from denoiselab.data.manifest import Row
from denoiselab.imaging import boxes, encoders, metadata
from denoiselab.imaging.metadata import Metadata

SIDE = 24  # pixels
NET: dict[str, Any] = {"arch": "dncnn", "channels": 1, "depth": 2, "features": 2, "batch_norm": False}
RECOGNISED: tuple[dict[str, Any], ...] = (
    {"arch": "drunet", "channels": 1, "widths": [2, 2], "blocks": 1, "noise_map": True},
    {"arch": "ffdnet", "channels": 1, "depth": 3, "features": 2, "batch_norm": False},
    {"arch": "nafnet", "channels": 1, "width": 2, "encoder": [1], "middle": 1, "decoder": [1]},
    {"arch": "resunet", "channels": 1, "widths": [2, 2], "blocks": 1},
)
SHAPES: dict[str, tuple[Any, int]] = {  # dtype and channels of the test images, by suffix
    ".png": (np.uint16, 3),
    ".jpg": (np.uint8, 3),
    ".tif": (np.float32, 1),
    ".bmp": (np.uint8, 3),
    ".webp": (np.uint8, 4),
}
# Fragments of malicious inputs in any format: extreme numbers, deep nesting, path traversal, injected code.
FRAGMENTS = (
    *(b"\0", b"\n", b"\r", b"\x1b[31m", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\0\0\0\0\0"),
    *(b"../../", b"/etc/passwd", b"C:\\", b"-rf", b"--force", b"a" * 300, b"[" * 200, b"{'a':" * 50, b"- " * 200),
    *(b"1e400", b"NaN", b"-Infinity", b".inf", b"9" * 30, b"-1", b"0", b"null", b"true", b'""', b"[]", b"{}"),
    *(b"&a [*a, *a]", b"!!python/object/apply:os.system [id]", b"2001-13-45", b"<<: *a", b"? {}", b"\xed\xa0\x80"),
    *(b"<script>", b"](javascript:alert(1))", b"|", b"`", b"$\\frac$", b"[/red]", b"\xe2\x80\xae", b"\xe2\x80\xa8"),
    *(b"IHDR", b"IDAT", b"iCCP", b"eXIf", b"PK\1\2", b"PK\5\6", b"II*\0", b"MM\0*", b"cos\nsystem\n(", b"\x80\x02c"),
)


def params() -> list[bytes]:
    """params.yaml with two models, as YAML and as JSON."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["models"] = {name: tree["models"][name] for name in ("noisy", "median")}
    return [yaml.safe_dump(tree).encode(), json.dumps(tree).encode(), b"&a [*a]"]


def manifest() -> list[bytes]:
    """A manifest.csv with two images."""
    text, names = io.StringIO(), list(Row.__dataclass_fields__)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for n, split in enumerate(("train", "test")):
        hashes = [f"{n:064x}", "", f"{n:064x}"]
        writer.writerow([f"im{n}", split, "cat", f"im{n}", "", f"{split}/im{n}.png", "", *hashes, 64, 48, "folder"])
    return [text.getvalue().encode()]


def tables() -> list[bytes]:
    """labels.csv of image pairs, and class names and records of CIFAR-10 and STL-10."""
    pairs = "input,target\n" + "".join(f"{n}.png,{n}.png\n" for n in range(3))
    record = bytes([1]) + bytes(3 * 32 * 32)
    names = b"airplane\ncat\ndog\n"
    return [b"\0" + pairs.encode(), b"\1" + names, b"\2" + record, b"\3" + names, b"\4\1\2\3"]


def images() -> list[bytes]:
    """An image in each format (with EXIF if supported), one with a palette, LZW and tiled TIFFs, and a PNG bomb."""
    rng = np.random.default_rng(0)
    made = []
    for suffix, (dtype, planes) in SHAPES.items():
        values = rng.integers(0, 256, (SIDE, SIDE, planes)).astype(dtype)
        about = Metadata(exif=_exif() if suffix != ".bmp" else None)
        made.append(encoders.FORMATS[suffix].encode(values, about))
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 4, (SIDE, SIDE), np.uint8), "P").save(stream, "PNG", transparency=1)
    lzw = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)).save(lzw, "TIFF", compression="tiff_lzw")
    tiles = io.BytesIO()
    tifffile.imwrite(tiles, np.zeros((SIDE, SIDE), np.uint16), tile=(16, 16), metadata=None)
    made += [stream.getvalue(), lzw.getvalue(), tiles.getvalue(), bomb(100_000, 100_000)]
    return [*made, *(_by_pillow(form) for form in ("GIF", "AVIF", "JPEG2000"))]


def _by_pillow(form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)).save(stream, form)
    return stream.getvalue()


def stacks() -> list[bytes]:
    """TIFF stacks: pages, LZW pages, ImageJ in one directory, OME with two channels, and gray with two channels."""
    frames = np.random.default_rng(0).integers(0, 4096, (4, SIDE, SIDE)).astype(np.uint16)
    kinds: list[dict[str, Any]] = [
        {"photometric": "minisblack", "metadata": None},
        {"imagej": True, "truncate": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "CYX"}},
        {"photometric": "minisblack", "planarconfig": "separate", "metadata": None},
    ]
    made = []
    for options in kinds:
        stream = io.BytesIO()
        tifffile.imwrite(stream, frames, **options)
        made.append(stream.getvalue())
    lzw, images = io.BytesIO(), [Image.fromarray(frame.astype(np.uint8)) for frame in frames]
    images[0].save(lzw, "TIFF", save_all=True, append_images=images[1:], compression="tiff_lzw")
    return [*made, lzw.getvalue()]


def containers() -> list[bytes]:
    """JPEG 2000 with boxes, AVIF, JPEG with a second file behind it, PNG, and Photoshop's image resources."""
    further = boxes.XMP + b"<x/>"
    jp2 = _by_pillow("JPEG2000") + struct.pack(">I4s", 8 + len(further), b"uuid") + further
    resources = metadata.resource(metadata.IPTC, b"\x1c\2\x50\0\1a")
    return [jp2, _by_pillow("AVIF"), _by_pillow("JPEG") + jp2, _by_pillow("PNG"), resources]


def suffixed() -> list[bytes]:
    """Images, each preceded by a byte that encodes its suffix."""
    suffixes = [*encoders.FORMATS]
    kinds = [suffixes.index(suffix) for suffix in SHAPES] + [0, 3, 3, 0, 0, 0, 0]
    return [bytes([kind]) + data for kind, data in zip(kinds, images(), strict=True)]


def bomb(width: int, height: int) -> bytes:
    """A PNG with hardly any data whose header claims width x height gray pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def exif() -> list[bytes]:
    """EXIF blocks in both byte orders, and a truncated one."""
    return [_exif("<"), _exif(">"), _exif("<")[:20]]


def archives() -> list[bytes]:
    """Archives of two files in a folder: zip (stored and deflated), tar (USTAR and PAX) and tar.gz."""
    members = {"top/a.txt": b"alpha" * 20, "top/b/c.bin": bytes(range(64))}
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as container:
            for name, content in members.items():
                container.writestr(zipfile.ZipInfo(name), content)
        made.append(stream.getvalue())
    for mode, form in (("w", tarfile.USTAR_FORMAT), ("w", tarfile.PAX_FORMAT), ("w:gz", tarfile.GNU_FORMAT)):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode, format=form) as tar:  # type: ignore[call-overload]
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        made.append(stream.getvalue())
    return made


@cache
def tensors() -> dict[str, torch.Tensor]:
    """The weights of NET."""
    torch.manual_seed(0)
    return architectures.build(NET).state_dict()


def weights() -> list[bytes]:
    """Weights as safetensors and in both torch.save formats, each preceded by a byte that encodes the suffix. One
    network of each layout that is recognised, but WINNet, and a DnCNN as KAIR numbers it."""
    numbered = {name.removeprefix("layers."): tensor for name, tensor in tensors().items()}
    others = [architectures.build(block).state_dict() for block in RECOGNISED]
    made = [b"\0" + serialize(content) for content in (tensors(), numbered, *others)]
    for zipped in (True, False):
        stream = io.BytesIO()
        torch.save(tensors(), stream, _use_new_zipfile_serialization=zipped)
        made.append(b"\1" + stream.getvalue())
    return made


def card() -> dict[str, Any]:
    """model.json of NET."""
    spec = {"kind": "gaussian", "sigma_255": 25.0, "clip": False, "quantise": False, "per_channel": True}
    return {
        "format": 2,
        "weights": ["best_psnr"],
        "name": "net",
        "architecture": NET,
        "task": "restore",
        "imported": None,
        "adopted": None,
        "classes": [],
        "noise": {"name": "gaussian25", "train": spec},
        "parameters": 40,
    }


README = b"""---
license: mit
---
# net: a network for gray images

| test set | noise | protocol | method | PSNR (dB) | gain (dB) | SSIM |
|:--|:--|:--|:--|--:|--:|--:|
| Set12 | gaussian (sigma 25 of 255, not clipped) | `p` | **net** | 30.1 [29, 31] | 9.9 | 0.86 |
"""


def released() -> list[bytes]:
    """A trained model's card, README and weights, each preceded by a byte that says which it is."""
    return [b"\0" + json.dumps(card()).encode(), b"\1" + README, b"\2" + serialize(tensors())]


def words() -> list[bytes]:
    """File names that Markdown, HTML, terminals or people could misinterpret."""
    return [
        *(b"photo.png", b"a|b.png", b"![x](http://localhost/p.png)", b"<img src=x onerror=alert(1)>", b"`a`\n# b"),
        *("‮gnp.exe".encode(), b"-rf", b"../../x", b"[a](javascript:alert(1))", b"a\x1b]0;x\7", b"\xff\xfe", b"&lt;"),
    ]


def arguments() -> list[bytes]:
    """Command lines of NUL-separated words: a single byte is an index into targets.WORDS, others are literal."""
    return [b"\0\0\1\0a.png\0out.png", b"\1\0a.png", b"\2\0a.png\0n.png\0--kind\0gaussian", b"\3\0a.png\0c.png", b"\4"]


def uploads() -> list[bytes]:
    """Uploads: a byte for the noise to add, the length of the file name, the name, and the image."""
    return [bytes([n % 3, 5]) + b"a.png" + data for n, data in enumerate(images())]


def _exif(order: str = "<") -> bytes:
    """An EXIF block with an orientation, a camera maker stored after the directory, and an empty EXIF directory."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 3)
    fields = struct.pack(f"{order}HHII", 271, 2, 6, 50)
    fields += struct.pack(f"{order}HHIHH", 274, 3, 1, 6, 0) + struct.pack(f"{order}HHII", 34665, 4, 1, 56)
    return head + fields + struct.pack(f"{order}I", 0) + b"maker\0" + struct.pack(f"{order}HI", 0, 0)
