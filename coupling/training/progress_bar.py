"""The progress bar of a run: step, losses, images a second, time left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.progress import Progress

from coupling.runs.metrics_log import describe_losses
from coupling.system.terminal import bars, console, print_line

_SECONDS_BETWEEN_LINES = 15.0

_WAITING = 0.03
"""Share of the time that steps may wait for their inputs before it is shown."""


class TrainingBar:
    """Shows a run's progress on stderr: a bar on a terminal, else a line every few seconds.

    ``images``: real samples read a step, over all domains.
    """

    def __init__(self, title: str, done: int, steps: int, *, images: int, shown: bool) -> None:
        self.title = title
        self.steps = steps
        self.images = images
        self.shown = shown
        self.step = self.first = done
        self._text = ""
        self._started = self._line = time.monotonic()
        self._elsewhere = 0.0
        self._progress: Progress | None = None

    def __enter__(self) -> TrainingBar:
        if self.shown and console.is_terminal:
            self._progress = bars(console)
            self._progress.start()
            self._task = self._progress.add_task(self.title, total=self.steps, completed=self.step, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self) -> None:
        """Count one step."""
        self.step += 1
        if self._progress is not None:
            self._progress.update(self._task, completed=self.step)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the time spent in this context out of the rate: it is not training."""
        start = time.monotonic()
        yield
        self._elsewhere += time.monotonic() - start

    def show(self, losses: Mapping[str, float], waited: float = 0.0) -> None:
        """Show the newest losses and the speed. ``waited``: seconds that all steps have waited for their inputs."""
        if not self.shown:
            return
        now = time.monotonic()
        seconds = max(now - self._started - self._elsewhere, 1e-9)
        rate = (self.step - self.first) * self.images / seconds
        self._text = f"{describe_losses(losses)}  {rate:,.0f} images/s"
        if waited / seconds > _WAITING:
            self._text += f"  {waited / seconds:.0%} waiting for data"
        if self._progress is not None:
            self._progress.update(self._task, text=self._text)
        elif now - self._line >= _SECONDS_BETWEEN_LINES or self.step == self.steps:
            self._line = now
            left = (self.steps - self.step) * seconds / max(self.step - self.first, 1)
            print_line(f"{self.title}: step {self.step:,} of {self.steps:,}  {self._text}  {left / 60:.1f} min left")
