"""Data sets in params.yaml: one block for each reader, selected by `name`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from denoiselab.config.base import Address, Block, Channels
from denoiselab.runtime.errors import UserError

PLACEHOLDER = "conf/data/"  # default paths point to an existing file, as DVC needs one before this check runs
Count = Annotated[int, Field(ge=1)]


class Archive(Block):
    """Location of a data set's file: URL, path, or name of a file in DENOISELAB_MIRROR."""

    url: Address = Field(min_length=1)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None  # null: none published, or every file is verified
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None  # if no sha256 is published

    @property
    def unwatched(self) -> bool:
        """Whether it is a local file without a checksum, whose changes would go unnoticed."""
        return "://" not in self.url and self.sha256 is None and self.md5 is None


class Listed(Block):
    """Address of a data set's files: URL or path of their folder; every file is verified."""

    url: Address = Field(min_length=1)


class DataBlock(Block):
    """Keys of every data set."""

    watch: str  # file or folder; stage fetch runs again when it changes
    channels: Channels
    allow_leak: bool  # true: continue if splits share images, with an alarm in the report
    drop_leaks: bool  # true: exclude training and validation images that also occur in a later split
    training: list[Literal["bsds500", "cid22"]]  # further training images
    tests: list[Literal["bsd68", "cbsd68", "cid22", "kodak24", "set12"]]  # further test sets
    test_folder: str  # with your own test images
    depth: Literal[8, 16, "float"] = 8  # of the pixels, kept in patches, noise and scores; 8: 16-bit files are reduced
    white: Annotated[float, Field(gt=0)] | None = None  # value of white in the files; null: 65535, in float files 1

    @property
    def own_tests(self) -> bool:
        """Whether a test folder is set."""
        return not self.test_folder.startswith(PLACEHOLDER)

    @model_validator(mode="after")
    def _depth_fits(self) -> "DataBlock":
        if self.depth == 8 and self.white is not None:
            raise UserError("white must be null at depth 8: set depth to 16 or float")
        if self.depth == 16 and self.white is not None and not 255 < self.white <= 65535:
            raise UserError("white must be above 255 and at most 65535 at depth 16")
        if self.depth != 8 and not isinstance(self, OwnFiles):
            raise UserError("depth must be 8, that of the published sets; 16 and float are for your own files")
        if self.depth != 8 and (self.training or self.tests):
            raise UserError(f"training and tests must be [] at depth {self.depth}: the published sets have 8 bits")
        return self


class Split(Block):
    """Fractions of the images; their sum must be 1."""

    train: float = Field(gt=0, lt=1)
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _whole(self) -> "Split":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise UserError(f"train + val + test must be 1, not {total:g}")
        return self


class Limit(Block):
    """Maximum number of images per split, balanced over the classes; null: all."""

    train: Count | None
    val: Count | None
    test: Count | None


class Sampled(DataBlock):
    """A data set that can be subsampled and reduced."""

    seed: int  # for split and limit
    limit: Limit
    side: Annotated[int, Field(ge=16)] | None  # reduce the shorter side to so many pixels; null: no


class OwnFiles(DataBlock):
    """The user's own files at `path`."""

    path: str

    @model_validator(mode="after")
    def _watched(self) -> "OwnFiles":
        if self.path.startswith(PLACEHOLDER):
            raise UserError("path is missing: say where your images are, -S data.path=FOLDER")
        if self.watch != self.path:
            raise UserError(f"watch must be path, {self.path!r}, so that changes in the folder are noticed")
        return self


class Embedded(DataBlock):
    name: Literal["embedded"]


class Folder(OwnFiles, Sampled):
    name: Literal["folder"]
    split: Split


class Pairs(OwnFiles, Sampled):
    name: Literal["pairs"]
    noisy: str  # subfolder of path
    clean: str  # subfolder of path; may be the same if the suffixes differ
    noisy_suffix: str  # of file names, before the extension
    clean_suffix: str
    allow_misfit: bool  # true: continue if pairs do not fit, with an alarm in the report
    align: bool  # true: cut shifted pairs to what both images show
    split: Split


class Bsds500(DataBlock):
    name: Literal["bsds500"]
    bsds500: Archive
    channels: Literal[3]
    seed: int
    val_images: int = Field(ge=1, le=200)  # of the 400 training images


class Bsd400Gray(DataBlock):
    name: Literal["bsd400_gray"]
    bsds500: Archive
    set12: Archive
    channels: Literal[1]
    seed: int
    val_images: int = Field(ge=1, le=200)


class Cid22(DataBlock):
    name: Literal["cid22"]
    cid22: Listed
    seed: int
    val_images: int = Field(ge=1, le=100)  # of the 183 training images


class Polyu(DataBlock):
    name: Literal["polyu"]
    polyu: Archive
    seed: int
    split: Split  # by scene


class LabelledArchive(Sampled):
    """Labelled data set with a test split; validation images are held out of the training split, class by class."""

    val_share: float = Field(gt=0, lt=1)


class Cifar10(LabelledArchive):
    name: Literal["cifar10"]
    cifar10: Archive


class Stl10(LabelledArchive):
    name: Literal["stl10"]
    stl10: Archive


class Afhq(LabelledArchive):
    name: Literal["afhq"]
    afhq: Archive


class Cifar104k(Sampled):
    name: Literal["cifar10_4k"]
    cifar10_4k: Archive
    split: Split


class Ffhq(OwnFiles, Sampled):
    name: Literal["ffhq"]
    split: Split


class Hair(Sampled):
    name: Literal["hair"]
    hair: Archive
    split: Split


PAIRED = ("pairs", "polyu", "hair")  # with real noisy images

Data = Annotated[
    Embedded | Folder | Pairs | Bsds500 | Bsd400Gray | Cid22 | Polyu | Cifar10 | Stl10 | Afhq | Cifar104k | Ffhq | Hair,
    Field(discriminator="name"),
]
