"""Endless unpaired batches: step s of domain d is a pure function of (seed, d, s).

There is no state to save: a resumed run, and a run on another number of processes, reads exactly
the same samples. Position p of a stream is sample permutation(seed, d, p // n)[p % n] of the
domain's n samples, so each domain has epochs of its own length. What is random about a sample (a
crop, say) is drawn from a key that is a function of (seed, d, p).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from coupling.batch import Batch
from coupling.data.domain_data import DomainData
from coupling.system.seeds import derive_seed

Indices = np.ndarray[Any, np.dtype[np.int64]]


class Batches:
    """One domain's batches; this process reads its own slice of the samples of a step.

    Raises:
        DataError: the domain has fewer samples than a step takes.
    """

    def __init__(self, data: DomainData, seed: int, batch: Batch) -> None:
        batch.check_samples(len(data), data.domain.name)
        self.data = data
        self.seed = seed
        self.size = batch
        self._checked = False
        self._epoch: tuple[int, Indices] = (-1, np.empty(0, np.int64))
        self._reads: dict[int, tuple[Indices, list[int]]] = {}
        """Numbers and keys of the step last read and of the next one."""

    def numbers(self, step: int) -> Indices:
        """The numbers of the domain's samples that step ``step`` (from 0) reads on this process."""
        positions = self._positions(step)
        epochs, places = np.divmod(positions, len(self.data))
        chosen = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = self._permutation(int(epoch))[places[here]]
        return chosen

    def keys(self, step: int) -> list[int]:
        """The key of each of :meth:`numbers`, from which its augmentation is drawn: an integer in [0, 2^63)."""
        name = self.data.domain.name
        return [derive_seed(self.seed, "augmentation", name, position) for position in self._positions(step).tolist()]

    def _positions(self, step: int) -> Indices:
        return np.array(self.size.positions(step))

    def _permutation(self, epoch: int) -> Indices:
        if self._epoch[0] != epoch:
            drawn = np.random.default_rng(derive_seed(self.seed, "order", self.data.domain.name, epoch))
            self._epoch = epoch, drawn.permutation(len(self.data))
        return self._epoch[1]

    def batch(self, step: int) -> Tensor:
        """The samples of step ``step``: (this process's share of the batch, *shape), on the CPU."""
        # The next step is announced to the data set, so its numbers and keys are computed here, once.
        self._reads = {s: self._reads.get(s) or (self.numbers(s), self.keys(s)) for s in (step, step + 1)}
        samples = self.data.read(*self._reads[step])
        if not self._checked:
            self.data.check(samples)
            self._checked = True
        self.data.expect(*self._reads[step + 1])
        return samples

    def labels(self, step: int) -> Tensor:
        """Classes of the samples of step ``step``: (this process's share of the batch,) int64, on the CPU."""
        return self.data.labels(self.numbers(step))
