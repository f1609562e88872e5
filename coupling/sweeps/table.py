"""Tables of a sweep's results: mean ± standard deviation over the seeds of each cell."""

from __future__ import annotations

import csv
import io
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from coupling.metrics.pairs import SAME_IMAGE, WAY

Of = Literal["best", "chosen", "last"]


BESIDE = (WAY, SAME_IMAGE)
"""Values beside a metric that differ from model to model, and so have tables of their own."""


OF: dict[Of, str] = {"best": "Best iteration of each run", "last": "Last iteration"}


@dataclass(frozen=True)
class Result:
    """The scores of one finished run."""

    labels: tuple[str, ...]
    """Its cell: one label of each axis."""
    seed: int
    steps: int
    last: Mapping[str, float]
    """Value of each metric after the last step, by flat name."""
    best: Mapping[str, Mapping[str, float]]
    """``value`` and ``step`` of each metric's best."""
    beside: Mapping[str, float]
    """Floors, ceilings and details of the metrics after the last step, by flat name."""
    leading: str | None = None
    """Flat name of the run's first metric, which selects its best checkpoint."""
    chosen: Mapping[str, float] = field(default_factory=dict)
    """Value of each metric at the step at which that one was best, if it was measured there."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of the values of one cell's seeds."""

    mean: float
    std: float | None
    """Sample standard deviation (n - 1); None for a single value."""
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Mean and standard deviation of one value or more."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


class Table:
    """A metric over the grid: the last axis gives the columns, the axes before it the rows."""

    def __init__(
        self,
        name: str,
        axes: Mapping[str, Sequence[str]],
        metric: str,
        baselines: Iterable[str],
        results: Iterable[Result],
    ) -> None:
        self.name = name
        self.axes = {axis: list(labels) for axis, labels in axes.items()}
        self.metric = metric
        self.results = list(results)
        done = {result.labels for result in self.results}
        *outer, last = self.axes.values() or [[""]]
        rows = list(itertools.product(*outer))
        columns = last if self.axes else [""]
        self.rows = [row for row in rows if any(self._cell(row, column) in done for column in columns)]
        """Labels of all axes but the last; rows without a finished run are left out."""
        self.columns = [column for column in columns if any(self._cell(row, column) in done for row in rows)]
        self.baselines = {
            baseline: statistics.fmean(values)
            for baseline in baselines
            if (
                values := [r.beside[f"{metric}/{baseline}"] for r in self.results if f"{metric}/{baseline}" in r.beside]
            )
        }
        """Means over all runs by name."""
        measured = {name for result in self.results for name in result.beside}
        self.beside = [name for name in (f"{metric}/{key}" for key in BESIDE) if name in measured]
        """Flat names of the values of BESIDE that some run measured."""
        leading = {result.leading for result in self.results}
        self.titles = dict(OF)
        """Titles of the tables."""
        if len(leading) == 1 and (first := next(iter(leading))) not in (None, metric):
            self.titles = {
                "best": f"{OF['best']}, chosen by {metric} itself (an oracle's choice)",
                "chosen": f"Iteration of each run's best {first}",
                "last": OF["last"],
            }

    def _cell(self, row: tuple[str, ...], column: str) -> tuple[str, ...]:
        return (*row, column) if self.axes else ()

    @property
    def corner(self) -> str:
        """The head of the first column: the axes of rows and columns."""
        *rows, column = list(self.axes) or [""]
        return " \\ ".join([", ".join(rows), column]) if rows else column

    def row_name(self, row: tuple[str, ...]) -> str:
        """A row's labels; the metric if there is only one row."""
        return ", ".join(row) or self.metric

    def value(self, result: Result, of: str) -> float | None:
        """The table's metric in one run; None if it was not measured at the chosen iteration.

        ``of``: best, chosen or last; or one of :attr:`beside`, whose value after the last step is given.
        """
        if of in self.beside:
            return result.beside.get(of)
        if of == "chosen":
            return result.chosen.get(self.metric)
        return result.best[self.metric]["value"] if of == "best" else result.last[self.metric]

    def spread(self, row: tuple[str, ...], column: str, of: str) -> Spread | None:
        """Mean and standard deviation of one cell; None if none of its seeds is finished."""
        cell = self._cell(row, column)
        of_cell = [self.value(result, of) for result in self.results if result.labels == cell]
        values = [value for value in of_cell if value is not None]
        return Spread.of(values) if values else None

    def markdown(self) -> str:
        """The tables in Markdown, with an explanation of their numbers."""
        spreads = {(r, c): s for r in self.rows for c in self.columns if (s := self.spread(r, c, "last")) is not None}
        counts = {spread.seeds for spread in spreads.values()}
        over = f"{next(iter(counts))} seeds" if len(counts) == 1 else "seeds, their number in parentheses"
        steps = sorted({result.steps for result in self.results})
        beside = ", ".join(f"{name} {value:{_form(value)}}" for name, value in self.baselines.items())
        lines = [
            f"# {self.name}: {self.metric}",
            "",
            f"Mean ± standard deviation (n - 1) over {'1 seed' if counts == {1} else over}; "
            f"{', '.join(f'{n:,}' for n in steps)} steps." + (f" Baselines: {beside}." if beside else ""),
        ]
        titles = self.titles | {name: f"{name}, last iteration" for name in self.beside}
        counted = len(counts) > 1
        if len(self.axes) == 1:  # one table, however many labels the axis has
            rows = {
                label: [self._shown(self.spread((), label, of), counted) for of in titles] for label in self.columns
            }
            heads = [title.removeprefix(f"{self.metric}/") for title in titles.values()]
            return "\n".join([*lines, "", *_grid([self.corner, *heads], rows)]) + "\n"
        for of, title in titles.items():
            rows = {
                self.row_name(row): [self._shown(self.spread(row, column, of), counted) for column in self.columns]
                for row in self.rows
            }
            lines += ["", f"## {title}", "", *_grid([self.corner, *self.columns], rows)]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _shown(spread: Spread | None, counted: bool) -> str:
        if spread is None:
            return "–"
        form = _form(spread.mean)
        text = f"{spread.mean:{form}}" + ("" if spread.std is None else f" ± {spread.std:{form}}")
        return f"{text} ({spread.seeds})" if counted else text

    def csv(self) -> str:
        """All tables in one: mean, standard deviation and number of seeds of each column.

        ``iteration`` is best, chosen or last, or the name of a value beside the metric after the last step.
        """
        heads = [
            head for column in self.columns for head in [f"{column} {of}".strip() for of in ("mean", "std", "seeds")]
        ]
        lines: list[list[Any]] = [[*list(self.axes)[:-1], "iteration", *heads]]
        for of in (*self.titles, *self.beside):
            for row in self.rows:
                line: list[Any] = [*row, of]
                for column in self.columns:
                    spread = self.spread(row, column, of)
                    line += ["", "", 0] if spread is None else [spread.mean, spread.std, spread.seeds]
                lines.append(line)
        return _csv(lines)

    def tidy_csv(self) -> str:
        """A line for each run and metric: cell, seed, best value and its step, last value and its step."""
        lines: list[list[Any]] = [[*self.axes, "seed", "metric", "best", "best_step", "last", "last_step"]]
        for result in self.results:
            start = [*result.labels, result.seed]
            for metric, last in result.last.items():
                best = result.best[metric]
                lines.append([*start, metric, best["value"], int(best["step"]), last, result.steps])
            lines += [[*start, name, None, None, value, result.steps] for name, value in result.beside.items()]
        return _csv(lines)


def _form(value: float) -> str:
    """Format of a number and its deviation: four decimal places, or four digits for large and tiny numbers."""
    return ".4f" if value == 0 or 1e-3 <= abs(value) < 100 else ".4g"


def _grid(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    return [_row(heads), _row(["---"] * len(heads)), *(_row([name, *cells]) for name, cells in rows.items())]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv(lines: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
