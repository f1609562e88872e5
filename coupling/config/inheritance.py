"""Configurations that extend others: the key ``extends``, and how two configurations are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coupling.config.yaml_text import in_yaml, parse_yaml, read_text
from coupling.errors import ConfigError
from coupling.system.file_names import expand_home

EXTENDS = "extends"
"""The key of a configuration that names the file that it extends."""

_KEYS = "a mapping with the keys name, domains, generator, ..."


@dataclass(frozen=True)
class Inherited:
    """The values of a configuration, complete with those of the files that it extends."""

    values: dict[str, Any]
    files: tuple[Path, ...] = ()
    """The files that it extends, the nearest first."""


def complete_values(text: str, path: Path) -> Inherited:
    """The values of a configuration of a run, complete with those of the files that it extends.

    Args:
        text: the content of the file.
        path: the file; files that it extends are found from its folder.

    Raises:
        ConfigError: the text is not valid, or a file that it extends; the message names the files except ``path``.
    """
    values = parse_yaml(text)
    if values is None:
        raise ConfigError(f"is empty; a configuration is {_KEYS}")
    if not isinstance(values, dict):
        raise ConfigError(f"a configuration is {_KEYS}")
    if _is_sweep(values):
        raise ConfigError(f"is a sweep, not the configuration of a run; give it to: coupling sweep {path}")
    return complete(values, path)


def extended_files(path: Path) -> tuple[Path, ...]:
    """The files that the configuration in ``path`` extends, the nearest first; it must be valid."""
    return complete_values(read_text(path), path).files


def complete(values: dict[str, Any], path: Path, children: Sequence[Path] = ()) -> Inherited:
    """The values of ``path``, complete with those of the file that they extend.

    Args:
        values: the values; left unchanged.
        path: the file that they stand in; the file that they extend is found from its folder.
        children: the files that extend ``path``, the first one first.

    Raises:
        ConfigError: a file cannot be read, is no configuration of a run, or extends itself; the message names it.
    """
    if EXTENDS not in values:
        return Inherited(values)
    given = values[EXTENDS]
    if not isinstance(given, str) or not given:
        raise ConfigError(f"{EXTENDS}: {in_yaml(given)} is not valid: should be the path of one configuration file")
    parent = path.parent / expand_home(given)
    chain = [*children, path]
    if any(_same(parent, child) for child in chain):
        shown = " extends ".join(str(file) for file in [*chain, parent])
        raise ConfigError(f"{EXTENDS}: is a circle: {shown}; take `{EXTENDS}` out of one of these files")
    inherited = _read_parent(parent, chain)
    own = {key: value for key, value in values.items() if key != EXTENDS}
    return Inherited(merge(inherited.values, own), (parent, *inherited.files))


def _read_parent(path: Path, children: Sequence[Path]) -> Inherited:
    try:
        text = read_text(path)
    except ConfigError as error:
        raise ConfigError(f"{EXTENDS}: {error}") from None
    try:
        values = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{EXTENDS}: {path}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{EXTENDS}: {path}: is not a configuration of a run, {_KEYS}")
    if _is_sweep(values):
        raise ConfigError(f"{EXTENDS}: {path}: is a sweep; name the configuration of a run")
    return complete(values, path, children)


def _is_sweep(values: Mapping[str, Any]) -> bool:
    return "base" in values and "domains" not in values


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the changes of one that extends it.

    A mapping changes the keys that it has. Everything else replaces what was there: a value, a list, null, and a
    component (or an optimizer) of another name, whose options would be those of the other one.

    Args:
        base: the values of the file that is extended.
        changes: the values of the file that extends it.
    """
    return {**base, **{key: _merged(base.get(key), value) for key, value in changes.items()}}


def _merged(old: Any, new: Any) -> Any:
    """``new`` where it replaces ``old``; both where ``new`` changes keys of ``old``."""
    if not isinstance(new, Mapping):
        return new
    if isinstance(old, str) and "name" not in new:  # a component that is written as its name alone
        return {"name": old, **new}
    if not isinstance(old, Mapping) or ("name" in new and new["name"] != old.get("name", new["name"])):
        return new
    return merge(old, new)
