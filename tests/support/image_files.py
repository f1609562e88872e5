"""Image files written byte by byte, so that their true pixels are known without a decoder."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from numpy.typing import NDArray

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: NDArray[Any], *more: bytes) -> bytes:
    """A PNG of (height, width, 1 gray, 2 gray and alpha, 3 RGB or 4 RGBA) 8-bit or 16-bit values, with more chunks."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * values.dtype.itemsize, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)
    return PNG + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values: NDArray[Any], *, photometric: int, order: str = "<", alpha: bool = False) -> bytes:
    """An uncompressed TIFF of (height, width, channels) values in the byte order "<" or ">"."""
    height, width, channels = values.shape
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = 8 * values.dtype.itemsize
    tags: list[tuple[int, str, list[int]]] = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [bits] * channels),
        (259, "H", [1]),
        (262, "H", [photometric]),
        (273, "I", [0]),
        (277, "H", [channels]),
        (278, "I", [height]),
        (279, "I", [len(pixels)]),
        *([(338, "H", [2])] if alpha else []),
        (339, "H", [kind] * channels),
    ]
    beyond = 8 + 2 + 12 * len(tags) + 4
    extra, entries = b"", b""
    sizes = [2 * len(numbers) for _, form, numbers in tags if form == "H" and len(numbers) > 2]
    for tag, form, numbers in tags:
        numbers = [beyond + sum(sizes)] if tag == 273 else numbers
        content = struct.pack(order + form * len(numbers), *numbers)
        if len(content) > 4:
            place = struct.pack(order + "I", beyond + len(extra))
            extra += content
            content = place
        entries += struct.pack(order + "HHI", tag, 3 if form == "H" else 4, len(numbers)) + content.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + extra + pixels
