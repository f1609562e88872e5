"""A grid of runs, several at once, and the table that comes of them.

A run is a process of its own, with a directory of its own that it can resume from: whatever dies, the
sweep, a run or the machine, the same command goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from coupling.config.config import Config
from coupling.data.batches import Batches
from coupling.data.domain_data import DomainData, open_domains
from coupling.errors import ConfigError, CouplingError, InputError, RunError, nearest
from coupling.metrics.metric import metric_name, open_metrics
from coupling.networks.build import assemble
from coupling.plugins import Plugins
from coupling.runs.metrics_log import MetricName
from coupling.sweeps.directory import FIGURE, Standing, SweepDirectory, clear_bare, result_of
from coupling.sweeps.figure import figure
from coupling.sweeps.grid import Grid, GridRun
from coupling.sweeps.process import Child, close, ending, reason_of, start_process
from coupling.sweeps.progress import SweepProgress
from coupling.sweeps.table import Result, Table
from coupling.system.atomic_files import write_bytes, write_text
from coupling.system.file_lock import check_not_in_use
from coupling.system.resources import places
from coupling.system.signals import StopRequest, caught_signals
from coupling.system.terminal import print_line, progress

_POLL = 0.2
"""Seconds between looks at the runs."""


_PATIENCE = 1.0
"""Seconds between looks at a run's directory that another process holds."""


class SweepInterrupted(CouplingError):  # noqa: N818  (as KeyboardInterrupt)
    """A signal ended the sweep, after its runs had saved. Exit code 128 + its number."""

    def __init__(self, number: int, path: Path, done: int, runs: int) -> None:
        super().__init__(
            f"{signal.Signals(number).name}: {done} of {runs} runs are finished, the others saved in {path}; "
            "the same command goes on"
        )
        self.exit_code = 128 + number


class Sweep:
    """Works off the runs of a grid in its directory."""

    def __init__(
        self,
        grid: Grid,
        output: Path | None,
        plugins: Plugins,
        *,
        modules: Sequence[str] = (),
        only: Iterable[str] = (),
    ) -> None:
        """``modules``: the plugins given by ``--plugin``, for the runs' processes; ``only``: ``AXIS=LABEL``."""
        self.grid = grid
        self.plugins = plugins
        self.modules = modules
        self.chosen = grid.chosen(only)
        self.directory = SweepDirectory(output or Path("sweeps") / grid.config.name, grid)
        self.failures: list[str] = []
        self._data: dict[str, dict[str, DomainData]] = {}
        self._known: dict[str, dict[str, str]] = {}
        self._done: dict[Path, Standing] = {}
        self._results: dict[Path, Result] = {}
        self.metric = self._metric()

    # -- before anything is trained ------------------------------------------------------------

    def _opened(self, config: Config) -> dict[str, DomainData]:
        """The domains' data, opened once for all runs that have the same."""
        key = _domains(config)
        if key not in self._data:
            self._data[key] = open_domains(config, self.plugins.registry)
        return self._data[key]

    def _metric(self) -> str:
        """Flat name of the table's metric, held against what every cell measures."""
        found: dict[str, GridRun] = {}
        for run in self._one_a_cell(self.grid.runs):
            with _blamed(run):
                metrics = open_metrics(run.config, self._opened(run.config), self.plugins.registry)
                entries = zip(run.config.metrics, metrics, strict=True)
                found.setdefault(choose_metric(self.grid.config.metric, [metric_name(e, m) for e, m in entries]), run)
        if len(found) > 1:
            cells = "; ".join(f"{name} in cell {run.title}" for name, run in found.items())
            raise ConfigError(f"metric: the cells do not measure the same: {cells}; name one that all of them measure")
        return next(iter(found))

    def _one_a_cell(self, runs: Iterable[GridRun]) -> list[GridRun]:
        return list({run.labels: run for run in reversed(list(runs))}.values())[::-1]

    def standings(self) -> list[Standing]:
        """How far each chosen run is; the data are not looked at before :meth:`run` has prepared them."""
        return [self.standing(run) for run in self.chosen]

    def standing(self, run: GridRun) -> Standing:
        """How far a run is; one that is finished stays so while the sweep has its directory."""
        if run.folder not in self._done:
            standing = self.directory.standing(run, self._known.get(_domains(run.config)))
            if standing.state != "finished" or not self._known:
                return standing
            self._done[run.folder] = standing
        return self._done[run.folder]

    def check(self) -> None:
        """Build every cell of which anything is to be run; what does not fit is said before anything is trained."""
        runs = self._one_a_cell(s.run for s in self.standings() if s.state != "finished")
        if not runs:
            return
        with progress("Checking cells", len(runs)) as advance:
            for run in runs:
                with _blamed(run):
                    data = self._opened(run.config)
                    domains = {name: d.domain for name, d in data.items()}
                    assemble(run.config, domains, self.plugins.registry)
                    for domain in data.values():
                        Batches(domain, run.config.seed, run.config.training.batch_size)
                advance()

    def _prepare(self) -> None:
        """Get the data once, before many processes want them; learn their fingerprints."""
        if all(standing.state == "finished" for standing in self.standings()):
            return
        for run in self.grid.runs:
            if (key := _domains(run.config)) not in self._known:
                with _blamed(run):
                    data = self._opened(run.config)
                    for domain in data.values():
                        domain.prepare()
                    self._known[key] = {name: domain.fingerprint for name, domain in data.items()}
                self._data.clear()  # as many as there are seeds would fill the memory

    # -- the runs ----------------------------------------------------------------------------------

    def run(self, jobs: int | None = None) -> Table:
        """Do what is left to do, ``jobs`` runs at once (default: see :func:`coupling.system.resources.places`).

        Runs that fail stop no other; :meth:`failed` names them. Raises :class:`SweepInterrupted`
        where a signal ended the sweep, after its runs have saved.
        """
        _refuse_launcher()
        self.directory.refuse_other()
        self.check()
        self.directory.open()
        try:
            self._prepare()
            left = [standing for standing in self.standings() if standing.state != "finished"]
            self._tell(left)
            with caught_signals() as order:
                runs = sorted((s.run for s in left), key=lambda run: self.grid.config.seeds.index(run.seed))
                self._work_off(deque(runs), places(jobs, len(left)), order)
            table = self._write_tables()
            self._tell_unmeasured(table)
            self._draw(table)
            if order:
                done = len(self._finished(self.chosen))
                raise SweepInterrupted(order.number, self.directory.path, done, len(self.chosen))
        finally:
            self.directory.release()
        return table

    def _tell(self, left: Sequence[Standing]) -> None:
        changed = [standing for standing in left if standing.changes]
        print_line(f"{self.grid.config.name}: {len(left)} of {len(self.chosen)} runs to do, in {self.directory.path}")
        if changed:
            print_line(
                f"{len(changed)} of them were run before with another configuration; those runs stay as they are, and "
                f"new ones are made beside them. {changed[0].run.title}: " + "; ".join(changed[0].changes)
            )

    def _tell_unmeasured(self, table: Table) -> None:
        """Baselines that were asked for and that no run has; the default ones are not every metric's."""
        asked = self.grid.config.baselines if "baselines" in self.grid.config.model_fields_set else []
        if table.results and (unknown := [name for name in asked if name not in table.baselines]):
            known = ", ".join(sorted(table.results[-1].beside)) or "nothing"
            names = ", ".join(f"{self.metric}/{name}" for name in unknown)
            print_line(f"baselines: no run measured {names}; what they measured beside their metrics: {known}")

    def _work_off(self, waiting: deque[GridRun], free: list[dict[str, str]], order: StopRequest) -> None:
        active: list[Child] = []
        ended = waited = False
        with ending(active), SweepProgress(self.grid.config.name, self.standings()) as shown:
            while active or (waiting and not order):
                while waiting and free and not order:
                    child = self._next(waiting, free[-1])
                    if child is None:
                        break
                    free.pop()
                    active.append(child)
                    shown.started(child.standing)
                if order and not ended:
                    ended = True
                    for child in active:
                        child.process.terminate()
                if waiting and not active and not waited:
                    waited = True
                    print_line(
                        f"{', '.join(run.title for run in waiting)}: waiting for the process that is still at it"
                    )
                time.sleep(_POLL if active else _PATIENCE)
                for child in active[:]:
                    if child.process.poll() is not None:
                        active.remove(child)
                        free.append(dict(child.place))
                        self._ended(child, shown, stopped=bool(order))
                shown.look()

    def _next(self, waiting: deque[GridRun], place: Mapping[str, str]) -> Child | None:
        """Start the next run whose directory nobody holds: one that outlived a killed sweep is still saving."""
        for _ in range(len(waiting)):
            run = waiting.popleft()
            standing = self.standing(run)
            try:
                check_not_in_use(standing.path)
            except InputError:
                waiting.append(run)
                continue
            if standing.state != "finished":  # else the one that outlived it has finished
                return self._start(standing, place)
        return None

    def _start(self, standing: Standing, place: Mapping[str, str]) -> Child:
        path = standing.path
        config, log = path.with_name(f"{path.name}.yaml"), path.with_name(f"{path.name}.log")
        command = ["run", str(config), "--output", str(path)]
        command += ["--resume"] if standing.state == "unfinished" else []
        command += [part for module in self.modules for part in ("--plugin", module)]
        with self.directory.writing():
            if standing.state == "new":
                clear_bare(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(config, standing.run.config.yaml())
        with self.directory.writing(), log.open("ab") as file:
            file.write(f"$ coupling {' '.join(command)}\n".encode())
            file.flush()
            written = file.tell()
            process = start_process([sys.executable, "-m", "coupling.cli.child", *command], file, place)
        return Child(standing, process, place, log, written, time.monotonic())

    def _ended(self, child: Child, shown: SweepProgress, *, stopped: bool) -> None:
        """A run's process has ended: well, or to be named at the end."""
        run, code = child.standing.run, child.process.returncode
        close(child.process)
        seconds = time.monotonic() - child.started
        standing = self.standing(run)
        reason = ""
        if standing.state != "finished" and not (stopped and code in (-signal.SIGTERM, 128 + signal.SIGTERM)):
            reason = f"{reason_of(child, code)} ({child.log})"
        if reason:
            self.failures.append(f"{run.title}: {reason}")
        result = None
        if standing.state == "finished":
            result = self._result(standing)
            self._write_tables()
        shown.ended(standing, seconds, reason, "" if result is None else _measured(result, self.metric))

    # -- what comes of it --------------------------------------------------------------------------

    def _result(self, standing: Standing) -> Result | None:
        """What a finished run measured; None where it has no finite value of the table's metric."""
        if standing.path not in self._results:
            self._results[standing.path] = result_of(standing)
        result = self._results[standing.path]
        return result if self.metric in result.last else None

    def table(self) -> Table:
        """The table of all runs of the grid that are finished."""
        results = [result for s in self._finished(self.grid.runs) if (result := self._result(s)) is not None]
        config = self.grid.config
        return Table(config.name, self.grid.axes, self.metric, config.baselines, results)

    def _write_tables(self) -> Table:
        table = self.table()
        if table.results:
            for name, text in (
                ("table.md", table.markdown()),
                ("table.csv", table.csv()),
                ("runs.csv", table.tidy_csv()),
            ):
                self.directory.write(name, text)
        return table

    def _draw(self, table: Table) -> None:
        if table.results:
            try:
                picture = figure(table)
            except RunError as error:  # the table is there all the same
                print_line(f"{self.directory.path / FIGURE} is not drawn: {error}")
            else:
                with self.directory.writing():
                    write_bytes(self.directory.path / FIGURE, picture)

    def _finished(self, runs: Iterable[GridRun]) -> list[Standing]:
        return [standing for standing in map(self.standing, runs) if standing.state == "finished"]

    def failed(self) -> RunError | None:
        """The error that names the runs that failed, if any did."""
        without = [s for s in self._finished(self.chosen) if self._result(s) is None]
        for standing in without:
            self.failures.append(f"{standing.run.title}: no finite {self.metric} in {standing.path}/summary.json")
        if not self.failures:
            return None
        return RunError(
            f"{len(self.failures)} of {len(self.chosen)} runs failed; mend what is wrong, and the same command goes on "
            "with them:\n  " + "\n  ".join(self.failures)
        )


def choose_metric(wanted: str | None, known: Sequence[MetricName]) -> str:
    """Flat name of the metric that ``wanted`` names, in full or by its beginning; the first by default."""
    if not known:
        raise ConfigError("metrics: there are none, so there is nothing to make a table of; add one")
    if wanted is None:
        return str(known[0])
    name = MetricName.parse(wanted)
    matching = dict.fromkeys(str(metric) for metric in known if metric == name or metric.extends(name))
    if not matching:
        raise ConfigError(f"metric: no run measures '{wanted}'; {nearest(wanted, map(str, known))}")
    if len(matching) > 1:
        raise ConfigError(f"metric: '{wanted}' may be {' or '.join(matching)}; name one of them")
    return next(iter(matching))


def _domains(config: Config) -> str:
    """What configurations of the same data have in common: the seed too, by which samples may be drawn."""
    return repr((config.plain()["domains"], config.seed))


def _measured(result: Result, metric: str) -> str:
    best = result.best[metric]
    return f"{metric} best {best['value']:.4g} at step {best['step']:,}, last {result.last[metric]:.4g}"


@contextmanager
def _blamed(run: GridRun) -> Iterator[None]:
    """Errors name the cell."""
    try:
        yield
    except CouplingError as error:
        raise type(error)(f"cell {run.title}: {error}") from None


def _refuse_launcher() -> None:
    """Launched as several processes, each would work off the sweep."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(
            "coupling sweep starts processes of its own; start it without accelerate launch or torchrun, "
            "and say with --jobs how many runs go on at once"
        )
