"""The logged values of a run as curves: a panel for each kind of value, a line for each flat name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coupling.runs.metrics_log import MetricName, is_below, read_losses, read_metrics, read_observed

Line = tuple[list[int], list[float]]
"""Steps, and the values measured at them."""


def panels(log: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Line]]:
    """{title: {label: line}}: a panel for the losses of each team, and one for each metric.

    ``log``: lines of metrics.jsonl. If a value was measured twice at a step, the later one counts.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in _by_step(log):
        for loss, value in read_losses(line).items():
            if loss.term is None:
                found.setdefault(f"losses of the {loss.team}s", {}).setdefault(loss.domain, {})[line["step"]] = value
        for flat, value in (read_metrics(line) | read_observed(line)).items():
            name = MetricName.parse(flat)
            found.setdefault(name.metric, {}).setdefault("/".join(name.path) or "mean", {})[line["step"]] = value
    return _as_lines(found)


def term_panels(log: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Line]]:
    """{title: {label: line}}: a panel for each term of a team's losses, a line for each domain."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in _by_step(log):
        for loss, value in read_losses(line).items():
            if loss.term is not None:
                found.setdefault(f"{loss.team}s: {loss.term}", {}).setdefault(loss.domain, {})[line["step"]] = value
    return _as_lines(found)


def plotted(lines: Mapping[str, Line]) -> dict[str, Any]:
    """A panel as JSON values: the lines' labels, and columns of equal length, steps first; None where one has no value.

    Floors, ceilings and details, whose names extend another label, are marked as ``beside``.
    """
    steps = sorted({step for line, _ in lines.values() for step in line})
    columns = [dict(zip(*line, strict=True)) for line in lines.values()]
    return {
        "lines": [{"label": label, "beside": is_below(label, lines)} for label in lines],
        "data": [steps, *([column.get(step) for step in steps] for column in columns)],
    }


def _by_step(log: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(log, key=lambda line: line["step"])  # `coupling evaluate` may have measured an earlier step


def _as_lines(found: Mapping[str, Mapping[str, Mapping[int, float]]]) -> dict[str, dict[str, Line]]:
    return {
        title: {label: ([*points], [*points.values()]) for label, points in lines.items()}
        for title, lines in found.items()
    }
