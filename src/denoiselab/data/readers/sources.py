"""Data set sources: licence, citation, checksums; download, verification and unpacking of their archives."""

import csv
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from denoiselab.config.data import Archive
from denoiselab.data.readers.archives import unpack
from denoiselab.runtime import files, paths
from denoiselab.runtime.download import obtain
from denoiselab.runtime.errors import UserError

TABLES = Path(__file__).parent / "tables"
GIB = 2**30


@dataclass(frozen=True)
class About:
    title: str
    licence: str
    citation: str
    unpacked: int = 2 * GIB  # bytes; limit for the download and for the unpacked files
    verified: bool = False  # check every file against tables/<name>.csv
    images: int | None = None  # of the whole published data set (pairs count once)


ABOUT = {
    "embedded": About(
        "photographs inside scikit-image, scikit-learn and matplotlib",
        "public domain and CC0; motorcycle: research use; china and flower: CC BY",
        "the README files beside them in the packages; motorcycle: Scharstein et al., GCPR 2014",
    ),
    "folder": About("your own images", "yours", "none"),
    "pairs": About("your own noisy and clean images", "yours", "none"),
    "test_folder": About("your own test images", "yours", "none"),
    "cid22": About(
        "Cloudinary Image Dataset '22 (CID22), the photographs",
        "CC BY-SA 4.0",
        "Sneyers, Ben Baruch, Vaxman: CID22: Large-Scale Subjective Quality Assessment for High Fidelity Image "
        "Compression, IEEE MultiMedia 2023",
        verified=True,
        images=224,  # photographs, without drawings and charts
    ),
    "kodak24": About(
        "Kodak Lossless True Color Image Suite",
        "unrestricted use",
        "Eastman Kodak Company: PhotoCD PCD0992; images collected by R. Franzen, r0k.us/graphics/kodak",
        verified=True,
        images=24,
    ),
    "bsds500": About(
        "Berkeley Segmentation Data Set (BSDS500)",
        "none stated for the images",
        "Arbelaez, Maire, Fowlkes, Malik: Contour Detection and Hierarchical Image Segmentation, TPAMI 2011",
        verified=True,
        images=500,
    ),
    "set12": About(
        "Set12",
        "none stated",
        "Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian Denoiser, TIP 2017 (the set's first use in this form)",
        verified=True,
        images=12,
    ),
    "polyu": About(
        "PolyU Real-World Noisy Images",
        "non-commercial research",
        "Xu, Li, Liang, Zhang, Zhang: Real-world Noisy Image Denoising: A New Benchmark, arXiv:1804.02603, 2018",
        verified=True,
        images=100,
    ),
    "cifar10": About(
        "CIFAR-10",
        "none stated",
        "Krizhevsky: Learning Multiple Layers of Features from Tiny Images, technical report 2009",
        images=60_000,
    ),
    "cifar10_4k": About(
        "4,000 training images of CIFAR-10",
        "as CIFAR-10: none stated",
        "Krizhevsky: Learning Multiple Layers of Features from Tiny Images, technical report 2009",
        images=4_000,
    ),
    "stl10": About(
        "STL-10",
        "research; the images come from ImageNet",
        "Coates, Lee, Ng: An Analysis of Single Layer Networks in Unsupervised Feature Learning, AISTATS 2011",
        unpacked=4 * GIB,
        images=13_000,  # labelled ones
    ),
    "afhq": About(
        "Animal Faces-HQ (AFHQ)",
        "CC BY-NC 4.0",
        "Choi, Uh, Yoo, Ha: StarGAN v2: Diverse Image Synthesis for Multiple Domains, CVPR 2020",
        unpacked=16 * GIB,
        images=16_130,  # 14,630 for training, 1,500 for validation
    ),
    "ffhq": About(
        "Flickr-Faces-HQ (FFHQ)",
        "CC BY-NC-SA 4.0 (the collection; the photographs have their own)",
        "Karras, Laine, Aila: A Style-Based Generator Architecture for Generative Adversarial Networks, CVPR 2019",
        unpacked=100 * GIB,
        images=70_000,
    ),
    "hair": About(
        "pure_hair_data: noisy and clean close-ups of hair",
        "none stated",
        "G. Tutik, Retouch Pure Hair, gitlab.com/glebtutik/pure_hair_data",
        unpacked=8 * GIB,
        images=3_957,
    ),
}


class Sources:
    """Archives of a data set, unpacked for the duration of the `with` block; records the sources used.

    One process at a time; files left by a killed process are deleted by the next. UserErrors raised inside the block
    name files by their path in the archive.
    """

    def __init__(self) -> None:
        self.used: dict[str, dict[str, Any]] = {}
        self._folders: dict[str, Path] = {}  # of the unpacked archives
        self._scratch = paths.downloads() / "unpacked"
        self._lock = FileLock(paths.downloads() / "unpacked.lock")

    def __enter__(self) -> "Sources":
        paths.downloads().mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._lock.release()
        if isinstance(error, ValueError) and str(self._scratch) in str(error):
            raise UserError(str(error).replace(f"{self._scratch}/", "")) from None

    def own(self, name: str) -> None:
        """Record a source that needs no download."""
        self.used[name] = _card(ABOUT[name])

    def unpacked(self, name: str, archive: Archive, wanted: Callable[[str], bool] = lambda name: True) -> Path:
        """Folder with an archive's files: the `wanted` ones, or those in its table of checksums. UserError if it is
        missing, damaged or too large."""
        if name in self._folders:  # used by the data set and by a further test set
            return self._folders[name]
        about = ABOUT[name]
        folder, root = paths.downloads(), paths.shared_root()
        file = obtain(name, archive.url, sha256=archive.sha256, folder=folder, root=root, limit=about.unpacked)
        _check_md5(file, archive)
        folder = self._scratch / name
        if about.verified:  # a repository's archive: everything is in a single top-level folder
            listed = {row["file"] for row in table(name)}
            unpack(file, folder, limit=about.unpacked, wanted=lambda member: member.partition("/")[2] in listed)
            folder = next(folder.iterdir(), folder) if folder.exists() else folder
            _verify(name, folder)
        else:
            unpack(file, folder, limit=about.unpacked, wanted=wanted)
        checked = "the archive" if archive.sha256 or archive.md5 else "no published checksum"
        verified = "every file" if about.verified else checked
        self._record(name, url=archive.url, sha256=files.sha256(file), verified=verified)
        self._folders[name] = folder
        return folder

    def listed(self, name: str, url: str) -> dict[str, Path]:
        """The files below `url` that are listed in the source's table, by name. UserError if one is missing, damaged
        or too large."""
        folder, root, limit = paths.downloads(), paths.shared_root(), ABOUT[name].unpacked
        rows = table(name)
        found = {
            row["file"]: obtain(
                name, f"{url}/{row['file']}", sha256=row["sha256"], folder=folder, root=root, limit=limit
            )
            for row in rows
        }
        digest = hashlib.sha256("".join(row["sha256"] for row in rows).encode()).hexdigest()
        self._record(name, url=url, sha256=digest, verified="every file")
        return found

    def _record(self, name: str, **facts: Any) -> None:
        about = ABOUT[name]
        print(f"{about.title}. Licence: {about.licence}. Cite: {about.citation}")
        self.used[name] = _card(about) | facts


def _card(about: About) -> dict[str, Any]:
    card = {"title": about.title, "licence": about.licence, "citation": about.citation}
    return card | ({"published": about.images} if about.images else {})


def _check_md5(file: Path, archive: Archive) -> None:
    if not archive.md5:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    if (actual := digest.hexdigest()) != archive.md5:
        if file.is_relative_to(paths.downloads()):
            file.unlink()
        raise UserError(f"{file}: md5 is {actual}, expected {archive.md5}")


def _verify(name: str, folder: Path) -> None:
    for row in table(name):
        path = folder / row["file"]
        if not path.is_file():
            raise UserError(f"data {name}: {row['file']} is missing from the archive")
        if files.sha256(path) != row["sha256"]:
            raise UserError(f"data {name}: {row['file']} differs from the published file (sha256)")


def table(name: str) -> list[dict[str, str]]:
    """Rows of tables/<name>.csv: checksums of a source's files, or ids of benchmark images."""
    with (TABLES / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
