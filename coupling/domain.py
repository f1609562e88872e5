"""A domain as networks and losses see it: a name, a shape, a range."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """One domain: samples are float tensors of ``shape`` whose values lie in ``range``.

    ``shape`` is (channels, height, width) for images and anything for other data; ``range`` is
    (lowest, highest), both included.
    """

    name: str
    shape: tuple[int, ...]
    range: tuple[float, float]

    @property
    def size(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether a sample can be drawn as it is: (1 or 3, height, width)."""
        return len(self.shape) == 3 and self.shape[0] in (1, 3)
