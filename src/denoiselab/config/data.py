"""The data sets of params.yaml: one block a reader, told apart by `name`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from denoiselab.config.base import Address, Block, Channels
from denoiselab.runtime.errors import UserError

PLACEHOLDER = "conf/data/"  # a path in conf/: a file that is there, so that DVC comes as far as this check
Count = Annotated[int, Field(ge=1)]


class Archive(Block):
    """Where a file of a data set comes from: an address, a path, or a name that DENOISELAB_MIRROR has."""

    url: Address = Field(min_length=1)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None  # of the file; null: not known, or verified inside
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None  # where no sha256 is published

    @property
    def unwatched(self) -> bool:
        """Whether it is a local file that may change without a word."""
        return "://" not in self.url and self.sha256 is None and self.md5 is None


class DataBlock(Block):
    """What every data set has."""

    watch: str  # a file or folder: when it changes, fetch runs again
    channels: Channels
    allow_leak: bool  # true: go on although splits share images; the report then says so in red
    drop_leaks: bool  # true: leave out training and validation images that are also in a later split


class Split(Block):
    """Shares of the images; they must add up to 1."""

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
    """At most so many images a split, evenly over the classes; null: all."""

    train: Count | None
    val: Count | None
    test: Count | None


class Sampled(DataBlock):
    """A data set of which a part may be taken."""

    seed: int  # of the split and of the limit
    limit: Limit
    side: Annotated[int, Field(ge=16)] | None  # pixels that the shorter side is reduced to; null: as it is


class OwnFiles(DataBlock):
    """A data set at `path`."""

    path: str

    @model_validator(mode="after")
    def _watched(self) -> "OwnFiles":
        if self.path.startswith(PLACEHOLDER):
            raise UserError("path is missing: say where your images are, -S data.path=FOLDER")
        if self.watch != self.path:
            raise UserError(f"watch must be path, {self.path!r}, or changes in the folder go unnoticed")
        return self


class Embedded(DataBlock):
    name: Literal["embedded"]


class Folder(OwnFiles, Sampled):
    name: Literal["folder"]
    split: Split


class Pairs(OwnFiles, Sampled):
    name: Literal["pairs"]
    noisy: str  # folder below path
    clean: str  # folder below path; may be the same where the suffixes differ
    noisy_suffix: str  # of the names, before the extension
    clean_suffix: str
    split: Split


class Bsds500(DataBlock):
    name: Literal["bsds500"]
    bsds500: Archive
    channels: Literal[3]
    seed: int
    val_images: int = Field(ge=1, le=200)  # held out of the 400


class Bsd400Gray(DataBlock):
    name: Literal["bsd400_gray"]
    bsds500: Archive
    set12: Archive
    channels: Literal[1]
    seed: int
    val_images: int = Field(ge=1, le=200)


class Polyu(DataBlock):
    name: Literal["polyu"]
    polyu: Archive
    seed: int
    split: Split  # by scene


class LabelledArchive(Sampled):
    """Has a test split of its own; validation is held out of its training split, class by class."""

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


PAIRED = ("pairs", "polyu", "hair")  # have real noisy images

Data = Annotated[
    Embedded | Folder | Pairs | Bsds500 | Bsd400Gray | Polyu | Cifar10 | Stl10 | Afhq | Cifar104k | Ffhq | Hair,
    Field(discriminator="name"),
]
