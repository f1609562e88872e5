"""Corresponding samples by number: which codes they are of, and which samples are left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from coupling.errors import InputError
from coupling.model.model import CoupledModel

BLOCK = 256
"""Codes that are drawn, and of which the best are kept, together."""


@dataclass(frozen=True)
class Selection:
    """An endless row of corresponding samples. Sample k is a function of the model and these numbers alone.

    The codes of a block go through the networks together whatever is asked for, since a sample's last bits depend on
    those beside it; and the best are chosen within a block, since a choice among all would depend on how many.
    """

    model: CoupledModel
    seed: int = 0
    truncation: float | None = None
    """As :meth:`CoupledModel.codes` has it."""
    keep: float | None = None
    """Share of the codes that is kept: those whose samples score best; None: all."""

    def __post_init__(self) -> None:
        """Raises :class:`InputError` for numbers that the model cannot be drawn from with, before anything is."""
        if self.keep is not None and not 0 < self.keep <= 1:
            raise InputError(f"keep is {self.keep:g}; give a share above 0, and 1 at most")
        code = self.model.latent(1, self.seed, truncation=self.truncation)
        if self.keep is not None:
            self.model.score(self.model.generate(code))

    @property
    def kept(self) -> int:
        """Codes that are kept of a block."""
        return BLOCK if self.keep is None else max(1, round(self.keep * BLOCK))

    def samples(self, start: int, stop: int, domains: list[str]) -> Iterator[dict[str, Tensor]]:
        """Samples ``start`` to ``stop`` - 1 in order, some at a time: {domain: (n, *shape)} in its range."""
        codes = self.model.codes(self.seed, self.truncation, BLOCK)
        first = start // self.kept
        for number, z in enumerate(islice(codes, first, -(-stop // self.kept)), first):
            begin = number * self.kept
            wanted = slice(max(0, start - begin), stop - begin)
            yield {name: x[wanted] for name, x in self._best(z, domains).items()}

    def _best(self, z: Tensor, domains: list[str]) -> dict[str, Tensor]:
        """The samples that are kept of one block, in the order of their codes."""
        if self.kept == BLOCK:
            return self.model.generate(z, domains, BLOCK)
        samples = self.model.generate(z, batch_size=BLOCK)
        ranked = self.model.score(samples).argsort(descending=True, stable=True)
        chosen = ranked[: self.kept].sort().values
        return {name: samples[name][chosen] for name in domains}
