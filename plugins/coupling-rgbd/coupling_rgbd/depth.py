"""Depth: metres along the optical axis, 16-bit numbers in files, [0, 1] for networks.

All three grow with the distance. 0 means "missing" (the sensor saw nothing); what was seen lies
between the near plane (just above 0) and the far plane (1), linearly in metres. The empty
background lies in the far plane. It is the convention of Kinect files (0 = missing), scaled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAR, FAR = 0.7, 1.2
"""Planes of the rendered scenes, in metres from the camera."""

BACKGROUND = 65535
"""The far plane as a 16-bit number."""


def to_levels(metres: NDArray[np.float32]) -> NDArray[np.uint16]:
    """16-bit numbers from metres (0 = missing); beyond the planes: the nearest plane."""
    levels = np.clip(np.rint((metres - NEAR) / (FAR - NEAR) * BACKGROUND), 1, BACKGROUND)
    return np.where(metres > 0, levels, 0).astype(np.uint16)


def to_metres(levels: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Metres from 16-bit numbers; 0 (missing) stays 0."""
    metres = levels.astype(np.float32) * ((FAR - NEAR) / BACKGROUND) + NEAR
    return np.where(levels > 0, metres, 0).astype(np.float32)
