"""Corresponding samples by number: the codes that they are drawn from, and which of them are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from coupling.errors import InputError
from coupling.model.model import CoupledModel

BLOCK = 256
"""Codes that are drawn together, and of which the best are kept."""


@dataclass(frozen=True)
class Selection:
    """An endless sequence of corresponding samples. Sample k is a function of the model and these settings alone.

    The codes of a block always go through the networks together, because the last bits of a sample depend on the rest
    of its batch. The best are chosen within a block, because a choice among all would depend on their number.
    """

    model: CoupledModel
    seed: int = 0
    truncation: float | None = None
    """Largest coordinate of a code, see :meth:`CoupledModel.codes`; None: no limit."""
    keep: float | None = None
    """Share of the codes to keep, those whose samples have the best scores; None: all."""

    def __post_init__(self) -> None:
        """Raise :class:`InputError` if the model cannot be drawn from with these settings."""
        if self.keep is not None and not 0 < self.keep <= 1:
            raise InputError(f"keep is {self.keep:g}; give a share above 0 and at most 1")
        code = self.model.latent(1, self.seed, truncation=self.truncation)
        if self.keep is not None:
            self.model.score(self.model.generate(code))

    @property
    def kept(self) -> int:
        """Number of codes of a block that are kept."""
        return BLOCK if self.keep is None else max(1, round(self.keep * BLOCK))

    def samples(self, start: int, stop: int, domains: list[str]) -> Iterator[dict[str, Tensor]]:
        """Samples ``start`` to ``stop`` - 1 in order, in portions: {domain: (n, *shape)} in its range."""
        codes = self.model.codes(self.seed, self.truncation, BLOCK)
        first = start // self.kept
        for number, z in enumerate(islice(codes, first, -(-stop // self.kept)), first):
            begin = number * self.kept
            wanted = slice(max(0, start - begin), stop - begin)
            yield {name: x[wanted] for name, x in self._best(z, domains).items()}

    def _best(self, z: Tensor, domains: list[str]) -> dict[str, Tensor]:
        """The samples of one block that are kept, in the order of their codes."""
        if self.kept == BLOCK:
            return self.model.generate(z, domains, BLOCK)
        samples = self.model.generate(z, batch_size=BLOCK)
        ranked = self.model.score(samples).argsort(descending=True, stable=True)
        chosen = ranked[: self.kept].sort().values
        return {name: samples[name][chosen] for name in domains}
