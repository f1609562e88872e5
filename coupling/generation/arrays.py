"""Samples as NumPy's files (.npy): float32, in C order, in the range of their domain; and rows of tables as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO, TextIOWrapper
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from torch import Tensor

from coupling.data.csv_file import original, write_header, write_rows
from coupling.domain import Column

_PORTION = 10_000
"""Rows of a table that are converted at once."""


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


def write_table(file: BinaryIO, rows: npt.NDArray[np.float32], columns: Sequence[Column]) -> None:
    """Write rows, (n, len(columns)) as a model draws them, as CSV in the units of the columns."""
    text = TextIOWrapper(file, encoding="utf-8", newline="")
    write_header(text, columns)
    for start in range(0, len(rows), _PORTION):
        write_rows(text, original(rows[start : start + _PORTION], columns))
    text.flush()
    text.detach()  # so that the file stays open
