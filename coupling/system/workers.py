"""Worker processes, each with its own copy of the function that it calls."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")


Result = TypeVar("Result")


class Workers(Generic[Task, Result]):
    """Processes that call a function on one task after another.

    The processes end with this one, however it ends, and when this object is no longer used. If a process dies, a
    ``BrokenProcessPool`` is raised where a result is waited for.

    Args:
        work: the function, picklable; it is sent to each process once, not with every task.
        processes: number of processes.
    """

    def __init__(self, work: Callable[[Task], Result], processes: int) -> None:
        self.processes = processes
        self._hide = b"__main__" not in bytes(ForkingPickler.dumps(work))
        self._executor = ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), initializer=_start, initargs=(work,)
        )

    def submit(self, task: Task) -> Future[Result]:
        """Begin a task; processes are started as they are needed.

        Args:
            task: the argument of ``work``, picklable.

        Returns:
            A future whose result is that of ``work``.
        """
        with _main_hidden(hide=self._hide):
            return self._executor.submit(_call, task)

    def map(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Begin all tasks.

        Args:
            tasks: the arguments of ``work``, picklable.

        Returns:
            The results, in the order of the tasks.
        """
        with _main_hidden(hide=self._hide):
            return self._executor.map(_call, tasks)

    def close(self) -> None:
        """End the processes when each has finished its present task."""
        self._executor.shutdown(cancel_futures=True)


@contextmanager
def _main_hidden(hide: bool) -> Iterator[None]:
    """Keep worker processes from importing the main module, which ``work`` does not need.

    So a plain script that trains needs no ``if __name__ == "__main__":``.
    """
    main = sys.modules["__main__"]
    if hide:
        sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_work: Callable[[Any], Any] | None = None  # in a worker process


def _start(work: Callable[[Any], Any]) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent answers it
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:  # a parent that was killed sends no signal
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes already fill the cores
    _work = work


def _call(task: Any) -> Any:
    assert _work is not None
    return _work(task)
