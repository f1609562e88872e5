"""The logged values of a run as plots: a panel for each kind of value, a line for each flat name."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from coupling.reports.plots import empty_figure, plain
from coupling.runs.metrics_log import MetricName, read_losses, read_metrics

_FEW = 40
"""Maximum number of points of a line that are marked."""


Line = tuple[list[int], list[float]]
"""Steps, and the values measured at them."""


def panels(log: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Line]]:
    """{title: {label: line}}: a panel for each team's losses, and one for each metric; terms of losses are left out.

    ``log``: lines of metrics.jsonl. If a value was measured twice at a step, the later one counts.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in sorted(log, key=lambda line: line["step"]):  # `coupling evaluate` may have measured an earlier step
        for loss, value in read_losses(line).items():
            if loss.term is None:
                found.setdefault(f"loss/{loss.team}", {}).setdefault(loss.domain, {})[line["step"]] = value
        for flat, value in read_metrics(line).items():
            name = MetricName.parse(flat)
            found.setdefault(name.metric, {}).setdefault("/".join(name.path) or "mean", {})[line["step"]] = value
    return {
        title: {label: ([*points], [*points.values()]) for label, points in lines.items()}
        for title, lines in found.items()
    }


def plot(title: str, lines: Mapping[str, Line]) -> str:
    """One panel as an SVG element. Floors, ceilings and details, whose names extend another label, are dashed.

    Raises :class:`RunError` if matplotlib is not installed.
    """
    made = empty_figure(6.4, 3.4)
    axes = made.subplots()
    for label, (steps, values) in lines.items():
        beside = any(MetricName.parse(label).extends(MetricName.parse(other)) for other in lines)
        axes.plot(
            steps,
            values,
            label=plain(label),
            linewidth=1.2,
            linestyle="--" if beside else "-",
            marker="o" if len(steps) <= _FEW and not beside else None,
            markersize=3,
        )
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False)
    import matplotlib as mpl  # it is installed: it made the figure

    file = io.StringIO()
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": title}
    ):  # text stays text; the same run, the same file
        made.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
