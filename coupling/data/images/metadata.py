"""Metadata of image files: read where they matter, left out where decoders fail on them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import ExifTags, Image

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_PNG_KEPT = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})  # besides the critical ones
_LARGEST_PROFILE = 2**26
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, which is upright, where it is missing, damaged or no such number.

    Args:
        image: the image, its pixels loaded.
    """
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # readers of EXIF have no common kind of error
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def upright(image: Image.Image, turn: int) -> Image.Image:
    """The image as it is to be seen.

    Args:
        image: the pixels.
        turn: their :func:`orientation`.
    """
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def without_metadata(content: bytes) -> tuple[bytes, bytes | None] | None:
    """A file without its text and similar metadata, on which decoders fail where they are large or damaged.

    Args:
        content: the file.

    Returns:
        The file without them and its colour profile (None: it has none); or None for files that are not PNG or JPEG.
    """
    if content.startswith(_PNG):
        return _plain_png(content)
    if content.startswith(_JPEG):
        return _plain_jpeg(content)
    return None


def _plain_png(content: bytes) -> tuple[bytes, bytes | None]:
    kept, profile = [_PNG], None
    for kind, body, whole in _chunks(content):
        sound = whole[-4:] == struct.pack(">I", zlib.crc32(kind + body))
        if not kind[0] & 0x20 or kind in _PNG_KEPT or (kind == b"eXIf" and sound):
            kept.append(whole)
        elif kind == b"iCCP":
            profile = _unpacked(body.partition(b"\0")[2][1:])
    return b"".join(kept), profile


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, content and all bytes of each chunk of a PNG, as far as the file is whole."""
    place = len(_PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        yield kind, content[place + 8 : end - 4], content[place:end]
        place = end


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST_PROFILE)
    except zlib.error:
        return b"damaged"


def _plain_jpeg(content: bytes) -> tuple[bytes, bytes | None]:
    """Without the segments APP1 to APP15, except Adobe's (APP14), which tells the colours, and profiles (APP2)."""
    kept, place = [_JPEG], 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != 0xDA:
        if content[place + 1] == 0xFF:  # a filling byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        segment = content[place:end]
        is_text = 0xE1 <= segment[1] <= 0xEF or segment[1] == 0xFE
        if not is_text or segment[1] == 0xEE or segment[4:15] == b"ICC_PROFILE":
            kept.append(segment)
        place = end
    return b"".join(kept) + content[place:], None
