"""The images of MNIST-M, decoded or made once and kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coupling import ImageCache, MakeImage, data_directory

SIDE = 32
"""Height and width of the images, in pixels."""

SplitName = Literal["train", "test"]


class Pool(ABC):
    """All images of a split, with their labels."""

    name: str
    """The pool's, as a data set's source."""

    verb: str
    """What is done to have the images."""

    @property
    @abstractmethod
    def available(self) -> int:
        """How many there are."""

    @property
    @abstractmethod
    def labels(self) -> NDArray[np.int64] | None:
        """Classes, (available,)."""

    @abstractmethod
    def key(self) -> dict[str, object]:
        """All that the images depend on."""

    @abstractmethod
    def make(self) -> MakeImage:
        """What decodes or makes them."""

    @property
    @abstractmethod
    def has_test(self) -> bool:
        """Whether there is a test split."""

    @cached_property
    def cache(self) -> ImageCache:
        """All images, (available, 32, 32, 3)."""
        directory, shape, title = data_directory("mnist_m"), (SIDE, SIDE, 3), f"{self.verb} MNIST-M"
        return ImageCache(directory, self.key(), self.available, shape, self.make(), title=title, processes=1)
