"""Some samples of a pool, drawn at random: the small training sets of the adaptation experiments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from coupling import ConfigError, Dataset, derive_seed

Count = Annotated[
    int | None,
    Field(ge=1, description="this many samples, drawn at random without replacement; null: all"),
]
DrawNumber = Annotated[
    int | None,
    Field(
        ge=0,
        description="which draw; null: the run's seed. Domains with the same draw get disjoint parts of it, "
        "different draws may overlap",
    ),
]
ProtocolName = Annotated[
    Literal["paper", "held-out", "full"] | None,
    Field(
        description="of an adaptation experiment. paper: as many samples as the paper has, drawn by `draw`; accuracy "
        "is of these. held-out: the same ones; accuracy is of the test split. full: all samples; accuracy is of the "
        "test split. null: what count and draw say"
    ),
]


def protocol_count(protocol: ProtocolName, paper: int, count: Count, split: str) -> Count:
    """How many samples are drawn; ``paper``: the paper's number. Raises ConfigError where the options contradict it."""
    if protocol is None:
        return count
    given = f"split: {split}" if split != "train" else "" if count is None else f"count: {count}"
    if given:
        raise ConfigError(f"protocol: {protocol} says what is trained on; leave out {given}, or the protocol")
    return None if protocol == "full" else paper


@dataclass(frozen=True)
class Draw:
    """``count`` samples of the pool named ``pool``; draw ``number`` is the same in every run. None: 0, unless told.

    A larger count of the same draw holds the smaller one. Raises ConfigError where ``number`` is given without
    ``count``.
    """

    pool: str
    count: int | None
    number: int | None

    def __post_init__(self) -> None:
        if self.count is None and self.number:
            raise ConfigError(f"draw: {self.number} has no effect on all samples; give a 'count' too, or leave it out")

    @property
    def source(self) -> str:
        """Names the drawn samples, as a data set's source."""
        return self.pool if self.count is None else f"{self.pool}/{self.count} of draw {self.number or 0}"

    def size(self, available: int) -> int:
        """How many samples there are in the draw; ConfigError where the pool has fewer."""
        if self.count is None:
            return available
        if self.count > available:
            raise ConfigError(f"count: {self.count} is more than the {available} samples of {self.pool}")
        return self.count

    def numbers(self, available: int) -> NDArray[np.int64]:
        """Numbers, in a pool of ``available`` samples, of those drawn, rising: (size,)."""
        size = self.size(available)
        if self.count is None:
            return np.arange(size)
        return np.sort(
            np.random.default_rng(derive_seed(self.number or 0, "draw", self.pool)).permutation(available)[:size]
        )


class DrawnDataset(Dataset):
    """A data set of the samples that :attr:`_draw` takes of a pool; ``verify`` tells its size without reading it."""

    verify: bool
    _draw: Draw

    def _open_draw(self, draw: Draw) -> None:
        """Take ``draw``; raises ConfigError at once where a pool of known size has fewer samples."""
        self._draw = draw
        self.source = draw.source
        if self.verify:
            len(self)

    def seeded(self, seed: int) -> None:
        """Let the run's seed be the draw, where none is named."""
        if self._draw.count is not None and self._draw.number is None:
            self._open_draw(replace(self._draw, number=seed))

    @property
    @abstractmethod
    def _available(self) -> int:
        """Samples in the pool, of which ``count`` are drawn."""

    def __len__(self) -> int:
        return self._draw.size(self._available)

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """The samples' numbers in the pool."""
        return self._draw.numbers(self._available)

    def _in_pool(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Samples ``indices`` by their numbers in the pool: (len(indices),)."""
        return self._numbers[np.asarray(indices, dtype=np.int64)]

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]
