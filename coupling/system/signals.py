"""Signals that end a run after its current step, when everything is saved."""

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
"""Seconds within which a second signal counts as the same request: launchers repeat what every process has got."""


class Interrupted(CouplingError):  # noqa: N818  (as KeyboardInterrupt)
    """A signal ended the run, after everything was saved. Exit code 128 + its number: 130, 143; 129 for SIGHUP."""

    def __init__(self, number: int, step: int, path: Path) -> None:
        name = signal.Signals(number).name
        super().__init__(f"{name} at step {step:,}: saved in {path}; continue with --resume")
        self.exit_code = 128 + number


class _Cut(BaseException):
    """Ends the block of :meth:`StopRequest.interruptible`; it is not an Exception, so no error handler catches it."""


class StopRequest:
    """The signals that have asked for the end of the run."""

    def __init__(self) -> None:
        self.number = 0
        """Number of the first signal; 0 if none has come."""
        self.cut = False
        """Whether it has ended an interruptible block."""
        self._since = 0.0
        self._cutting = False

    def __bool__(self) -> bool:
        return self.number != 0

    def repeated(self, number: int) -> bool:
        """Note a signal; returns whether it is a second request, after which the process ends at once."""
        if self.number:
            return time.monotonic() - self._since > _ECHO
        self.number, self._since = number, time.monotonic()
        if self._cutting:
            self._cutting = False
            raise _Cut
        return False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal ends at once, since it takes long and can be repeated."""
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
    """Note SIGINT, SIGTERM and a closed terminal's SIGHUP instead of ending the process: the loop ends after its step.

    A second signal, at least five seconds later, ends the process at once. A SIGHUP that nohup ignores stays ignored.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        if request.repeated(number):
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    try:
        before = {s: signal.signal(s, note) for s in _ENDING if signal.getsignal(s) != signal.SIG_IGN}
    except ValueError:  # not the main thread: signals are the caller's
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is note:  # otherwise other code has replaced it since
                signal.signal(number, handler)


class Terminated(KeyboardInterrupt):
    """SIGTERM in a command that saves nothing; it ends the command like Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the block by :class:`Terminated`, so that open files are closed and a message is printed."""

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
