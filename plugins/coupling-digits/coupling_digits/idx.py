"""The IDX format, in which MNIST is published.

Big-endian: two zero bytes, the element type (8: unsigned byte), the number of dimensions, each
dimension as 4 bytes, then the elements in row-major order.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coupling import DataError
from coupling_digits.download import AGAIN, PAGE


def unpacked(path: Path) -> bytes:
    """The content of a file, unpacked where it is gzip (whatever its name says: browsers unpack unasked).

    Raises DataError where it cannot be read, or its gzip stream is cut short or damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged gzip file, {len(content)} bytes ({error}); {AGAIN}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def elements(content: bytes, dimensions: int, path: Path) -> NDArray[np.uint8]:
    """The unsigned bytes of an IDX file's content, read-only, with as many ``dimensions`` as asked for.

    ``path`` is for the messages. Raises DataError where the content is not such a file, whole.
    """
    if content.lstrip()[:1] == b"<":
        raise DataError(f"{path}: {PAGE}; {AGAIN}")
    magic, expected = content[:4], bytes([0, 0, 8, dimensions])
    if magic != expected:
        raise DataError(
            f"{path}: not an IDX file of unsigned bytes in {dimensions} dimensions: "
            f"it begins with '{magic.hex(' ')}', not '{expected.hex(' ')}'"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: its header ends after {len(content)} of {start} bytes; {AGAIN}")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: its header announces {' x '.join(map(str, shape))} = {math.prod(shape)} elements, "
            f"but {len(content) - start} follow"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
