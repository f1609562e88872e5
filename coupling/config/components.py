"""References to components in a configuration, by name and options, and the options of every data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BeforeValidator, Field

from coupling.config.validation import Model, describe
from coupling.errors import ConfigError


class ComponentConfig(Model):
    """A component by its registered name, with its options."""

    name: str
    options: dict[str, Any] = Field({})

    def plain(self) -> Any:
        """The component as it is written in YAML: its name alone, or a mapping with its options."""
        return {"name": self.name, **self.options} if self.options else self.name


class MetricConfig(ComponentConfig):
    """A metric, and when it is measured."""

    every: int | None = Field(None, ge=1, description="steps between measurements; null: only at the end")

    def plain(self) -> dict[str, Any]:
        """The metric as it is written in YAML."""
        every = {} if self.every is None else {"every": self.every}
        return {"name": self.name, **self.options, **every}


class OperationConfig(ComponentConfig):
    """An augmentation, and the domains whose samples it changes."""

    domains: list[str] | None = Field(None, min_length=1, description="domains whose samples it changes; null: all")

    def plain(self) -> Any:
        """The augmentation as it is written in YAML."""
        chosen = {} if self.domains is None else {"domains": self.domains}
        return {"name": self.name, **self.options, **chosen} if self.options or chosen else self.name


def component_entry(value: Any) -> Any:
    """A component as it is written in YAML, ``name`` or ``{name: ..., its options}``, as name and options."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping):
        name = {"name": value["name"]} if "name" in value else {}
        return {**name, "options": {k: v for k, v in value.items() if k != "name"}}
    if isinstance(value, ComponentConfig):
        return value
    raise ValueError("write a component as its name, or as {name: ..., and its options}")


def _entry_with(key: str, value: Any) -> Any:
    """A component as it is written in YAML, as name, options and ``key``, which all components of its kind take."""
    value = component_entry(value)
    if isinstance(value, Mapping) and key in value.get("options", ()):
        options = dict(value["options"])
        return {**value, key: options.pop(key), "options": options}
    return value


def metric_entry(value: Any) -> Any:
    """A metric as it is written in YAML, as name, options and ``every``."""
    return _entry_with("every", value)


def operation_entry(value: Any) -> Any:
    """An augmentation as it is written in YAML, as name, options and ``domains``."""
    return _entry_with("domains", value)


ComponentReference = Annotated[ComponentConfig, BeforeValidator(component_entry)]


MetricReference = Annotated[MetricConfig, BeforeValidator(metric_entry)]


OperationReference = Annotated[OperationConfig, BeforeValidator(operation_entry)]


def parse_component(value: object, path: str) -> ComponentConfig:
    """A component as it is written in YAML; raises :class:`ConfigError` naming ``path``."""
    try:
        return ComponentConfig.model_validate(component_entry(value))
    except pydantic.ValidationError as error:
        raise ConfigError(describe(error, ComponentConfig, value, path)) from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _as_list(value: Any) -> Any:
    """A value, or a list of values, as a list."""
    return value if isinstance(value, list) else [value]


class PartOptions(Model):
    """Options that every data set takes, besides its own."""

    half: Literal[1, 2] | None = Field(None, description="the first or second random half; short for part: [1, 2]")
    part: tuple[int, int] | Literal["all"] | None = Field(
        None, description="[k, n]: the k-th of n disjoint random parts; all: every sample"
    )
    transform: Annotated[list[ComponentReference], BeforeValidator(_as_list)] = Field(
        [], description="image operator, or a list of them, applied to every sample"
    )

    @pydantic.model_validator(mode="after")
    def _part(self) -> PartOptions:
        if self.half is not None and self.part is not None:
            raise ValueError("give half or part, not both")
        if isinstance(self.part, tuple) and not 1 <= self.part[0] <= self.part[1]:
            raise ValueError(f"part: [{self.part[0]}, {self.part[1]}] is not [k, n] with 1 <= k <= n")
        return self

    def chosen(self) -> tuple[int, int] | None:
        """The part (k, n) that the user chose; None if he chose none."""
        if self.part == "all":
            return (1, 1)
        return (self.half, 2) if self.half is not None else self.part

    def transforms(self, path: str) -> list[tuple[str, ComponentConfig]]:
        """The transforms in order, each with its path in the configuration; ``path``: that of the data set."""
        if len(self.transform) == 1:
            return [(f"{path}.transform", self.transform[0])]
        return [(f"{path}.transform[{i}]", transform) for i, transform in enumerate(self.transform)]


def own_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a data set without those that every data set takes."""
    return {key: value for key, value in options.items() if key not in PartOptions.model_fields}


def split_options(options: Mapping[str, Any], path: str) -> tuple[PartOptions, dict[str, Any]]:
    """The options that every data set takes, and the data set's own; raises :class:`ConfigError` naming ``path``."""
    own = own_options(options)
    common = {key: value for key, value in options.items() if key not in own}
    try:
        return PartOptions.model_validate(common), own
    except pydantic.ValidationError as error:
        raise ConfigError(describe(error, PartOptions, common, path, "every data set")) from None
