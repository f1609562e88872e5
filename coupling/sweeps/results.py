"""Results of a sweep's finished runs: read from the runs, and written as tables and a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from coupling.errors import RunError
from coupling.runs.metrics_log import MetricName, read_log, read_metrics, read_reasons, read_undefined
from coupling.sweeps.directory import FIGURE, RunStatus, SweepDirectory, read_mapping
from coupling.sweeps.figure import figure
from coupling.sweeps.grid import Grid
from coupling.sweeps.table import Result, Table
from coupling.system.atomic_files import write_bytes
from coupling.system.terminal import print_line, warn


class Results:
    """The results of finished runs, each read once."""

    def __init__(self, grid: Grid, directory: SweepDirectory, metric: str) -> None:
        """``metric``: flat name of the table's metric."""
        self.grid = grid
        self.directory = directory
        self.metric = metric
        self._read: dict[Path, Result] = {}

    def of(self, status: RunStatus) -> Result | None:
        """The result of a finished run; None if it has no finite value of the table's metric."""
        if status.path not in self._read:
            self._read[status.path] = read_result(status)
        result = self._read[status.path]
        return result if self.metric in result.last else None

    def describe(self, status: RunStatus) -> str:
        """Best and last value of a finished run; empty if it has none."""
        result = self.of(status)
        if result is None:
            return ""
        best = result.best[self.metric]
        return f"{self.metric} best {best['value']:.4g} at step {best['step']:,}, last {result.last[self.metric]:.4g}"

    def write_tables(self, finished: Iterable[RunStatus]) -> Table:
        """Write the tables of all finished runs; nothing is written if there is no result."""
        results = [result for status in finished if (result := self.of(status)) is not None]
        table = Table(self.grid.config.name, self.grid.axes, self.metric, self.grid.config.baselines, results)
        if table.results:
            self.directory.write("table.md", table.markdown())
            self.directory.write("table.csv", table.csv())
            self.directory.write("runs.csv", table.tidy_csv())
        return table

    def draw(self, table: Table) -> None:
        """Write the figure; prints a warning if it cannot be drawn."""
        if not table.results:
            return
        try:
            picture = figure(table)
        except RunError as error:  # the tables are there all the same
            warn(f"{self.directory.path / FIGURE} is not drawn: {error}")
            return
        with self.directory.writing(self.directory.path / FIGURE):
            write_bytes(self.directory.path / FIGURE, picture)

    def report_missing_baselines(self, table: Table) -> None:
        """Print the configured baselines that no run measured; most metrics do not have all the default ones."""
        asked = self.grid.config.baselines if "baselines" in self.grid.config.model_fields_set else []
        missing = [name for name in asked if name not in table.baselines]
        if table.results and missing:
            known = ", ".join(sorted(table.results[-1].beside)) or "nothing"
            names = ", ".join(str(MetricName.parse(self.metric).under(name)) for name in missing)
            print_line(f"baselines: no run measured {names}; beside their metrics the runs measured: {known}")

    def missing(self, finished: Sequence[RunStatus]) -> list[str]:
        """A message for each finished run that has no finite value of the table's metric."""
        return [self._describe_missing(status) for status in finished if self.of(status) is None]

    def _describe_missing(self, status: RunStatus) -> str:
        evaluation = status.path / "evaluation.json"
        reason = read_reasons(read_mapping(evaluation)).get((self.metric, status.step))
        if reason is not None:
            return f"{status.run.title}: {self.metric} is undefined: {reason} ({evaluation})"
        return f"{status.run.title}: no finite {self.metric} in {status.path}/summary.json"


def read_result(status: RunStatus) -> Result:
    """Read the result of a finished run from its directory."""
    run, path = status.run, status.path
    summary = read_mapping(path / "summary.json")
    last, best = summary.get("last", {}), summary.get("best", {})
    beside: dict[str, float] = {}
    chosen: dict[str, float] = {}
    undefined: set[str] = set()
    first = run.config.metrics[0].name
    leading = next((name for name in best if MetricName.parse(name).metric == first), None)
    own = [MetricName.parse(name) for name in last]
    for line in read_log(path):
        values = read_metrics(line)
        for name in read_undefined(line):
            undefined |= {name} if line["step"] == run.config.training.steps else set()
            beside.pop(name, None)
        if leading is not None and line["step"] == best[leading]["step"]:
            chosen |= {name: values[name] for name in last if name in values}
        beside |= {
            name: value
            for name, value in values.items()
            if name not in last and any(MetricName.parse(name).extends(metric) for metric in own)
        }
    last = {name: value for name, value in last.items() if name not in undefined}
    return Result(run.labels, run.seed, run.config.training.steps, last, best, beside, leading, chosen)
