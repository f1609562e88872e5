"""The progress of a sweep: on a terminal a bar for all steps and one for each active run, else a line for each run."""

from __future__ import annotations

from collections.abc import Iterable

from rich.progress import Progress, TaskID

from coupling.runs.metrics_log import describe_losses, read_last_line
from coupling.sweeps.directory import RunStatus, read_last_step
from coupling.system.terminal import bars, console, print_important, print_line


class SweepProgress:
    """Shows the progress of a sweep on stderr; the steps of runs are read from their metrics.jsonl."""

    def __init__(self, title: str, statuses: Iterable[RunStatus]) -> None:
        statuses = list(statuses)
        self.title = title
        self.runs = len(statuses)
        self.finished = sum(status.state == "finished" for status in statuses)
        self._steps = {status.run.title: min(status.step, _steps(status)) for status in statuses}
        """Number of steps done of each run."""
        self._total = sum(_steps(status) for status in statuses)
        self._active: dict[str, tuple[RunStatus, TaskID | None]] = {}
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

    def started(self, status: RunStatus) -> None:
        """Note that a run's process has been started."""
        title, task = status.run.title, None
        if self._progress is not None:
            task = self._progress.add_task(f"  {title}", total=_steps(status), completed=status.step, text="")
        else:
            resumed = f", resumed after step {status.step:,}" if status.step else ""
            print_line(f"{title}: started{resumed}")
        self._active[title] = status, task

    def look(self) -> None:
        """Show the progress of the active runs."""
        if self._progress is None:
            return
        for title, (status, task) in self._active.items():
            assert task is not None
            self._steps[title] = read_last_step(status.path)
            self._progress.update(task, completed=self._steps[title], text=describe_losses(read_last_line(status.path)))
        self._progress.update(self._all, completed=self._done, text=self._count)

    def ended(self, status: RunStatus, seconds: float, failure: str, scores: str) -> None:
        """Note that a run's process has ended; ``failure`` is the reason if it failed, ``scores`` its scores if not."""
        title = status.run.title
        _, task = self._active.pop(title)
        self._steps[title] = min(status.step, _steps(status))
        if self._progress is not None and task is not None:
            self._progress.remove_task(task)
        if failure:
            print_important(f"{title}: failed: {failure}")
        elif status.state == "finished":
            self.finished += 1
            print_line(f"{title}: finished in {seconds:,.0f} s ({self._count}): {scores}")
        else:
            print_line(f"{title}: saved at step {status.step:,}")
        self.look()


def _steps(status: RunStatus) -> int:
    return status.run.config.training.steps
