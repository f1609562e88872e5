"""MNIST-M made from MNIST: its digits over patches of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coupling import DECODER, ImageArray, MakeImage
from coupling_digits.mnist import Mnist
from coupling_digits.mnist_m_pool import SIDE, Pool, SplitName
from coupling_digits.photographs import digest, photographs, pixels

BORDER = (SIDE - 28) // 2
"""Pixels around MNIST's digits."""


class Made(Pool):
    """MNIST's digits over patches of photographs."""

    verb = "Making"

    def __init__(self, split: SplitName, verify: bool, backgrounds: str | None, seed: int) -> None:
        self._mnist = Mnist(split=split, verify=verify)
        self._seed = seed
        self._paths = photographs(backgrounds)
        self.name = self._mnist.source

    @property
    def available(self) -> int:
        """The number of MNIST's samples."""
        return len(self._mnist)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """MNIST's classes; None where your own digits have none, (available,)."""
        labels = self._mnist.labels
        return None if labels is None else labels.numpy()

    def key(self) -> dict[str, object]:
        """The digits, the photographs and the seed."""
        return {
            "digits": self._mnist.fingerprint(),
            "photographs": self._photographs,
            "seed": self._seed,
            "decoder": DECODER,
        }

    @cached_property
    def _photographs(self) -> str:
        return digest(self._paths)

    def make(self) -> MakeImage:
        """A function that puts a digit over a patch."""
        return _Blend(self._mnist, tuple(self._paths), self._seed)

    @property
    def has_test(self) -> bool:
        """Whether there are digits to test."""
        return self._mnist.held_out() is not None


@dataclass(frozen=True)
class _Blend:
    """Makes sample ``index``: |patch - digit|, with the digit in the middle of a patch drawn for this sample."""

    mnist: Mnist
    paths: tuple[Path, ...]
    seed: int

    @cached_property
    def _photographs(self) -> list[NDArray[np.uint8]]:
        return [pixels(path, SIDE) for path in self.paths]

    def __call__(self, index: int) -> ImageArray:
        random = np.random.default_rng([self.seed, index])
        photograph = self._photographs[random.integers(len(self.paths))]
        y, x = (random.integers(side - SIDE + 1) for side in photograph.shape[:2])
        digit = np.zeros((SIDE, SIDE), np.int16)
        digit[BORDER:-BORDER, BORDER:-BORDER] = self.mnist.digits([index])[0]
        patch = photograph[y : y + SIDE, x : x + SIDE]
        blended: ImageArray = np.abs(patch - digit[:, :, None]).astype(np.uint8)
        return blended
