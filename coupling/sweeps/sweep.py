"""A sweep: a grid of runs, several at once, and the tables of their results.

Each run is a process of its own, with a directory of its own that it can be resumed from. Whatever ends (the sweep, a
run or the machine), the same command continues.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from coupling.errors import CouplingError, InputError, RunError
from coupling.plugins import Plugins
from coupling.sweeps.cells import Cells
from coupling.sweeps.directory import RunStatus, SweepDirectory
from coupling.sweeps.grid import Grid, GridRun
from coupling.sweeps.progress import SweepProgress
from coupling.sweeps.queue import RunQueue
from coupling.sweeps.results import Results
from coupling.sweeps.run_slots import run_slots
from coupling.sweeps.table import Table
from coupling.system.launchers import launched_processes
from coupling.system.signals import StopRequest, caught_signals
from coupling.system.terminal import print_line


class SweepInterrupted(CouplingError):  # noqa: N818  (as KeyboardInterrupt)
    """A signal ended the sweep after its runs had saved. The exit code is 128 + the signal's number."""

    def __init__(self, number: int, path: Path, done: int, runs: int) -> None:
        super().__init__(
            f"{signal.Signals(number).name}: {done} of {runs} runs are finished, the others saved in {path}; "
            "the same command continues"
        )
        self.exit_code = 128 + number


class Sweep:
    """A grid of runs in a directory."""

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
        self.modules = modules
        self.chosen = grid.chosen(only)
        self.directory = SweepDirectory(output or Path("sweeps") / grid.config.name, grid)
        self.failures: list[str] = []
        self._cells = Cells(grid, plugins)
        self._finished_runs: dict[Path, RunStatus] = {}
        self.metric = self._cells.find_metric()
        """Flat name of the table's metric."""
        self._results = Results(grid, self.directory, self.metric)

    def statuses(self) -> list[RunStatus]:
        """The status of each chosen run; it does not depend on the data before :meth:`run` has prepared them."""
        return [self.status(run) for run in self.chosen]

    def status(self, run: GridRun) -> RunStatus:
        """The status of a run; a finished run stays finished while the sweep holds its directory."""
        if run.folder not in self._finished_runs:
            status = self.directory.status(run, self._cells.fingerprints(run))
            if status.state != "finished" or not self._cells.prepared:
                return status
            self._finished_runs[run.folder] = status
        return self._finished_runs[run.folder]

    def check(self) -> None:
        """Build every cell that has a run to do, so that errors are found before anything is trained."""
        self._cells.check(status.run for status in self._to_do())

    def run(self, jobs: int | None = None) -> Table:
        """Run what is to be done, ``jobs`` runs at once (default: see :func:`coupling.sweeps.run_slots.run_slots`).

        A run that fails does not stop the others; :meth:`failed` lists failed runs. Raises :class:`SweepInterrupted`
        if a signal ended the sweep, after its runs have saved.
        """
        _check_launcher()
        self.directory.check_not_taken()
        self.check()
        self.directory.open()
        try:
            if self._to_do():
                self._cells.prepare()
            to_do = self._to_do()
            self._announce(to_do)
            with caught_signals() as stop:
                self._run_all([status.run for status in to_do], jobs, stop)
            table = self._results.write_tables(self._finished(self.grid.runs))
            self._results.report_missing_baselines(table)
            self._results.draw(table)
            if stop:
                done = len(self._finished(self.chosen))
                raise SweepInterrupted(stop.number, self.directory.path, done, len(self.chosen))
        finally:
            self.directory.release()
        return table

    def failed(self) -> RunError | None:
        """The error that lists the runs that failed; None if none did."""
        failures = self.failures + self._results.missing(self._finished(self.chosen))
        if not failures:
            return None
        return RunError(
            f"{len(failures)} of {len(self.chosen)} runs failed; fix the causes, and the same command continues with "
            "these runs:\n  " + "\n  ".join(failures)
        )

    def _run_all(self, runs: Iterable[GridRun], jobs: int | None, stop: StopRequest) -> None:
        runs = sorted(runs, key=lambda run: self.grid.config.seeds.index(run.seed))
        slots = run_slots(jobs, len(runs))
        with SweepProgress(self.grid.config.name, self.statuses()) as shown:
            queue = RunQueue(runs, slots, self.directory, self.modules, self.status, shown, self._note_finished)
            queue.work(stop)
        self.failures += queue.failures

    def _note_finished(self, status: RunStatus) -> str:
        """Update the tables after a run has finished; answers its scores."""
        self._results.write_tables(self._finished(self.grid.runs))
        return self._results.describe(status)

    def _announce(self, to_do: Sequence[RunStatus]) -> None:
        changed = [status for status in to_do if status.changes]
        print_line(f"{self.grid.config.name}: {len(to_do)} of {len(self.chosen)} runs to do, in {self.directory.path}")
        if changed:
            print_line(
                f"{len(changed)} of them were run before with another configuration; those runs are kept, and new ones "
                f"are made beside them. {changed[0].run.title}: " + "; ".join(changed[0].changes)
            )

    def _to_do(self) -> list[RunStatus]:
        return [status for status in self.statuses() if status.state != "finished"]

    def _finished(self, runs: Iterable[GridRun]) -> list[RunStatus]:
        return [status for status in map(self.status, runs) if status.state == "finished"]


def _check_launcher() -> None:
    """Raise :class:`InputError` if several processes were launched: each would run the whole sweep."""
    if launched_processes() > 1:
        raise InputError(
            "coupling sweep starts processes of its own; start it without accelerate launch or torchrun, "
            "and set the number of runs at once by --jobs"
        )
