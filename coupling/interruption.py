"""Signals that end a run: after the step in hand, with everything saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from coupling.errors import CouplingError

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(CouplingError):  # noqa: N818  (as KeyboardInterrupt)
    """A signal ended the run, after everything was saved. Exit code 128 + its number: 130, 143; 129 for SIGHUP."""

    def __init__(self, number: int, step: int, path: Path) -> None:
        name = signal.Signals(number).name
        super().__init__(f"{name} at step {step:,}: saved in {path}; go on with --resume")
        self.exit_code = 128 + number


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and a closed terminal's SIGHUP instead of dying: the loop ends after its step.

    A second one kills. A SIGHUP that nohup has had ignored stays so.
    """
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        before = {s: signal.signal(s, note) for s in _ENDING if signal.getsignal(s) != signal.SIG_IGN}
    except ValueError:  # not the main thread: signals are the caller's
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is note:  # else somebody has decided otherwise since
                signal.signal(number, handler)
