"""The settings of a configuration that differ from the defaults, as a configuration that means the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from coupling.config.config import Config
from coupling.config.overrides import assign
from coupling.config.registry import Registry
from coupling.errors import CouplingError


def without_defaults(config: Config, registry: Registry) -> dict[str, Any]:
    """The configuration as plain values, without the keys that have their default.

    Options of components that are not installed stay as they are.
    """
    return _changed(without_default_options(config, registry), Config)


def without_default_options(config: Config, registry: Registry) -> dict[str, Any]:
    """The configuration as plain values, without the options of components that have their default."""
    values = config.plain()
    for path, kind, component in config.components():
        chosen = {
            key: value
            for key, value in component.options.items()
            if not _is_default(registry, kind, component.name, key, value)
        }
        assign(values, path, component.model_copy(update={"options": chosen}).plain(), path)
    return values


def _is_default(registry: Registry, kind: str, name: str, key: str, value: object) -> bool:
    """Whether an option has the default of its component, or none at all."""
    try:
        fields = registry.get(kind, name, kind).options.model_fields
    except CouplingError:
        return False
    if key not in fields:
        return value is None  # of the options of every data set, which are null by default
    return _has_default(fields[key], value)


def _has_default(field: FieldInfo, value: object) -> bool:
    return not field.is_required() and _plain(field.get_default(call_default_factory=True)) == value


def _changed(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """``values`` of a section without those that equal the defaults of ``model``, section by section."""
    changed: dict[str, Any] = {}
    for key, value in values.items():
        field = model.model_fields.get(key)
        if field is not None and _has_default(field, value):
            continue
        section = None if field is None else field.annotation
        if isinstance(value, Mapping) and isinstance(section, type) and issubclass(section, BaseModel):
            value = _changed(value, section)
            if not value:
                continue
        changed[key] = value
    return changed


def _plain(value: Any) -> Any:
    """A default as it is written in YAML."""
    if isinstance(value, BaseModel):
        return value.plain() if hasattr(value, "plain") else value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
