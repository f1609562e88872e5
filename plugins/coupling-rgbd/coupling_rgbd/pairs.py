"""A reader of frames whose colour and depth are two files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coupling import UnreadableImage
from coupling_rgbd.image_files import read_color, read_numbers


@dataclass(frozen=True)
class FilePairs:
    """A reader of :mod:`coupling_rgbd.frames`."""

    root: Path
    frames: Sequence[str]
    color_files: Sequence[str]
    """Each frame's, in ``root``."""
    depth_files: Sequence[str]
    unit: float
    """Metres of one step of the depth files."""

    def color(self, index: int) -> NDArray[np.uint8]:
        """(height, width, 3)."""
        with self._named(index):
            return read_color(self.root, self.color_files[index])

    def metres(self, index: int) -> NDArray[np.float32]:
        """(height, width); 0 where the sensor saw nothing."""
        with self._named(index):
            return read_numbers(self.root, self.depth_files[index]).astype(np.float32) * np.float32(self.unit)

    @contextmanager
    def _named(self, index: int) -> Iterator[None]:
        try:
            yield
        except UnreadableImage as error:
            raise UnreadableImage(f"{self.frames[index]}: {error}") from error.__cause__
