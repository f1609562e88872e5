"""The camera of a depth picture, which turns its values into points in space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coupling import Resize
from coupling_rgbd.depth import Planes

FRAME = (480, 640)
"""(height, width) of the frames of a Kinect, and the proportions of most depth cameras'."""


@dataclass(frozen=True)
class Camera:
    """A pinhole that looks through the middle of the picture."""

    planes: Planes
    across: float
    """x / z of points at the right edge."""
    down: float
    """y / z of points at the lower edge."""

    @classmethod
    def of(cls, planes: Planes, field_of_view: float, size: tuple[int, int] = FRAME) -> Camera:
        """A camera of ``field_of_view`` degrees across the width of pictures of ``size`` (height, width)."""
        across = math.tan(math.radians(field_of_view) / 2)
        return cls(planes, across, across * size[0] / size[1])

    def resized(self, size: tuple[int, int], resize: Resize) -> Camera:
        """The camera of its pictures brought to ``size`` (height, width) in this way."""
        if resize != "crop":  # the whole picture, if in other proportions
            return self
        wide = size[1] / size[0]
        across, down = min(self.across, self.down * wide), min(self.down, self.across / wide)
        return Camera(self.planes, across, down)

    def windowed(self, size: tuple[int, int], window: tuple[int, int]) -> Camera:
        """The camera of windows (height, width) in pictures of ``size``, as if cut from the middle."""
        return Camera(self.planes, self.across * window[1] / size[1], self.down * window[0] / size[0])

    def points(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """(height, width) in [0, 1] to (height, width, 3) in metres: x right, y down, z away."""
        height, width = depth.shape
        z = self.planes.near + depth * (self.planes.far - self.planes.near)
        x = ((np.arange(width) + 0.5) * 2 / width - 1) * self.across * z
        y = ((np.arange(height) + 0.5) * 2 / height - 1)[:, None] * self.down * z
        return np.stack([x, y, z], axis=-1).astype(np.float32)
