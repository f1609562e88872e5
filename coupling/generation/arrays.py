"""Samples as NumPy's files (.npy): float32, in C order, in the range of their domain."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from torch import Tensor


def array_header(shape: tuple[int, ...]) -> bytes:
    """The beginning of a .npy of float32 numbers of this shape; the numbers follow."""
    file = BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def array_file(sample: Tensor) -> bytes:
    """A sample as the content of a .npy."""
    numbers = sample.detach().float().cpu().numpy().astype("<f4", copy=False)
    return array_header(numbers.shape) + numbers.tobytes()
