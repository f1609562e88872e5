"""``--set path.to.key=value``: changes of single keys of a configuration."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

from coupling.config.yaml_text import parse_yaml
from coupling.errors import ConfigError


def override(values: dict[str, Any], assignment: str) -> None:
    """Apply one ``path.to.key=YAML value`` in place. Items of a list go by number: ``losses.0.name=hinge``.

    ``*`` stands for every key, or number, that is there: ``domains.*.dataset.half=1``.
    """
    path, value = parse_assignment(assignment)
    assign(values, path, value, f"--set {assignment}")


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """The path and the value of ``path.to.key=YAML value``; raises :class:`ConfigError` if it is not one."""
    path, separator, text = assignment.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"--set {assignment}: write it as path.to.key=value")
    try:
        return path.strip(), parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"--set {assignment}: {error}") from None


def keys_of(path: str) -> list[str]:
    """The keys of a path from the outside in: ``losses[0].name`` and ``losses.0.name`` are the same."""
    return re.sub(r"\[(\d+|\*)\]", r".\1", path.strip()).split(".")


def assign(values: dict[str, Any], path: str, value: Any, source: str) -> None:
    """Put ``value`` at ``path`` in place.

    A component that is written as its name alone becomes a mapping when it gets options (``dataset: mnist`` and
    ``dataset.half=1``). A list that is not there begins with its first item (``metrics.0.name=pixel-agreement``).

    Raises:
        ConfigError: ``path`` leads nowhere; the message begins with ``source``.
    """
    try:
        for keys in list(_expand(values, keys_of(path), 0)):
            place: Any = values
            for number in range(1, len(keys)):
                place = _enter(place, keys[:number], first_item=keys[number] == "0")
            _put(place, keys, copy.deepcopy(value))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _expand(place: Any, keys: list[str], number: int) -> Iterator[list[str]]:
    """The paths that ``keys`` stands for: one for each key or number that a ``*`` stands for.

    The keys before ``number`` have no ``*`` and lead to ``place``.
    """
    if "*" not in keys[number:]:
        yield keys
        return
    key = keys[number]
    if key != "*":
        yield from _expand(_at(place, key), keys, number + 1)
        return
    names = list(place) if isinstance(place, dict) else range(len(place)) if isinstance(place, list) else []
    if not names:
        raise ConfigError(f"'{_join(keys[:number])}' has nothing that * could stand for")
    for name in names:
        yield from _expand(place[name], [*keys[:number], str(name), *keys[number + 1 :]], number + 1)


def _at(place: Any, key: str) -> Any:
    """The value at ``key`` of a mapping or list; None if there is none."""
    if isinstance(place, dict):
        return place.get(key)
    return place[int(key)] if isinstance(place, list) and key.isdecimal() and int(key) < len(place) else None


def _enter(place: Any, keys: Sequence[str], *, first_item: bool) -> Any:
    """The mapping or list at the last of ``keys`` in ``place``, made where there is none.

    ``first_item``: the next key is the number of the first item, so that a list is made.
    """
    index = _index(place, keys)
    if isinstance(place, list) and index == len(place):
        place.append({})
    elif isinstance(place, dict) and not isinstance(place.get(index), dict | list | str):
        place[index] = [] if first_item and place.get(index) is None else {}
    if isinstance(place[index], str):
        place[index] = {"name": place[index]}
    return place[index]


def _put(place: Any, keys: Sequence[str], value: Any) -> None:
    """Set the last of ``keys`` in ``place``; a list grows by one item at most."""
    index = _index(place, keys)
    if isinstance(place, list) and index == len(place):
        place.append(value)
    else:
        place[index] = value


def _index(place: Any, keys: Sequence[str]) -> Any:
    """The last of ``keys`` as a key or index of ``place``; raises :class:`ConfigError` if it cannot be one."""
    *outer, key = keys
    if isinstance(place, dict):
        return key
    if not isinstance(place, list):
        raise ConfigError(f"'{_join(outer)}' has no keys below it")
    if not key.isdecimal() or int(key) > len(place):
        raise ConfigError(f"'{_join(outer)}' is a list of {len(place)} items; it has no item '{key}'")
    return int(key)


def _join(keys: Sequence[str]) -> str:
    return ".".join(keys)
