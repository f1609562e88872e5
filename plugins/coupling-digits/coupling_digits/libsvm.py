"""The libsvm format, in which USPS is published: a line a sample, `label index:value index:value ...`.

Indices count from 1; a value that is left out is 0.
"""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coupling import DataError
from coupling_digits.download import AGAIN, PAGE


def unpacked(content: bytes, path: Path) -> bytes:
    """A file's content, unpacked where it is bzip2 (whatever its name says).

    ``path`` is for the messages. Raises DataError where the bzip2 stream is cut short or damaged.
    """
    try:
        return bz2.decompress(content) if content.startswith(b"BZh") else content
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: truncated or damaged bzip2 file, {len(content)} bytes ({error}); {AGAIN}") from error


def samples(content: bytes, size: int, path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The samples of a libsvm file's content, (count, size), and their labels, (count,).

    ``path`` is for the messages. Raises DataError where the content is not such a file, whole.
    """
    if content.lstrip()[:1] == b"<":
        raise DataError(f"{path}: {PAGE}; {AGAIN}")
    lines = content.splitlines()
    if not lines:
        raise DataError(f"{path}: is empty")
    values = np.zeros((len(lines), size), np.float32)
    labels = np.zeros(len(lines), np.int64)
    for row, line in enumerate(lines):
        try:
            label, *pairs = line.split()
            labels[row] = int(label)
            if pairs:
                columns, numbers = zip(*(pair.split(b":") for pair in pairs), strict=True)
                indices = np.array(columns).astype(np.int64) - 1
                if indices.min() < 0:
                    raise IndexError
                values[row, indices] = np.array(numbers).astype(np.float32)
        except (ValueError, IndexError):
            start = line[:40].decode("latin-1")
            raise DataError(
                f"{path}: line {row + 1} is not `label index:value ...` with indices from 1 to {size}: '{start}'"
            ) from None
    return values, labels
