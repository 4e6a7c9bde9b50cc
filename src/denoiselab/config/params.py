"""Configuration (params.yaml): parsing and validation into immutable objects.

Every stage loads and checks the whole file, so a mistake stops the first stage with one line: the place, the value and
what is allowed. Defaults are in conf/. No other package parses YAML.
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
    size: int = Field(ge=8)  # of training patches, in pixels
    stride: int = Field(ge=1)  # pixels
    val_size: int = Field(ge=16)  # of validation patches, in pixels; larger than the 11-pixel window of SSIM
    scales: list[Annotated[float, Field(gt=0, le=4)]] = Field(min_length=1)  # of training images; above 1: softer
    shard_mib: int = Field(ge=1, le=1024)


class Protocol(Block):
    """How test noise is generated."""

    legacy_seed: bool  # numpy.random.seed(0) before each image, as in published tables; one draw, Gaussian noise only
    draws: int = Field(ge=1)  # noise realisations per image


class Turns(Block):
    """Flips and rotations by multiples of 90 degrees, on the device."""

    kind: Literal["d4"]


class NoAugmentation(Block):
    """No augmentation except random crops."""

    kind: Literal["none"]


class Transform(BaseModel):
    """An albumentations transform: its class name and arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str


class Albumentations(Block):
    """An albumentations pipeline in worker processes, applied identically to both images of a pair."""

    kind: Literal["albumentations"]
    workers: int = Field(ge=0)  # 0: in the training process
    transforms: list[Transform] = Field(min_length=1)


Augment = Annotated[Turns | NoAugmentation | Albumentations, Field(discriminator="kind")]


class Curve(Block):
    """PSNR as a function of the noise level, for experiments with Gaussian training noise."""

    levels: list[Annotated[float, Field(gt=0, le=255)]]  # sigma, in 8-bit units; empty: no curve
    images: int = Field(ge=1)  # number of test images, evenly spread
    crop: int = Field(ge=16)  # side of the central crop, in pixels


class Alarms(Block):
    """Thresholds for the warnings at the top of the report."""

    min_gain_db: float  # PSNR gain over the noisy input, on average and on every image
    max_halfwidth_db: float = Field(gt=0)  # half-width of the confidence interval of a mean PSNR


class Lpips(Block):
    """Weights files (path or URL) of LPIPS on VGG16."""

    vgg16: Address  # torchvision's vgg16
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    heads: Address  # vgg.pth of LPIPS v0.1
    heads_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Evaluate(Block):
    tile: int = Field(ge=64)  # side in pixels; larger images are restored in tiles
    samples: int = Field(ge=0)  # restored images kept for the report
    curve: Curve
    alarms: Alarms
    lpips: Lpips | None  # null: not measured
    confidence: float = Field(gt=0, lt=1)
    resamples: int = Field(ge=100)


class Entry(BaseModel):
    """A model: `arch`, `needs`, keys of `train` to override, and keys of its architecture.

    `weights` (path or URL) and `sha256`: imported instead of trained, with their `licence` and what they were
    `trained_on`, for the report. `init_from` (another entry's output): fine-tuned from those weights. `noise`: training
    and validation noise in place of noise.train; for imported weights, the noise they were trained on. `init`:
    initialisation of the weights. `published`: methods of the literature to compare with; the first one with a value
    for a test set is used. Methods for one noise level end in -S: a model is compared with them at the level of its
    `noise` only.

    denoiselab.architectures.build checks the architecture's keys.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    arch: str
    needs: str  # input of its training: data/patches, or another entry's output, models/<name>
    weights: Address | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    licence: str | None = None
    trained_on: str | None = None  # images and their licence
    init_from: str | None = None
    init: INITS = "none"  # none: the architecture's default
    noise: NoiseSpec | None = None
    published: list[str] = []

    @model_validator(mode="after")
    def _fits_together(self) -> "Entry":
        if (self.weights is None) != (self.sha256 is None):
            raise UserError("weights and sha256 (of the weights' file) go together")
        if self.weights is None and (self.licence or self.trained_on):
            raise UserError("licence and trained_on are those of imported weights, which are missing")
        specific = [method for method in self.published if method.endswith("-S")]
        if specific and self.weights and not self.noise:
            raise UserError(f"published {specific[0]} is for one noise level: add noise, that of the weights' training")
        if self.init_from and self.init_from != self.needs:
            raise UserError(f"needs must be init_from, {self.init_from!r}, so that changes of it are noticed")
        if self.init_from and (self.weights or self.init != "none"):
            raise UserError("init_from, weights and init exclude each other: each sets the initial weights")
        return self

    def overrides(self) -> dict[str, Any]:
        """The keys of `train` that this model overrides."""
        return {k: v for k, v in (self.model_extra or {}).items() if k in Train.model_fields}

    def architecture(self) -> dict[str, Any]:
        """Block for denoiselab.architectures.build(): `arch` and the architecture's keys."""
        extra = self.model_extra or {}
        return {"arch": self.arch} | {k: v for k, v in extra.items() if k not in Train.model_fields}


class Parallel(Block):
    """Where per-image work runs; results do not depend on it."""

    jobs: int = Field(ge=-1)  # threads; -1: one per core
    scheduler: str | None = Field(pattern=r"^(tcp|tls)://[^/]+:\d+$")  # address of a Dask cluster to use instead

    @model_validator(mode="after")
    def _works(self) -> "Parallel":
        if self.jobs == 0:
            raise UserError("jobs must be -1 (all cores) or at least 1")
        return self


class Params(Block):
    recipe: str  # name of the recipe, or none
    seed: int = Field(ge=0)  # of the noise and of the first training run
    seeds: int = Field(ge=1)  # training runs of every network, with seeds from `seed` on; compared as one entry
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
                raise UserError(
                    f"models.{name}.needs: {entry.needs!r} is not another model; add it with "
                    f"-S 'model=[{needed},{name}]', or choose from: {others}"
                )
        overrides = {f"models.{name}.noise": entry.noise for name, entry in self.models.items() if entry.noise}
        for place, spec in overrides.items():
            if needs_pairs(spec) or lacks_clean(spec):
                raise UserError(f"{place}: {spec.kind} is not allowed here; set it in noise.train")
        if self.noise.needs_pairs and self.data.name not in data_blocks.PAIRED:
            paired = ", ".join(data_blocks.PAIRED)
            raise UserError(f"noise {self.noise.name!r} needs noisy/clean pairs: data must be one of {paired}")
        recorded = self.noise.needs_pairs or not self.noise.has_clean
        if recorded and (getattr(self.data, "side", None) or self.patches.scales != [1.0]):
            raise UserError("data.side must be null and patches.scales [1.0] with real noise: downscaling weakens it")
        if self.data.depth != 8 and isinstance(self.augment, Albumentations):
            raise UserError("augment: albumentations works with data.depth 8 only; use d4 or none")
        if not self.noise.has_clean:
            self._check_without_clean()
        for name, value in self.data:
            if isinstance(value, data_blocks.Archive) and value.unwatched and self.data.watch != value.url:
                raise UserError(f"data.watch must be data.{name}.url, {value.url!r}, so that changes are noticed")
        if self.protocol.legacy_seed:
            if self.protocol.draws > 1:
                raise UserError("protocol.draws must be 1 with legacy_seed: all draws are the same")
            if not all(isinstance(spec, Gaussian) and spec.per_channel for spec in self.noise.test.values()):
                raise UserError("protocol.legacy_seed requires gaussian noise with per_channel true")
        return self

    def _check_without_clean(self) -> None:
        if self.data.name in data_blocks.PAIRED:
            raise UserError(f"noise {self.noise.name!r}: data {self.data.name} has clean images; use noise=real")
        if self.protocol.draws > 1:
            raise UserError(f"protocol.draws must be 1 with noise {self.noise.name!r}: no noise is drawn")
        for name, entry in self.models.items():
            if entry.noise and not entry.weights:
                raise UserError(f"models.{name}.noise: remove it, as there are no clean images to add noise to")

    def entry(self, model: str) -> Entry:
        """The block `models.<model>`. UserError listing the models if it is unknown."""
        if model not in self.models:
            raise UserError(f"models: unknown model {model!r}; choose from: {', '.join(self.models)}")
        return self.models[model]

    def architectures(self) -> dict[str, dict[str, Any]]:
        """The block of each model's architecture."""
        return {name: entry.architecture() for name, entry in self.models.items()}

    def training(self, model: str) -> Train:
        """`train` with the model's overrides. UserError as for params.yaml itself."""
        overrides = self.entry(model).overrides()
        budget = {"steps": None, "epochs": None} if overrides.keys() & {"steps", "epochs"} else {}
        try:  # a model may override single keys of the schedule
            own = overrides.get("schedule", {})
            schedule = self.train.schedule.model_dump() | own if isinstance(own, dict) else own
            settings = Train.model_validate(self.train.model_dump() | budget | overrides | {"schedule": schedule})
        except ValidationError as error:
            raise SettingsError(explain(error, Train, prefix=f"models.{model}.")) from None
        if settings.crop and settings.crop > self.patches.size:
            place = f"models.{model}.crop" if "crop" in overrides else "train.crop"
            size = self.patches.size
            raise UserError(f"{place}: {settings.crop} is larger than patches.size, {size}; null: whole patches")
        features = settings.perceptual
        if isinstance(features, OwnClassifier) and features.model != self.entry(model).needs:
            raise UserError(f"models.{model}.needs must be perceptual.model, {features.model!r}")
        if settings.target == "clean" and not self.noise.has_clean:
            place = f"models.{model}.target" if "target" in overrides else "train.target"
            raise UserError(f"{place} must be self with noise {self.noise.name!r}: there are no clean images")
        drawn = not isinstance(self.training_noise(model), Real | AsIs)
        if settings.target == "self" and drawn and isinstance(self.augment, Albumentations):
            raise UserError("augment: albumentations does not work with train.target self; use d4 or none")
        return settings

    def training_noise(self, model: str) -> NoiseSpec:
        """The noise that a model is trained on."""
        return self.entry(model).noise or self.noise.train


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml. UserError with one line for each mistake: what is wrong and what is allowed."""
    try:
        tree = parse(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the project's root folder") from None
    params = check(Params, tree, where=f"{path}: ")
    for model in params.models:
        params.training(model)
    return params
