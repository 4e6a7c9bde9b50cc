"""params.yaml as checked, frozen objects: the only package that parses YAML.

Every stage loads the whole file, so a mistake anywhere stops the first stage with one line that
names the place, the value and what is allowed. Defaults live in conf/, not here.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from denoiselab.config import data as data_blocks
from denoiselab.config.base import Address, Block, check, explain, parse
from denoiselab.config.data import Data
from denoiselab.config.noise import AsIs, Gaussian, Noise, NoiseSpec, Real, lacks_clean, needs_pairs
from denoiselab.config.train import INITS, OwnClassifier, Train
from denoiselab.config.tune import Tune
from denoiselab.runtime.errors import SettingsError, UserError


class Patches(Block):
    size: int = Field(ge=8)  # pixels, of a training patch
    stride: int = Field(ge=1)  # pixels
    val_size: int = Field(ge=16)  # pixels; the window of the SSIM has 11
    scales: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    shard_mib: int = Field(ge=1, le=1024)


class Protocol(Block):
    """How test noise is drawn."""

    legacy_seed: bool  # the classic seeding: numpy's generator at 0 before each image; one draw, Gaussian noise alone
    draws: int = Field(ge=1)  # of the noise, an image


class Turns(Block):
    """Flips and quarter turns, on the device."""

    kind: Literal["d4"]


class NoAugmentation(Block):
    """Patches as they are, but for the place of the crop."""

    kind: Literal["none"]


class Transform(BaseModel):
    """An albumentations transform by its name there, with its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str


class Albumentations(Block):
    """An albumentations pipeline, in worker processes; noisy and clean of a pair get the same."""

    kind: Literal["albumentations"]
    workers: int = Field(ge=0)  # 0: in the training process
    transforms: list[Transform] = Field(min_length=1)


Augment = Annotated[Turns | NoAugmentation | Albumentations, Field(discriminator="kind")]


class Curve(Block):
    """PSNR by noise level, for experiments that train on Gaussian noise."""

    levels: list[Annotated[float, Field(gt=0, le=255)]]  # sigma of 255; none: no curve
    images: int = Field(ge=1)  # of the test images, evenly spread
    crop: int = Field(ge=16)  # pixels, from their middle


class Alarms(Block):
    """What is said on top of the report."""

    min_gain_db: float  # over the noisy input, of the mean and of every image
    max_halfwidth_db: float = Field(gt=0)  # of the interval of a mean PSNR


class Lpips(Block):
    """Files or addresses of LPIPS on VGG16."""

    vgg16: Address  # torchvision's weights
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    heads: Address  # of LPIPS v0.1, vgg.pth
    heads_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Evaluate(Block):
    tile: int = Field(ge=64)  # pixels
    samples: int = Field(ge=0)  # images
    curve: Curve
    alarms: Alarms
    lpips: Lpips | None  # null: not measured
    confidence: float = Field(gt=0, lt=1)
    resamples: int = Field(ge=100)


class Entry(BaseModel):
    """A model's block: `arch` and `needs`, any key of `train` it overrides, and its architecture's keys.

    With `weights` (a file or URL) and `sha256` (of that file) it is not trained but imported. With `init_from`, another
    entry's output, training starts from that one's weights. `noise` is its own training and validation noise in place
    of noise.train, and that of imported weights. `init` redraws the weights. `published` names the methods of the
    literature that it is to be compared with: the first one that has a value for a test set counts.

    The architecture's own keys are checked by that architecture (denoiselab.architectures.build).
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    arch: str
    needs: str  # what it builds on: data/patches, or another entry's output, models/<name>
    weights: Address | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    init_from: str | None = None
    init: INITS = "none"  # none: the architecture's own
    noise: NoiseSpec | None = None
    published: list[str] = []

    @model_validator(mode="after")
    def _fits_together(self) -> "Entry":
        if (self.weights is None) != (self.sha256 is None):
            raise UserError("weights and sha256 (of the weights' file) go together")
        if self.init_from and self.init_from != self.needs:
            raise UserError(f"needs must be init_from, {self.init_from!r}, or a change of it goes unnoticed")
        if self.init_from and (self.weights or self.init != "none"):
            raise UserError("init_from excludes weights and init: each says where the weights come from")
        return self

    def overrides(self) -> dict[str, Any]:
        """The keys of `train` that this model sets for itself."""
        return {k: v for k, v in (self.model_extra or {}).items() if k in Train.model_fields}

    def architecture(self) -> dict[str, Any]:
        """What denoiselab.architectures.build() takes: `arch` and its own keys."""
        extra = self.model_extra or {}
        return {"arch": self.arch} | {k: v for k, v in extra.items() if k not in Train.model_fields}


class Parallel(Block):
    """Where per-image work is done; what comes out is the same."""

    jobs: int = Field(ge=-1)  # threads; -1: one for each core
    scheduler: str | None = Field(pattern=r"^(tcp|tls)://[^/]+:\d+$")  # of a Dask cluster, in place of the threads

    @model_validator(mode="after")
    def _works(self) -> "Parallel":
        if self.jobs == 0:
            raise UserError("jobs must be -1 (all cores) or at least 1")
        return self


class Params(Block):
    recipe: str  # the recipe that all this comes from, or none
    seed: int = Field(ge=0)  # of the noise, and of the first training
    seeds: int = Field(ge=1)  # trainings of every network, from seed on; compared as one entry
    data: Data
    patches: Patches
    noise: Noise
    protocol: Protocol
    augment: Augment
    train: Train
    evaluate: Evaluate
    parallel: Parallel
    tune: Tune
    models: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> "Params":
        for name, entry in self.models.items():
            needed = entry.needs.removeprefix("models/")
            if entry.needs.startswith("models/") and (needed == name or needed not in self.models):
                others = ", ".join(other for other in self.models if other != name)
                raise UserError(f"models.{name}.needs: {entry.needs!r} is no other entry of models; there: {others}")
        own = {f"models.{name}.noise": entry.noise for name, entry in self.models.items() if entry.noise}
        for place, spec in own.items():
            if needs_pairs(spec) or lacks_clean(spec):
                raise UserError(f"{place}: {spec.kind} is for noise.train, whose validation patches are stored")
        if self.noise.needs_pairs and self.data.name not in data_blocks.PAIRED:
            paired = ", ".join(data_blocks.PAIRED)
            raise UserError(f"noise {self.noise.name!r} needs noisy/clean pairs: data must be one of {paired}")
        recorded = self.noise.needs_pairs or not self.noise.has_clean
        if recorded and (getattr(self.data, "side", None) or self.patches.scales != [1.0]):
            raise UserError("data.side must be null and patches.scales [1.0] with real noise: reducing would weaken it")
        if not self.noise.has_clean:
            self._check_without_clean()
        for name, value in self.data:
            if isinstance(value, data_blocks.Archive) and value.unwatched and self.data.watch != value.url:
                raise UserError(f"data.watch must be data.{name}.url, {value.url!r}, or a changed file goes unnoticed")
        if self.protocol.legacy_seed:
            if self.protocol.draws > 1:
                raise UserError("protocol.draws must be 1 with legacy_seed: every draw would be the same")
            if not all(isinstance(spec, Gaussian) and spec.per_channel for spec in self.noise.test.values()):
                raise UserError("protocol.legacy_seed is for gaussian noise with per_channel alone")
        return self

    def _check_without_clean(self) -> None:
        if self.data.name in data_blocks.PAIRED:
            raise UserError(f"noise {self.noise.name!r}: data {self.data.name} has clean images; its noise is real")
        if self.protocol.draws > 1:
            raise UserError(f"protocol.draws must be 1 with noise {self.noise.name!r}: nothing is drawn")
        for name, entry in self.models.items():
            if entry.noise and not entry.weights:
                raise UserError(f"models.{name}.noise: there are no clean images that it could be added to")

    def entry(self, model: str) -> Entry:
        """The block `models.<model>`. ValueError names the models there are."""
        if model not in self.models:
            raise UserError(f"models: unknown model {model!r}; in params.yaml: {', '.join(self.models)}")
        return self.models[model]

    def training(self, model: str) -> Train:
        """`train` with what the model's block overrides. ValueError as for params.yaml itself."""
        own = self.entry(model).overrides()
        budget = {"steps": None, "epochs": None} if own.keys() & {"steps", "epochs"} else {}
        try:
            schedule = self.train.schedule.model_dump() | own.get(
                "schedule", {}
            )  # one key of it may be overridden, too
            settings = Train.model_validate(self.train.model_dump() | budget | own | {"schedule": schedule})
        except ValidationError as error:
            raise SettingsError(explain(error, Train, prefix=f"models.{model}.")) from None
        features = settings.perceptual
        if isinstance(features, OwnClassifier) and features.model != self.entry(model).needs:
            raise UserError(f"models.{model}.needs must be perceptual.model, {features.model!r}")
        if settings.target == "clean" and not self.noise.has_clean:
            place = f"models.{model}.target" if "target" in own else "train.target"
            raise UserError(f"{place} must be self with noise {self.noise.name!r}: there are no clean images")
        drawn = not isinstance(self.training_noise(model), Real | AsIs)
        if settings.target == "self" and drawn and isinstance(self.augment, Albumentations):
            raise UserError("augment: with train.target self its noise is drawn before, once a patch: use d4 or none")
        return settings

    def training_noise(self, model: str) -> NoiseSpec:
        """The noise that a model is trained on."""
        return self.entry(model).noise or self.noise.train


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml. ValueError says, one line a mistake, what is wrong and what is allowed."""
    try:
        tree = parse(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the project's root") from None
    params = check(Params, tree, where=f"{path}: ")
    for model in params.models:
        params.training(model)
    return params
