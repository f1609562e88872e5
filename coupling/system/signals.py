"""Signals that end a run: after the step in hand, with everything saved."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from coupling.errors import CouplingError

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


_ECHO = 5.0
"""Seconds within which a further signal is the same order, come another way: launchers pass on what all have got."""


class Interrupted(CouplingError):  # noqa: N818  (as KeyboardInterrupt)
    """A signal ended the run, after everything was saved. Exit code 128 + its number: 130, 143; 129 for SIGHUP."""

    def __init__(self, number: int, step: int, path: Path) -> None:
        name = signal.Signals(number).name
        super().__init__(f"{name} at step {step:,}: saved in {path}; continue with --resume")
        self.exit_code = 128 + number


class _Cut(BaseException):
    """Ends what :meth:`StopRequest.cutting` holds; no handler of errors takes it for one."""


class StopRequest:
    """What signals have asked for."""

    def __init__(self) -> None:
        self.number = 0
        """The first signal's; 0: none has come."""
        self.cut = False
        """Whether it has cut something short."""
        self._since = 0.0
        self._cutting = False

    def __bool__(self) -> bool:
        return self.number != 0

    def repeated(self, number: int) -> bool:
        """Note a signal; whether it is a second order, of somebody who cannot wait."""
        if self.number:
            return time.monotonic() - self._since > _ECHO
        self.number, self._since = number, time.monotonic()
        if self._cutting:
            self._cutting = False
            raise _Cut
        return False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal ends at once, as it can be done again: of minutes, where a launcher waits seconds."""
        try:
            self._cutting = True
            yield
            self._cutting = False
        except _Cut:
            self.cut = True
        finally:
            self._cutting = False


@contextmanager
def caught_signals() -> Iterator[StopRequest]:
    """Note SIGINT, SIGTERM and a closed terminal's SIGHUP instead of dying: the loop ends after its step.

    A second one kills, after five seconds. A SIGHUP that nohup has had ignored stays so.
    """
    order = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        if order.repeated(number):
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    try:
        before = {s: signal.signal(s, note) for s in _ENDING if signal.getsignal(s) != signal.SIG_IGN}
    except ValueError:  # not the main thread: signals are the caller's
        yield order
        return
    try:
        yield order
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is note:  # else somebody has decided otherwise since
                signal.signal(number, handler)


class Terminated(KeyboardInterrupt):
    """SIGTERM, where nothing is saved for it: what a Ctrl-C ends, in the same order."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the block by :class:`Terminated`, so that what is open is closed, and said."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
