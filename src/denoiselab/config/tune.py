"""The hyper-parameter search: block `tune`."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from denoiselab.config.base import Block
from denoiselab.runtime.errors import UserError


class Range(Block):
    """Numbers from low to high; whole ones where both are."""

    low: int | float
    high: int | float
    log: bool = False  # by their logarithm

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise UserError(f"low must be below high, and above 0 with log, not {self.low} and {self.high}")
        return self


class Choices(Block):
    """One of these values."""

    choices: list[Any] = Field(min_length=1)


class Phase(Block):
    """A search of its own; what an earlier phase found stays as it is."""

    trials: int = Field(ge=1)  # finished or pruned
    steps: int = Field(ge=1)  # of a trial
    validations: int = Field(ge=1)  # in a trial, evenly spread: after each but the last it may be pruned
    space: dict[str, Range | Choices] = Field(min_length=1)  # by key of the model's block


def _without_password(address: str) -> str:
    if urlsplit(address).password or "password=" in address:
        raise UserError("an address with a password, and this file is in Git; put it into ~/.pgpass or PGPASSWORD")
    return address


class Tune(Block):
    model: str  # the entry of models that is tuned
    # RDB address of Optuna's study, which many machines may share; null: SQLite in .tune/
    storage: Annotated[str, AfterValidator(_without_password)] | None
    startup_trials: int = Field(ge=1)  # drawn at random, and none pruned, before the search learns
    phases: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Phase] = Field(min_length=1)
