"""Hyper-parameter search settings (block `tune`)."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from denoiselab.config.base import Block
from denoiselab.runtime.errors import UserError


class Range(Block):
    """Numbers from low to high; integers if both are."""

    low: int | float
    high: int | float
    log: bool = False  # sample on a logarithmic scale

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise UserError(f"low must be below high, and above 0 with log, not {self.low} and {self.high}")
        return self


class Choices(Block):
    """One of several values."""

    choices: list[Any] = Field(min_length=1)


class Phase(Block):
    """One phase of the search; the best values of earlier phases are fixed."""

    trials: int = Field(ge=1)  # finished or pruned
    steps: int = Field(ge=1)  # training steps per trial
    validations: int = Field(ge=1)  # per trial, evenly spread; it may be pruned after each but the last
    space: dict[str, Range | Choices] = Field(min_length=1)  # by key of the model's block


def _without_password(address: str) -> str:
    if urlsplit(address).password or "password=" in address:
        raise UserError("the address contains a password, but this file is in Git; put it into ~/.pgpass or PGPASSWORD")
    return address


class Tune(Block):
    model: str  # entry of models to tune
    # database URL of the Optuna study, which several machines may share; null: SQLite in .tune/
    storage: Annotated[str, AfterValidator(_without_password)] | None
    startup_trials: int = Field(ge=1)  # random and never pruned, before the sampler takes over
    phases: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Phase] = Field(min_length=1)
