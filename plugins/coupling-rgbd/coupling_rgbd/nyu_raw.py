"""NYU Depth v2's raw frames: r-*.ppm and d-*.pgm as they came from the Kinect, not registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coupling import UnreadableImage
from coupling_rgbd.image_files import read_color, read_numbers

_LARGEST = 2047
"""The sensor's 11-bit number for a missing reading."""


@dataclass(frozen=True)
class RawFrames:
    """A reader of :mod:`coupling_rgbd.frames`; each frame is a file of one modality."""

    root: Path
    frames: Sequence[str]
    """The files, in ``root``."""

    def color(self, index: int) -> NDArray[np.uint8]:
        """(height, width, 3)."""
        return read_color(self.root, self.frames[index])

    def metres(self, index: int) -> NDArray[np.float32]:
        """(height, width); 0 where the sensor saw nothing."""
        name = self.frames[index]
        numbers = read_numbers(self.root, name).astype(np.uint16)
        # PGM means the high byte first, but these files hold the low one first.
        disparity = numbers.byteswap()
        if disparity.max() > _LARGEST:
            disparity = numbers  # put right by somebody
        if disparity.max() > _LARGEST:
            raise UnreadableImage(f"{name}: not raw depth of a Kinect: numbers up to {numbers.max()}, expected 11 bits")
        return raw_metres(disparity)


def raw_metres(disparity: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Metres of a Kinect's numbers (source: the data set's own toolbox); 0 where it saw nothing, or beyond 100 m."""
    steps = 1092.5 - disparity.astype(np.float32)
    return np.where(steps > 3.513, 351.3 / np.maximum(steps, 1), 0).astype(np.float32)
