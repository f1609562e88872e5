"""Conversion of stored pixels to samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupling_rgbd.depth import FARTHEST

COLOR_RANGE = (-1.0, 1.0)
DEPTH_RANGE = (0.0, 1.0)


def color_samples(pixels: NDArray[np.uint8]) -> Tensor:
    """(..., height, width, 3) bytes to (..., 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.moveaxis(pixels, -1, -3).astype(np.float32)).div_(127.5).sub_(1)


def depth_samples(levels: NDArray[np.uint16]) -> Tensor:
    """(..., height, width) numbers of :mod:`coupling_rgbd.depth` to (..., 1, height, width) in [0, 1]."""
    return torch.from_numpy(levels.astype(np.float32)).div_(FARTHEST).unsqueeze(-3)
