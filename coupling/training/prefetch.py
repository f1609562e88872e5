"""The inputs of the next step are read in a thread while a step computes."""

from __future__ import annotations

import contextlib
import ctypes
import pickle
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

import numpy as np
import torch

T = TypeVar("T")

_PATIENCE = 1.0
"""Seconds that the end of a run waits for a read that is not needed any more."""


@dataclass(frozen=True)
class _Answer(Generic[T]):
    """What was read for a step, or the error of reading it."""

    step: int
    read: T | None
    error: BaseException | None


class Prefetch(Generic[T]):
    """Reads one step ahead, in a thread of its own: never two reads at once, and none beyond the last step.

    What is read must depend on the step alone. A read that draws from a global random generator depends on the step
    that computes meanwhile; if the first one does, no later one is made ahead.
    """

    def __init__(self, reading: Callable[[int], Callable[[], T]], steps: int, device: torch.device) -> None:
        """``reading(step)``: a function that reads for ``step``, to be called in the thread. ``steps``: of the run."""
        self._reading = reading
        self._steps = steps
        self._device = device
        self._asked: SimpleQueue[tuple[int, Callable[[], T]] | None] = SimpleQueue()
        self._answers: SimpleQueue[_Answer[T]] = SimpleQueue()
        self._pending = False
        self._answer: _Answer[T] | None = None
        self._ahead: bool | None = None  # not known before the first read
        # A data set may hang, and must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="coupling-prefetch", daemon=True)
        self._thread.start()

    def take(self, step: int) -> T:
        """What was read for ``step``; begins to read the next step. Raises what reading has raised."""
        self.settle()
        if self._answer is None or self._answer.step != step:
            before = _random_states() if self._ahead is None else None
            self._ask(step)
            self.settle()
            if before is not None:
                self._ahead = before == _random_states()
        answer, self._answer = self._answer, None
        assert answer is not None
        if answer.error is not None:
            raise answer.error
        if self._ahead and step + 1 < self._steps:
            self._ask(step + 1)
        return answer.read  # type: ignore[return-value]

    def settle(self) -> None:
        """Wait until nothing is being read, so that others can read the data."""
        if self._pending:
            self._answer = self._answers.get()
            self._pending = False

    def close(self) -> None:
        """End the thread; wait a moment for a read that is under way."""
        self._asked.put(None)
        self._thread.join(_PATIENCE)

    def _ask(self, step: int) -> None:
        self._asked.put((step, self._reading(step)))
        self._pending = True

    def _work(self) -> None:
        _compute_alone()
        if self._device.type == "cuda" and self._device.index is not None:  # each thread has a device of its own
            torch.cuda.set_device(self._device)
        while (asked := self._asked.get()) is not None:
            step, read = asked
            try:
                self._answers.put(_Answer(step, read(), None))
            except BaseException as error:  # it is raised again where the step takes it
                self._answers.put(_Answer(step, None, error))


def _random_states() -> tuple[bytes, bytes, object]:
    """The states of the global random generators."""
    numpys = pickle.dumps(np.random.get_state())
    return torch.get_rng_state().numpy().tobytes(), numpys, random.getstate()


def _compute_alone() -> None:
    """Let this thread compute without helpers.

    A second thread with a team of OpenMP threads makes GNU's OpenMP put all idle helpers to sleep at once, those of
    the steps too, and waking them costs more than the reading. torch has no such setting for one thread.
    """
    torch.get_num_threads()  # sets the thread's number to the usual one, once
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems have other libraries
        ctypes.CDLL(None).omp_set_num_threads(1)
