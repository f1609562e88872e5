"""What a run logged, as plots: a panel a kind of value, a line a flat name.

Needs matplotlib: pip install 'coupling-gan[plots]'.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from coupling.errors import RunError
from coupling.log import logged

_FEW = 40
"""Points of a line, up to which each is marked."""

Line = tuple[list[int], list[float]]
"""Steps, and the values measured at them."""


def panels(log: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Line]]:
    """{title: {label: line}}: a panel a team for losses, one a metric for the rest; terms of a loss are left out.

    ``log``: lines of metrics.jsonl, whose keys are flat names. What is measured again at a step counts.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in sorted(log, key=lambda line: line["step"]):  # what is evaluated later may be of an earlier step
        for name, value in logged(line).items():
            kind, *rest = name.split("/")
            if kind == "loss":
                kind, rest = f"loss/{rest[0]}", rest[1:]
                if len(rest) > 1:
                    continue
            found.setdefault(kind, {}).setdefault("/".join(rest) or "mean", {})[line["step"]] = value
    return {
        title: {label: ([*points], [*points.values()]) for label, points in lines.items()}
        for title, lines in found.items()
    }


def plot(title: str, lines: Mapping[str, Line]) -> str:
    """One panel as an SVG element. A floor or ceiling, named below what it belongs to, is dashed.

    Raises :class:`RunError` where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise RunError(
            "matplotlib is not installed; pip install 'coupling-gan[plots]', and give the command again"
        ) from None
    made = Figure(figsize=(6.4, 3.4), layout="constrained")
    FigureCanvasSVG(made)
    axes = made.subplots()
    for label, (steps, values) in lines.items():
        beside = any(label.startswith(f"{other}/") for other in lines)
        axes.plot(
            steps,
            values,
            label=label.replace("$", r"\$"),  # between two dollars it would be a formula
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
    file = io.StringIO()
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": title}
    ):  # text stays text; the same run, the same file
        made.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
