"""A checkpoint is written in a thread while the next steps compute."""

from __future__ import annotations

import threading
from collections.abc import Callable


class CheckpointWriter:
    """Writes one checkpoint at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def pending(self) -> bool:
        """Whether :meth:`finish` has something to wait for or to tell."""
        return self._thread is not None

    @property
    def done(self) -> bool:
        """Whether what was pending is written, or has failed."""
        return self._thread is not None and not self._thread.is_alive()

    def start(self, write: Callable[[], object]) -> None:
        """Call ``write`` in a thread. The earlier one must be finished."""
        assert not self.pending

        def work() -> None:
            try:
                write()
            except BaseException as error:  # it is raised again by finish
                self._error = error

        # Not a daemon: Python waits for it when it ends, so that a checkpoint is completed whatever happens elsewhere.
        self._thread = threading.Thread(target=work, name="coupling-checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait until the checkpoint is on the disk. Raises what writing it has raised."""
        if self._thread is not None:
            self._thread.join()  # a signal may end it here: it can be called again
            self._thread, error, self._error = None, self._error, None
            if error is not None:
                raise error
