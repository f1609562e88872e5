"""The choice of metrics of ``coupling evaluate``: by name, with or without options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from coupling.config.components import MetricConfig, metric_entry
from coupling.config.config import Config
from coupling.config.validation import describe
from coupling.config.yaml_text import parse_yaml
from coupling.errors import ConfigError, InputError
from coupling.plugins import Plugins

MetricChoice = str | Mapping[str, Any]
"""A metric: its name, ``name:key=value,...``, or ``{name: ..., key: value}``."""


def choose_metrics(
    config: Config, metrics: Iterable[MetricChoice] | None, plugins: Plugins
) -> list[tuple[MetricConfig, str]]:
    """The metrics to be measured, each with its place in messages.

    A name without options means all configured metrics of that name; if there are none, the metric with its defaults.
    Without ``metrics``, all configured ones. Raises :class:`InputError` for a choice that is not valid.
    """
    if metrics is None:
        if not config.metrics:
            raise InputError(
                "the configuration names no metrics; name one by --metric NAME or --metric NAME:key=value; known: "
                + ", ".join(plugins.registry.names("metric"))
            )
        return [(entry, f"metrics[{number}]") for number, entry in enumerate(config.metrics)]
    chosen: list[tuple[MetricConfig, str]] = []
    for choice in metrics:
        entry = _parse(choice, f"--metric {choice if isinstance(choice, str) else dict(choice)}")
        configured = [(c, f"metrics[{number}]") for number, c in enumerate(config.metrics) if c.name == entry.name]
        if configured and not entry.options:
            chosen += configured
        else:
            place = f"--metric {entry.name}"
            chosen.append((_complete(entry, place, plugins), place))
    return chosen


def _complete(entry: MetricConfig, place: str, plugins: Plugins) -> MetricConfig:
    """A metric with the defaults of its options."""
    try:
        options = plugins.registry.completed("metric", entry.name, entry.options, place)
    except ConfigError as error:
        if entry.options or "is required" not in str(error):
            raise
        raise ConfigError(f"{error}\ngive its options: --metric {entry.name}:key=value,key=value") from None
    return entry.model_copy(update={"options": options})


def _parse(choice: MetricChoice, place: str) -> MetricConfig:
    """The metric of one ``--metric``."""
    value: Any = choice
    try:
        if isinstance(choice, str):
            if choice.lstrip().startswith("{"):
                value = parse_yaml(choice)
            elif ":" in choice:
                name, _, options = choice.partition(":")
                value = {"name": name} | dict(_assignment(part) for part in _split_options(options))
        return MetricConfig.model_validate(metric_entry(value))
    except pydantic.ValidationError as error:
        raise ConfigError(describe(error, MetricConfig, value, place)) from None
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}; write name:key=value,key=value or {{name: ..., key: value}}") from None


def _split_options(text: str) -> list[str]:
    """Split ``a=1,b=[2, 3]`` at its outer commas."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _assignment(part: str) -> tuple[str, Any]:
    key, separator, value = part.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"'{part}' is not key=value")
    return key.strip(), parse_yaml(value)
