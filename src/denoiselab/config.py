"""params.yaml as checked, frozen objects: the only module that parses YAML.

Every stage loads the whole file, so a mistake anywhere stops the first stage with one line that
names the place, the value and what is allowed. Defaults live in conf/, not here.
"""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

Sigma = Annotated[float, Field(ge=0, le=255)]
Channels = Literal[1, 3]
B = TypeVar("B", bound=BaseModel)


class Block(BaseModel):
    """A block of params.yaml: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(Block):
    """Shares of the images; they must add up to 1."""

    train: float = Field(gt=0, lt=1)
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _whole(self) -> "Split":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + val + test must be 1, not {total:g}")
        return self


class EmbeddedData(Block):
    name: Literal["embedded"]
    watch: str
    channels: Channels


class FolderData(Block):
    name: Literal["folder"]
    watch: str
    path: str  # of the folder, searched with its subfolders
    channels: Channels
    seed: int
    split: Split

    @model_validator(mode="after")
    def _watched(self) -> "FolderData":
        if self.watch != self.path:
            raise ValueError(f"watch must be path, {self.path!r}, or changes in the folder go unnoticed")
        return self


Data = Annotated[EmbeddedData | FolderData, Field(discriminator="name")]


class Patches(Block):
    size: int = Field(ge=8)  # pixels, of a training patch
    stride: int = Field(ge=1)  # pixels
    val_size: int = Field(ge=16)  # pixels; the window of the SSIM has 11
    scales: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    shard_mib: int = Field(ge=1, le=1024)


class Gaussian(Block):
    """noisy = clean + N(0, (sigma_255 / 255)^2), clean in [0, 1]; a pair means uniform in the range."""

    kind: Literal["gaussian"]
    sigma_255: Sigma | tuple[Sigma, Sigma]
    clip: bool  # of the noisy image to [0, 1]

    @field_validator("sigma_255")
    @classmethod
    def _ordered(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"the range must be [low, high], not {list(value)}")
        return value


NoiseSpec = Gaussian


class Noise(Block):
    name: str
    train: NoiseSpec
    test: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")], NoiseSpec] = Field(min_length=1)

    @model_validator(mode="after")
    def _test_is_fixed(self) -> "Noise":
        for condition, spec in self.test.items():
            if isinstance(spec.sigma_255, tuple):
                raise ValueError(f"test.{condition}.sigma_255 must be one level, not a range")
            if spec.sigma_255 == 0:
                raise ValueError(f"test.{condition}.sigma_255 must be above 0: a clean test image has no PSNR")
        return self


class Train(Block):
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    optimizer: Literal["adam", "adamw"]
    betas: tuple[float, float]
    weight_decay: float = Field(ge=0)
    lr: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    final_lr: float = Field(ge=0, le=1)  # share of lr
    grad_clip: float | None = Field(gt=0)  # L2 norm over all parameters
    loss: Literal["mse", "l1", "charbonnier"]
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)  # patches
    crop: int | None = Field(ge=8)  # pixels
    validate_every: int = Field(ge=1)  # steps
    val_patches: int | None = Field(ge=1)
    patience: int | None = Field(ge=1)  # validations


class Evaluate(Block):
    tile: int = Field(ge=64)  # pixels
    samples: int = Field(ge=0)  # images
    confidence: float = Field(gt=0, lt=1)
    resamples: int = Field(ge=100)


class Entry(BaseModel):
    """A model's block: `arch` and `needs`, any key of `train` it overrides, and its architecture's keys.

    The architecture's own keys are checked by that architecture (denoiselab.models.build).
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    arch: str
    needs: str

    def overrides(self) -> dict[str, Any]:
        """The keys of `train` that this model sets for itself."""
        return {k: v for k, v in (self.model_extra or {}).items() if k in Train.model_fields}

    def architecture(self) -> dict[str, Any]:
        """What denoiselab.models.build() takes: `arch` and its own keys."""
        extra = self.model_extra or {}
        return {"arch": self.arch} | {k: v for k, v in extra.items() if k not in Train.model_fields}


class Params(Block):
    seed: int = Field(ge=0)
    data: Data
    patches: Patches
    noise: Noise
    train: Train
    evaluate: Evaluate
    models: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], Entry] = Field(min_length=1)

    def entry(self, model: str) -> Entry:
        """The block `models.<model>`. ValueError names the models there are."""
        if model not in self.models:
            raise ValueError(f"models: unknown model {model!r}; in params.yaml: {', '.join(self.models)}")
        return self.models[model]

    def training(self, model: str) -> Train:
        """`train` with what the model's block overrides. ValueError as for params.yaml itself."""
        merged = self.train.model_dump() | self.entry(model).overrides()
        try:
            return Train.model_validate(merged)
        except ValidationError as error:
            raise ValueError(_explain(error, Train, prefix=f"models.{model}.")) from None


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml. ValueError says, one line a mistake, what is wrong and what is allowed."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: not found; run from the project's root") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    params = check(Params, tree, where=f"{path}: ")
    for model in params.models:
        crop = params.training(model).crop
        if crop and crop > params.patches.size:
            raise ValueError(f"{path}: models.{model}: crop is {crop}, larger than patches.size, {params.patches.size}")
    return params


def check(block: type[B], tree: Any, where: str = "") -> B:
    """Validate a tree against a block. ValueError names each wrong place behind `where`."""
    try:
        return block.model_validate(tree)
    except ValidationError as error:
        raise ValueError(_explain(error, block, prefix=where)) from None


def _explain(error: ValidationError, block: type[BaseModel], prefix: str) -> str:
    lines = []
    for item in error.errors():
        place, parent = _place(item["loc"], block)
        kind, value = item["type"], item["input"]
        if kind == "extra_forbidden":
            parents, _, key = place.rpartition(".")
            spot = prefix + parents if parents else prefix.rstrip(".: ")
            lines.append(f"{spot}: unknown key {key!r}; allowed: {', '.join(parent.model_fields)}")
        elif kind == "missing":
            lines.append(f"{prefix}{place}: missing")
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            allowed = (item.get("ctx") or {}).get("expected_tags", "")
            tag = (item.get("ctx") or {}).get("tag")
            lines.append(f"{prefix}{place}.name: {tag!r} is unknown; allowed: {allowed}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            shown = "" if isinstance(value, dict | Block) else f", not {value!r}"
            lines.append(f"{prefix}{place}: {message[0].lower()}{message[1:]}{shown}".replace(": :", ":"))
    return "\n".join(dict.fromkeys(lines))


def _place(loc: tuple[int | str, ...], block: type[BaseModel]) -> tuple[str, type[BaseModel]]:
    """An error's dotted place without pydantic's union tags, and the innermost block around it."""
    parts: list[str] = []
    annotation: Any = block
    parent = block
    for part in loc:
        members = [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
        tagged = [
            m for m in members if "name" in m.model_fields and part in get_args(m.model_fields["name"].annotation)
        ]
        if len(members) > 1 and tagged:
            annotation = parent = tagged[0]
            continue
        if members:
            parent = members[0]
            field = parent.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            annotation = next(iter(get_args(annotation)[-1:]), None)
        if isinstance(part, int) or not part.startswith(("constrained-", "function-", "tuple[", "float")):
            parts.append(str(part))
    return ".".join(parts), parent


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, through Annotated; a single type gives itself."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(m for member in get_args(annotation) for m in _members(member))
    return (annotation,)
