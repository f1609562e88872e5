"""metrics.jsonl of a run, read back, and the flat names of losses and metrics in it.

A line is a JSON object with ``step``, ``seconds`` and values by flat name: ``loss/<team>/<domain>``,
``loss/<team>/<domain>/<term>``, ``<metric>/<domain>...`` and names below that: ``<metric>/<domain>.../unrelated``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coupling.errors import InputError
from coupling.runs.measured import Detail, Measured

FILE = "metrics.jsonl"


EVALUATED = "checkpoint"
"""Key of a line that was measured after the training: the step of its checkpoint."""


_ABOUT = ("step", "seconds", EVALUATED)
"""Keys of a line that are not values."""


BATCH_DIVERSITY, AUGMENTATION_PROBABILITY = "batch-diversity", "augmentation-probability"
"""First parts of the flat names, ``<name>/<domain>``, of what training observes of itself. These are no scores."""


_TAIL = 16384
"""Bytes at the end of the file, in which its last line lies."""


@dataclass(frozen=True)
class LossName:
    """Name of a loss: of all terms of a team's objective in one domain, or of one ``term`` of them."""

    team: str
    domain: str
    term: str | None = None

    def __str__(self) -> str:
        parts = ("loss", self.team, self.domain, self.term)
        return "/".join(part for part in parts if part is not None)

    @classmethod
    def parse(cls, name: str) -> LossName | None:
        """The loss of a flat name; None if it is not a loss's."""
        kind, *parts = name.split("/", 3)
        return cls(*parts) if kind == "loss" and len(parts) >= 2 else None


@dataclass(frozen=True)
class MetricName:
    """Name of a metric's value, or of one of its floors, ceilings and details: a path below the metric."""

    metric: str
    path: tuple[str, ...] = ()
    """The domains, then what extends the name of the value itself."""

    def __str__(self) -> str:
        return "/".join((self.metric, *self.path))

    @classmethod
    def parse(cls, name: str) -> MetricName:
        """The metric of a flat name."""
        metric, *path = name.split("/")
        return cls(metric, tuple(path))

    def under(self, *path: str) -> MetricName:
        """The name of a floor, a ceiling or a detail of this value."""
        return MetricName(self.metric, (*self.path, *path))

    def extends(self, other: MetricName) -> bool:
        """Whether this is the name of a floor, a ceiling or a detail of ``other``."""
        return self != other and self.metric == other.metric and self.path[: len(other.path)] == other.path


def is_below(name: str, others: Iterable[str]) -> bool:
    """Whether the flat name is that of a floor, a ceiling or a detail of one of ``others``."""
    parsed = MetricName.parse(name)
    return any(parsed.extends(MetricName.parse(other)) for other in others)


def walk(name: MetricName, part: Detail) -> Iterator[tuple[MetricName, Measured]]:
    """A value called ``name``, then its details, each with its name."""
    if isinstance(part, Mapping):
        for key, inner in part.items():
            yield from walk(name.under(key), inner)
    elif isinstance(part, Measured):
        yield name, part
        yield from walk(name, part.details)
    else:
        yield name, Measured(part)


def flat_values(name: MetricName, measured: Measured) -> dict[str, float]:
    """All values by flat name, each followed by its floors and ceilings; the one called ``name`` is first."""
    values: dict[str, float] = {}
    for inner, part in walk(name, measured):
        values[str(inner)] = part.value
        values |= {str(inner.under(key)): value for key, value in {**part.floors, **part.ceilings}.items()}
    return values


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, each with at least ``step`` and ``seconds``; empty if there is no file.

    Lines that a killed run left unfinished are left out. Raises :class:`InputError` if the file cannot be read.
    """
    path = run / FILE
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; fix its permissions") from None
    return [values for line in text.splitlines() if (values := _line(line)) is not None]


def read_last_line(run: Path) -> dict[str, Any]:
    """The last whole line, without reading the others; empty if there is none."""
    try:
        with (run / FILE).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return next((values for line in reversed(lines) if (values := _line(line)) is not None), {})


def read_losses(line: Mapping[str, Any]) -> dict[LossName, float]:
    """The losses in a line."""
    names = ((LossName.parse(name), value) for name, value in line.items())
    return {name: value for name, value in names if name is not None and isinstance(value, int | float)}


def read_metrics(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics' values in a line by flat name, without those that are null."""
    return {name: value for name, value in _values(line).items() if not _is_observed(name)}


def read_observed(line: Mapping[str, Any]) -> dict[str, float]:
    """What training has observed of itself, by flat name: the batch's diversity, the probability of augmentation."""
    return {name: value for name, value in _values(line).items() if _is_observed(name)}


def _values(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in a line that are not losses."""
    return {
        name: value
        for name, value in line.items()
        if name not in _ABOUT and isinstance(value, int | float) and LossName.parse(name) is None
    }


def _is_observed(name: str) -> bool:
    return MetricName.parse(name).metric in (BATCH_DIVERSITY, AUGMENTATION_PROBABILITY)


def read_undefined(line: Mapping[str, Any]) -> list[str]:
    """Flat names of the metrics' values in a line that are null: they were measured, and have no value."""
    return [n for n, value in line.items() if value is None and LossName.parse(n) is None and not _is_observed(n)]


def read_reasons(evaluation: Mapping[str, Any]) -> dict[tuple[str, int], str]:
    """Why values are undefined, by flat name and step, from the content of a run's evaluation.json."""
    return {
        (name, int(step)): reason
        for records in evaluation.values()
        for step, record in records.items()
        for name, reason in record.get("undefined", {}).items()
    }


def describe_losses(line: Mapping[str, Any]) -> str:
    """The losses of each team, summed over its domains: ``D 1.39  G 0.71``; empty if there are none."""
    totals: dict[str, float] = {}
    for name, value in read_losses(line).items():
        if name.term is None:
            totals[name.team] = totals.get(name.team, 0.0) + value
    return "  ".join(f"{team[0].upper()} {total:.2f}" for team, total in sorted(totals.items()))


def _line(text: str) -> dict[str, Any] | None:
    try:
        values = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(values, dict) and all(isinstance(values.get(key), int | float) for key in ("step", "seconds"))
    return values if whole else None
