"""Images decoded while training, by worker processes, in time for the step that reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache

from coupling import RunError, Workers, available_cores
from coupling_faces.decoding import Decoder, Pixels

_MOST_WORKERS = 16
_SHARES = 2  # of a batch, for each worker: one that is slow then holds up half as much


class LiveImages:
    """Pixels by number, decoded when they are read, or before where it is known what will be."""

    def __init__(self, decoder: Decoder, processes: int) -> None:
        self.decoder = decoder
        self.processes = processes
        self._ahead: tuple[list[int], list[Future[Pixels]]] = [], []

    def read(self, numbers: list[int]) -> list[Pixels]:
        """Images ``numbers``, each uint8 (side, side, 3).

        Raises :class:`DataError` where one is damaged, :class:`RunError` where a worker died.
        """
        if self.processes == 0:
            return [self.decoder(number) for number in numbers]
        expected, futures = self._ahead
        if expected != numbers:  # it was not foreseen: a metric's, or the first
            futures = self._begin(numbers)
        else:
            self._ahead = [], []
        with _deaths_told():
            return [pixels for future in futures for pixels in future.result()]

    def expect(self, numbers: list[int]) -> None:
        """Begin with ``numbers``, which are read next."""
        if self.processes:
            self._ahead = numbers, self._begin(numbers)

    def _begin(self, numbers: list[int]) -> list[Future[Pixels]]:
        workers = _workers(self.decoder, self.processes)
        share = max(1, -(-len(numbers) // (_SHARES * self.processes)))
        with _deaths_told():
            return [workers.submit(numbers[start : start + share]) for start in range(0, len(numbers), share)]


@lru_cache(maxsize=4)
def _workers(decoder: Decoder, processes: int) -> Workers[list[int], Pixels]:
    """The processes, shared by all domains that read the images."""
    return Workers(decoder.several, processes)


@contextmanager
def _deaths_told() -> Iterator[None]:
    try:
        yield
    except (BrokenProcessPool, OSError) as error:
        raise RunError(
            f"a worker process that decodes images died or could not start ({error}); memory may have run out: lower "
            "`workers`, or set `cache: true`"
        ) from error


def usual_workers() -> int:
    """One worker for each core; the processes that train on this machine share the cores."""
    return max(1, min(_MOST_WORKERS, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
