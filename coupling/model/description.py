"""The description in a model file, checked with bounds before anything is built from it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from coupling.config.config import Config, Name
from coupling.config.validation import Model, describe
from coupling.domain import Column, Domain
from coupling.errors import InputError
from coupling.runs.model_file import ModelFile

_DOMAINS = 256
"""Largest number of domains."""


_RULES = 1000
"""Largest number of sharing rules of a team."""


_LOSSES = 100
"""Largest number of losses."""


_COLUMNS = 10_000
"""Largest number of columns of a table."""


_SAMPLE = 2**26
"""Largest number of values in one sample: an image of 8192x8192 pixels in grey."""


DomainName = Annotated[Name, Field(max_length=200)]
Side = Annotated[int, Field(ge=1, le=_SAMPLE)]
Bound = Annotated[float, Field(ge=-1e30, le=1e30)]
Texts = dict[str, str]
ColumnDescription = tuple[Annotated[str, Field(max_length=1000)], Bound, Annotated[float, Field(gt=0, le=1e30)]]
"""Name, centre and scale of a column."""


class DomainDescription(Model):
    """Shape, range and drawing of a domain's samples."""

    shape: tuple[Side, ...] = Field(min_length=1, max_length=8)
    range: tuple[Bound, Bound]
    drawn_by: str = Field("", max_length=200)
    columns: tuple[ColumnDescription, ...] = Field((), max_length=_COLUMNS)

    @pydantic.model_validator(mode="after")
    def _bounded(self) -> DomainDescription:
        if math.prod(self.shape) > _SAMPLE:
            raise ValueError(f"shape: a sample has {math.prod(self.shape):,} values; at most {_SAMPLE:,} can be loaded")
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range: {list(self.range)} is not [lowest, highest]")
        if self.columns and self.shape != (len(self.columns),):
            raise ValueError(f"columns: there are {len(self.columns)}, but samples have shape {self.shape}")
        return self

    def domain(self, name: str) -> Domain:
        """The domain, without its drawing."""
        columns = tuple(Column(*column) for column in self.columns)
        return Domain(name, self.shape, self.range, self.drawn_by, columns=columns)


class Record(Model):
    """Facts about the training, for the card of the model."""

    model_config = pydantic.ConfigDict(allow_inf_nan=True)

    metrics: dict[str, float] = Field({})
    data: Texts = Field({})
    versions: Texts = Field({})
    plugins: Texts = Field({})
    device: str = ""


class ModelDescription(Model):
    """Everything beside the tensors."""

    config: dict[str, Any]
    domains: dict[DomainName, DomainDescription] = Field(min_length=1, max_length=_DOMAINS)
    sharing: dict[str, Any]
    step: int = Field(ge=0, le=2**63)
    record: Record = Record()
    networks: list[Literal["generator"]] | None = Field(None, min_length=1, max_length=1)
    """The networks whose tensors the file holds; None: all."""
    half: bool = False
    """Whether numbers of 32 bits are stored as 16."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")


def read_description(file: ModelFile) -> ModelDescription:
    """The checked description of a model file.

    Raises:
        InputError: a key is missing, unknown or not valid; the message names each.
    """
    try:
        return ModelDescription.model_validate(file.values)
    except pydantic.ValidationError as error:
        problems = describe(error, ModelDescription, file.values)
        raise InputError(
            f"{file.path}: a safetensors file, but not a model that coupling wrote: its metadata are not valid:\n  "
            + problems.replace("\n", "\n  ")
        ) from None


def check_config(config: Config, description: ModelDescription) -> None:
    """Raise :class:`InputError` if a file's configuration is too large, or does not have the file's domains."""
    if list(config.domains) != list(description.domains):
        raise InputError(
            f"domains: the configuration has {', '.join(config.domains)}, the file describes "
            f"{', '.join(description.domains)}"
        )
    counts = (
        ("losses", len(config.losses), _LOSSES),
        ("sharing.generator", len(config.sharing.generator), _RULES),
        ("sharing.discriminator", len(config.sharing.discriminator), _RULES),
    )
    for key, count, most in counts:
        if count > most:
            raise InputError(f"{key}: has {count:,} entries; at most {most:,} can be loaded")
