"""A sweep's table as a figure, like the paper's Figure 3: a line for each row, with error bars."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from coupling.reports.plots import empty_figure, plain
from coupling.sweeps.table import OF, Of, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_SPREAD = 0.3
"""Distance between the lines' points of one column, in columns, so that error bars do not cover each other."""


_MARKERS = "osD^vP*X<>"


_DASHES = ("--", ":", "-.")


def figure(table: Table) -> bytes:
    """A PNG: best iterations on the left, last iterations on the right, baselines as horizontal lines.

    Raises :class:`RunError` if matplotlib is not installed.
    """
    made = empty_figure(11, 4.5)
    panels = made.subplots(1, 2, sharey=True)
    for of, panel in zip(OF, panels, strict=True):
        _draw(table, of, panel)
    panels[0].set_ylabel(plain(table.metric))
    handles, labels = panels[0].get_legend_handles_labels()
    named = [*range(len(table.baselines), len(labels)), *range(len(table.baselines))]  # the rows in their order first
    made.legend(
        [handles[i] for i in named],
        [labels[i] for i in named],
        title=plain(", ".join(list(table.axes)[:-1])) or None,
        loc="outside right center",
    )
    made.suptitle(table.name)
    file = io.BytesIO()
    made.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _draw(table: Table, of: Of, panel: Axes) -> None:
    for number, row in enumerate(table.rows):
        points = [(i, s) for i, column in enumerate(table.columns) if (s := table.spread(row, column, of)) is not None]
        aside = _SPREAD * ((number + 0.5) / len(table.rows) - 0.5)
        panel.errorbar(
            [i + aside for i, _ in points],
            [spread.mean for _, spread in points],
            yerr=[math.nan if spread.std is None else spread.std for _, spread in points],
            label=plain(table.row_name(row)),
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=1.2,
            capsize=3,
        )
    for number, (name, value) in enumerate(table.baselines.items()):
        style = _DASHES[number % len(_DASHES)]
        panel.axhline(value, color="0.4", linewidth=1, linestyle=style, label=plain(f"{name} ({value:.3f})"))
    panel.set_title(OF[of])
    panel.set_xticks(range(len(table.columns)), [plain(column) for column in table.columns])
    panel.set_xlim(-0.5, len(table.columns) - 0.5)
    panel.set_xlabel(plain(list(table.axes)[-1]) if table.axes else "")
    panel.grid(axis="y", color="0.9")
    panel.set_axisbelow(True)
