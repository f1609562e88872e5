"""``--set path.to.key=value``: one key of a configuration, changed from outside."""

from __future__ import annotations

import copy
import re
from typing import Any

from coupling.config.yaml_text import parse_yaml
from coupling.errors import ConfigError


def override(values: dict[str, Any], assignment: str) -> None:
    """Apply one ``path.to.key=YAML value`` in place; list items by number: ``losses.0.name=hinge``.

    ``*`` stands for every key, or number, that is there: ``domains.*.dataset.half=1``.
    """
    path, separator, text = assignment.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"--set {assignment}: write it as path.to.key=value")
    try:
        value = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"--set {assignment}: {error}") from None
    assign(values, path, value, f"--set {assignment}")


def keys_of(path: str) -> list[str]:
    """The keys of a path from the outside in: ``losses[0].name`` and ``losses.0.name`` are the same."""
    return re.sub(r"\[(\d+|\*)\]", r".\1", path.strip()).split(".")


def assign(values: dict[str, Any], path: str, value: Any, place_of_error: str) -> None:
    """Put ``value`` at ``path`` in place; :class:`ConfigError` begins with ``place_of_error``."""
    keys = keys_of(path)
    place: Any = values
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if key == "*":
            names = list(place) if isinstance(place, dict) else range(len(place)) if isinstance(place, list) else []
            if not names:
                raise ConfigError(f"{place_of_error}: '{'.'.join(keys[:number])}' has nothing that * could stand for")
            for name in names:
                one = ".".join([*keys[:number], str(name), *keys[number + 1 :]])
                assign(values, one, copy.deepcopy(value), place_of_error)
            return
        if isinstance(place, list):
            if not key.isdecimal() or int(key) > len(place):
                raise ConfigError(
                    f"{place_of_error}: '{'.'.join(keys[:number])}' is a list of {len(place)}; '{key}' is none of it"
                )
            if int(key) == len(place):
                place.append(None if last else {})
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
            if not last and not isinstance(place.get(key), dict | list):
                # A component by its name alone grows options: `dataset: mnist` + dataset.half=1.
                # A list that is not there begins with its first item: metrics.0.name=pixel-agreement.
                empty: Any = [] if keys[number + 1] == "0" and place.get(key) is None else {}
                place[key] = {"name": place[key]} if isinstance(place.get(key), str) else empty
        else:
            raise ConfigError(f"{place_of_error}: '{'.'.join(keys[:number])}' has no keys below it")
        if last:
            place[index] = value
        else:
            if isinstance(place, list) and isinstance(place[index], str):
                place[index] = {"name": place[index]}
            place = place[index]
