"""Random draws from a pool of samples: the small training sets of the adaptation experiments."""

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
    Field(ge=1, description="number of samples, drawn at random without replacement; null: all"),
]
DrawNumber = Annotated[
    int | None,
    Field(
        ge=0,
        description="number of the draw; null: the run's seed. Domains with the same draw get disjoint parts of it, "
        "different draws may overlap",
    ),
]
ProtocolName = Annotated[
    Literal["paper", "held-out", "full"] | None,
    Field(
        description="samples of an adaptation experiment, in training and for accuracy. paper: as many as in the "
        "paper, drawn by `draw`, and the same for accuracy. held-out: the same in training, the test split for "
        "accuracy. full: all in training, the test split for accuracy. null: see count and draw"
    ),
]


def protocol_count(protocol: ProtocolName, paper: int, count: Count, split: str) -> Count:
    """Number of samples to draw; ``paper`` is the paper's number. Raises ConfigError if the options contradict it."""
    if protocol is None:
        return count
    given = f"split: {split}" if split != "train" else "" if count is None else f"count: {count}"
    if given:
        raise ConfigError(f"protocol: {protocol} decides which samples are used; leave out {given}, or the protocol")
    return None if protocol == "full" else paper


@dataclass(frozen=True)
class Draw:
    """A draw of ``count`` samples from the pool named ``pool``; draw ``number`` is the same in every run (None: 0).

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
        """Name of the drawn samples: the source of a data set."""
        return self.pool if self.count is None else f"{self.pool}/{self.count} of draw {self.number or 0}"

    def size(self, available: int) -> int:
        """Number of samples in the draw. Raises ConfigError if the pool has fewer."""
        if self.count is None:
            return available
        if self.count > available:
            raise ConfigError(f"count: {self.count} is more than the {available} samples of {self.pool}")
        return self.count

    def numbers(self, available: int) -> NDArray[np.int64]:
        """Numbers of the drawn samples in a pool of ``available`` samples, ascending: (size,)."""
        size = self.size(available)
        if self.count is None:
            return np.arange(size)
        return np.sort(
            np.random.default_rng(derive_seed(self.number or 0, "draw", self.pool)).permutation(available)[:size]
        )


class DrawnDataset(Dataset):
    """A data set of samples drawn from a pool. With ``verify`` the size of the pool is known without reading it."""

    verify: bool
    _draw: Draw

    def _open_draw(self, draw: Draw) -> None:
        """Set the draw. Raises ConfigError at once if a pool of known size has fewer samples."""
        self._draw = draw
        self.source = draw.source
        if self.verify:
            len(self)

    def seeded(self, seed: int) -> None:
        """Use the run's seed as the number of the draw if the options give none."""
        if self._draw.count is not None and self._draw.number is None:
            self._open_draw(replace(self._draw, number=seed))

    @property
    @abstractmethod
    def _available(self) -> int:
        """Number of samples in the pool."""

    def __len__(self) -> int:
        return self._draw.size(self._available)

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """Numbers of the samples in the pool."""
        return self._draw.numbers(self._available)

    def _in_pool(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of samples ``indices`` in the pool: (len(indices),)."""
        return self._numbers[np.asarray(indices, dtype=np.int64)]

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]
