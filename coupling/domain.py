"""A domain as networks and losses see it: a name, a shape, a range."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

Drawing: TypeAlias = Callable[[Tensor, tuple[float, float]], Tensor]
"""A transform that makes pictures: (B, *shape) in a range to (B, 1 or 3, height, width) in the same range."""


@dataclass(frozen=True)
class Column:
    """A number of a sample that is a row of a table: its name, and its value in its own unit."""

    name: str
    """Heading of the column."""
    centre: float = 0.0
    """Value of the column where the number of the sample is 0."""
    scale: float = 1.0
    """What 1 in the sample is in the unit of the column: value = centre + scale · number."""


@dataclass(frozen=True)
class Domain:
    """One domain as networks and losses see it: the name, shape and range of its samples."""

    name: str
    """Name in the configuration."""
    shape: tuple[int, ...]
    """Shape of one sample: (channels, height, width) for images, anything for other data."""
    range: tuple[float, float]
    """Lowest and highest value of a sample, both included."""
    drawn_by: str = ""
    """Name of the transform that makes pictures of samples; "": images are drawn as they are, (n,) and (1, n) as a
    line, other (h, w) as a heat map, and other shapes not at all."""
    drawing: Drawing | None = field(default=None, compare=False, repr=False)
    """The transform of that name."""
    columns: tuple[Column, ...] = ()
    """What each number of a sample (n,) is, if samples are rows of a table; they are then written as CSV, too."""

    @property
    def size(self) -> int:
        """Number of values in one sample."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether a sample can be drawn as it is: (1 or 3, height, width)."""
        return len(self.shape) == 3 and self.shape[0] in (1, 3)

    @property
    def is_drawable(self) -> bool:
        """Whether pictures of its samples can be made."""
        return self.is_image or self.drawing is not None or len(self.shape) <= 2
