"""The progress of a sweep: a bar over all its steps and one for each run that goes on; else a line a run."""

from __future__ import annotations

from collections.abc import Iterable

from rich.progress import Progress, TaskID

from coupling.runs.metrics_log import describe_losses, read_last_line
from coupling.sweeps.directory import Standing, last_step
from coupling.system.terminal import bars, console, print_line


class SweepProgress:
    """Shows on stderr how far a sweep is; the steps of runs are read from their metrics.jsonl."""

    def __init__(self, title: str, standings: Iterable[Standing]) -> None:
        standings = list(standings)
        self.title = title
        self.runs = len(standings)
        self.finished = sum(standing.state == "finished" for standing in standings)
        self._steps = {standing.run.title: min(standing.step, _steps(standing)) for standing in standings}
        """Steps done of each run."""
        self._total = sum(_steps(standing) for standing in standings)
        self._active: dict[str, tuple[Standing, TaskID | None]] = {}
        self._progress: Progress | None = None

    def __enter__(self) -> SweepProgress:
        if console.is_terminal:
            self._progress = bars(console)
            self._progress.start()
            self._all = self._progress.add_task(self.title, total=self._total, completed=self._done, text=self._count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    @property
    def _done(self) -> int:
        return sum(self._steps.values())

    @property
    def _count(self) -> str:
        return f"{self.finished} of {self.runs} runs"

    def started(self, standing: Standing) -> None:
        """A run's process has been started."""
        title, task = standing.run.title, None
        if self._progress is not None:
            task = self._progress.add_task(f"  {title}", total=_steps(standing), completed=standing.step, text="")
        else:
            after = f", going on after step {standing.step:,}" if standing.step else ""
            print_line(f"{title}: started{after}")
        self._active[title] = standing, task

    def look(self) -> None:
        """Show how far the runs are that go on."""
        if self._progress is None:
            return
        for title, (standing, task) in self._active.items():
            assert task is not None
            self._steps[title] = last_step(standing.path)
            self._progress.update(
                task, completed=self._steps[title], text=describe_losses(read_last_line(standing.path))
            )
        self._progress.update(self._all, completed=self._done, text=self._count)

    def ended(self, standing: Standing, seconds: float, failure: str, measured: str) -> None:
        """A run's process has ended; ``failure`` says why, where it did not end well, ``measured`` what came of it."""
        title = standing.run.title
        _, task = self._active.pop(title)
        self._steps[title] = min(standing.step, _steps(standing))
        if self._progress is not None and task is not None:
            self._progress.remove_task(task)
        if failure:
            print_line(f"{title}: failed: {failure}")
        elif standing.state == "finished":
            self.finished += 1
            print_line(f"{title}: finished in {seconds:,.0f} s ({self._count}): {measured}")
        else:
            print_line(f"{title}: saved at step {standing.step:,}")
        self.look()


def _steps(standing: Standing) -> int:
    return standing.run.config.training.steps
