"""What a sweep's runs measured, as tables: mean ± standard deviation over the seeds of each cell."""

from __future__ import annotations

import csv
import io
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Of = Literal["best", "chosen", "last"]


OF: dict[Of, str] = {"best": "Best iteration of each run", "last": "Last iteration"}


@dataclass(frozen=True)
class Result:
    """What one finished run measured."""

    labels: tuple[str, ...]
    """Its cell: one label of each axis."""
    seed: int
    steps: int
    last: Mapping[str, float]
    """Value of each metric after the last step, by flat name."""
    best: Mapping[str, Mapping[str, float]]
    """``value`` and ``step`` of each metric's best."""
    beside: Mapping[str, float]
    """What metrics measured beside their values (baselines, details), after the last step."""
    leading: str | None = None
    """The run's first metric, which chooses its best checkpoint."""
    chosen: Mapping[str, float] = field(default_factory=dict)
    """Value of each metric at the step at which that one was best; of those that were measured there."""


@dataclass(frozen=True)
class Spread:
    """Of the values of one cell's seeds."""

    mean: float
    std: float | None
    """Sample standard deviation (n - 1); None of a single value."""
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value or more."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


class Table:
    """A metric over the grid: the last axis makes the columns, those before it the rows."""

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
        """Labels of the axes but the last; those of which nothing is finished are left out."""
        self.columns = [column for column in columns if any(self._cell(row, column) in done for row in rows)]
        self.baselines = {
            baseline: statistics.fmean(values)
            for baseline in baselines
            if (
                values := [r.beside[f"{metric}/{baseline}"] for r in self.results if f"{metric}/{baseline}" in r.beside]
            )
        }
        """Means over all runs."""
        leading = {result.leading for result in self.results}
        self.titles = dict(OF)
        """The tables, each with its title."""
        if len(leading) == 1 and (first := next(iter(leading))) not in (None, metric):
            self.titles = {
                "best": f"{OF['best']}, chosen by {metric} itself: an oracle's",
                "chosen": f"Iteration of each run's best {first}",
                "last": OF["last"],
            }

    def _cell(self, row: tuple[str, ...], column: str) -> tuple[str, ...]:
        return (*row, column) if self.axes else ()

    @property
    def corner(self) -> str:
        """What rows and columns are."""
        *rows, column = list(self.axes) or [""]
        return " \\ ".join([", ".join(rows), column]) if rows else column

    def row_name(self, row: tuple[str, ...]) -> str:
        """A row's labels; where there is but one row, the metric."""
        return ", ".join(row) or self.metric

    def value(self, result: Result, of: Of) -> float | None:
        """The table's metric in one run; None where it was not measured at the chosen iteration."""
        if of == "chosen":
            return result.chosen.get(self.metric)
        return result.best[self.metric]["value"] if of == "best" else result.last[self.metric]

    def spread(self, row: tuple[str, ...], column: str, of: Of) -> Spread | None:
        """Of one cell; None where none of its seeds is finished."""
        cell = self._cell(row, column)
        of_cell = [self.value(result, of) for result in self.results if result.labels == cell]
        values = [value for value in of_cell if value is not None]
        return Spread.of(values) if values else None

    def markdown(self) -> str:
        """The tables, with what their numbers are."""
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
        for of, title in self.titles.items():
            lines += [
                "",
                f"## {title}",
                "",
                _row([self.corner, *self.columns]),
                _row(["---"] * (len(self.columns) + 1)),
            ]
            for row in self.rows:
                cells = [self._shown(self.spread(row, column, of), len(counts) > 1) for column in self.columns]
                lines.append(_row([self.row_name(row), *cells]))
        return "\n".join(lines) + "\n"

    @staticmethod
    def _shown(spread: Spread | None, counted: bool) -> str:
        if spread is None:
            return "–"
        form = _form(spread.mean)
        text = f"{spread.mean:{form}}" + ("" if spread.std is None else f" ± {spread.std:{form}}")
        return f"{text} ({spread.seeds})" if counted else text

    def csv(self) -> str:
        """The tables as one: of each column the mean, the standard deviation and the number of seeds."""
        heads = [
            head for column in self.columns for head in [f"{column} {of}".strip() for of in ("mean", "std", "seeds")]
        ]
        lines: list[list[Any]] = [[*list(self.axes)[:-1], "iteration", *heads]]
        for of in self.titles:
            for row in self.rows:
                line: list[Any] = [*row, of]
                for column in self.columns:
                    spread = self.spread(row, column, of)
                    line += ["", "", 0] if spread is None else [spread.mean, spread.std, spread.seeds]
                lines.append(line)
        return _csv(lines)

    def tidy_csv(self) -> str:
        """One line a run and metric: its cell, seed, best value and step of it, last value and step."""
        lines: list[list[Any]] = [[*self.axes, "seed", "metric", "best", "best_step", "last", "last_step"]]
        for result in self.results:
            start = [*result.labels, result.seed]
            for metric, last in result.last.items():
                best = result.best[metric]
                lines.append([*start, metric, best["value"], int(best["step"]), last, result.steps])
            lines += [[*start, name, None, None, value, result.steps] for name, value in result.beside.items()]
        return _csv(lines)


def _form(value: float) -> str:
    """How a number, and what it may be off by, are written: four places, or four digits of what is large or tiny."""
    return ".4f" if value == 0 or 1e-3 <= abs(value) < 100 else ".4g"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv(lines: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
