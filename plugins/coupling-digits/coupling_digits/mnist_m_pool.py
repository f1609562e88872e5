"""The base of the two origins of MNIST-M: official images and made ones."""

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
    """Name of the pool: the source of a data set."""

    verb: str
    """Verb of the progress bar: "Decoding" or "Making"."""

    place: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    """Entries of :meth:`key` that name the files and tell their state: images of an earlier state are removed."""

    @property
    @abstractmethod
    def available(self) -> int:
        """Number of images."""

    @property
    @abstractmethod
    def labels(self) -> NDArray[np.int64] | None:
        """Class of each image, (available,); None: unknown."""

    @abstractmethod
    def key(self) -> dict[str, object]:
        """All that the images depend on, as JSON values."""

    @abstractmethod
    def make(self) -> MakeImage:
        """A function that decodes or makes an image by its number."""

    @property
    @abstractmethod
    def has_test(self) -> bool:
        """Whether there is a test split."""

    @cached_property
    def cache(self) -> ImageCache:
        """The images, uint8 (available, 32, 32, 3), made when they are first read."""
        directory, shape, title = data_directory("mnist_m"), (SIDE, SIDE, 3), f"{self.verb} MNIST-M"
        key = self.key()
        return ImageCache(
            directory,
            key,
            self.available,
            shape,
            self.make(),
            title=title,
            processes=1,
            place=self.place,
            state=[name for name in self.state if name in key],
        )
