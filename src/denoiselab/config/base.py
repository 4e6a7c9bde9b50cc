"""Validation of params.yaml: base class of its blocks, types, and one line for each mistake."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from denoiselab.runtime.errors import SettingsError, UserError
from denoiselab.runtime.sanitize import one_line, printable, without_login

Channels = Literal[1, 3]
TAGS = ("name", "kind")  # discriminators of unions
NUMBERS = ("float_type", "int_type")  # pydantic's errors for "not a number"
MAX_VALUES = 100_000  # in a file, with aliases expanded
MAX_SHOWN = 200  # characters of a wrong value in a message
MAX_MISTAKES = 10  # in a message


def _without_login(address: str) -> str:
    if "@" in urlsplit(address).netloc:
        raise UserError("the address contains a user or password, but this file is in Git; put them into ~/.netrc")
    return address


Address = Annotated[str, AfterValidator(_without_login)]  # of a file: URL or path
B = TypeVar("B", bound=BaseModel)


class Block(BaseModel):
    """A block of params.yaml: unknown keys are errors, objects are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parse(path: Path) -> Any:
    """Content of a YAML file. UserError if it is not YAML, nested too deep, or aliases expand to too many values."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        _count(tree)
    except OSError:
        raise
    except RecursionError:
        raise UserError(f"{path}: nested too deep") from None
    except Exception as error:  # noqa: BLE001 - PyYAML raises various errors for bad numbers and dates
        raise UserError(f"{path}: not YAML: {one_line(error)}") from None
    return tree


def _count(tree: Any) -> None:
    """UserError if aliases expand to more than MAX_VALUES values ("billion laughs")."""
    pending, count = [tree], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > MAX_VALUES:
            raise UserError(f"more than {MAX_VALUES} values")
        pending += [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []


def check(block: type[B], tree: Any, where: str = "") -> B:
    """Validate parsed YAML against a block. SettingsError with one line, prefixed by `where`, for each mistake."""
    try:
        return block.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(explain(error, block, prefix=where)) from None


def explain(error: ValidationError, block: type[BaseModel], prefix: str) -> str:
    """One line for each mistake: its place, what is wrong, what is allowed."""
    lines = []
    for item in _of_the_branch_that_fits(error.errors()):
        place, parent = _place(item["loc"], block)
        kind, value, context = item["type"], item["input"], item.get("ctx") or {}
        if kind == "extra_forbidden":
            parents, _, key = place.rpartition(".")
            spot = prefix + parents if parents else prefix.rstrip(".: ")
            lines.append(f"{spot}: unknown key {_short(repr(key))}; allowed: {', '.join(parent.model_fields)}")
        elif kind == "missing":
            lines.append(f"{prefix}{place}: missing")
        elif kind == "too_short":
            least = context["min_length"]
            lines.append(f"{prefix}{place}: needs {least} value{'s' * (least != 1)} or more, has {len(value)}")
        elif kind == "union_tag_not_found":
            lines.append(f"{prefix}{place}.{_tag(context)}: missing")
        elif kind == "union_tag_invalid":
            lines.append(
                f"{prefix}{place}.{_tag(context)}: {_short(repr(context['tag']))} is unknown; "
                f"allowed: {context['expected_tags']}"
            )
        else:
            message = item["msg"].removeprefix("Value error, ")
            shown = "" if isinstance(value, dict | Block) else f", not {_short(without_login(repr(value)))}"
            lines.append(
                f"{(prefix + place).rstrip('.')}: {message[0].lower()}{message[1:]}{shown}".replace(": :", ":")
            )
    unique = [*dict.fromkeys(map(printable, lines))]
    hidden = len(unique) - MAX_MISTAKES
    more = [f"{prefix.rstrip('.: ')}: and {hidden} more"] if hidden > 0 else []
    return "\n".join(unique[:MAX_MISTAKES] + more)


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _tag(context: dict[str, Any]) -> str:
    return str(context["discriminator"]).strip("'")


def _of_the_branch_that_fits(errors: list[Any]) -> list[Any]:
    """Drop the errors of the union branch that does not apply ("number" or "[low, high]")."""
    fitting = [
        item
        for item in errors
        if item["type"] != "tuple_type" and not (item["type"] in NUMBERS and isinstance(item["input"], list))
    ]
    return fitting or errors


def _place(loc: tuple[int | str, ...], block: type[BaseModel]) -> tuple[str, type[BaseModel]]:
    """Dotted path of an error without pydantic's union tags, and the innermost block that contains it."""
    parts: list[str] = []
    annotation: Any = block
    parent = block
    for part in loc:
        members = [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
        tagged = [m for m in members if part in _tags(m)]
        if len(members) > 1 and tagged:
            annotation = parent = tagged[0]
            continue
        if members:
            parent = members[0]
            field = parent.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            annotation = next(iter(get_args(annotation)[-1:]), None)
        if isinstance(part, int) or not part.startswith(
            ("constrained-", "function-", "tuple[", "float", "int", "[key]")
        ):
            parts.append(str(part))
    return ".".join(parts), parent


def _tags(member: type[BaseModel]) -> tuple[Any, ...]:
    return tuple(
        tag for key in TAGS if key in member.model_fields for tag in get_args(member.model_fields[key].annotation)
    )


def _members(annotation: Any) -> tuple[Any, ...]:
    """Members of a union (also inside Annotated); any other type is its own member."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(m for member in get_args(annotation) for m in _members(member))
    return (annotation,)
