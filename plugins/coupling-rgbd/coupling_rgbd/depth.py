"""Depth: metres along the optical axis, 16-bit numbers in files, [0, 1] for networks.

All three grow with the distance. 0 means "missing" (the sensor saw nothing); what was seen lies
between the near plane (just above 0) and the far plane (1), linearly in metres. It is the
convention of Kinect files (0 = missing), scaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FARTHEST = 65535
"""The far plane as a 16-bit number."""

Outliers = Literal["clip", "drop"]
Fill = Literal["nearest", "far", "zero"]


@dataclass(frozen=True)
class Planes:
    """The depths that 0 and 1 stand for, in metres from the camera."""

    near: float
    far: float

    def to_levels(self, metres: NDArray[np.float32]) -> NDArray[np.uint16]:
        """16-bit numbers from metres (0 = missing); beyond the planes: the nearest plane."""
        levels = np.clip(np.rint((metres - self.near) / (self.far - self.near) * FARTHEST), 1, FARTHEST)
        return np.where(metres > 0, levels, 0).astype(np.uint16)

    def to_metres(self, levels: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Metres from 16-bit numbers; 0 (missing) stays 0."""
        metres = levels.astype(np.float32) * ((self.far - self.near) / FARTHEST) + self.near
        return np.where(levels > 0, metres, 0).astype(np.float32)

    def hold(self, metres: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether a reading lies between the planes; false for missing readings."""
        held: NDArray[np.bool_] = (metres >= self.near) & (metres <= self.far)
        return held


def to_bytes(levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """16-bit numbers (..., height, width) as bytes (..., height, width, 2): the high one, the low one."""
    return np.stack([levels >> 8, levels & 255], axis=-1).astype(np.uint8)


def from_bytes(pairs: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The inverse of :func:`to_bytes`."""
    levels: NDArray[np.uint16] = pairs[..., 0] * np.uint16(256) + pairs[..., 1]
    return levels


def completed(metres: NDArray[np.float32], planes: Planes, outliers: Outliers, fill: Fill) -> NDArray[np.float32]:
    """Depth for networks, from a sensor's readings.

    Args:
        metres: (height, width); 0 or less, infinite or not a number: missing.
        planes: what lies beyond them is an outlier.
        outliers: "clip" moves them to the nearest plane, "drop" takes them for missing.
        fill: what stands for missing readings: the "nearest" one in the picture (by Euclidean
            distance of pixels), the "far" plane, or "zero", which stays apart from all that was
            seen. A picture without any reading is the far plane where "nearest" is asked for.

    Returns:
        (height, width), between the planes; 0 where missing readings stay so.
    """
    seen = np.isfinite(metres) & (metres > 0)
    if outliers == "drop":
        seen &= planes.hold(metres)
    if fill == "nearest" and seen.any() and not seen.all():
        from scipy.ndimage import distance_transform_edt

        row, column = distance_transform_edt(~seen, return_distances=False, return_indices=True)
        metres, seen = metres[row, column], np.ones_like(seen)
    clipped = np.clip(np.where(seen, metres, planes.far), planes.near, planes.far)
    return np.where(seen | (fill != "zero"), clipped, 0).astype(np.float32)
