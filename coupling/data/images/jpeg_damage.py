"""Damage of JPEG files that decoders do not report: they fill missing pixels with gray."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_AFTER_PIXELS = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_END, _PIXELS, _PROGRESSIVE = 0xD9, 0xDA, 0xC2
_MISSING = 128  # value of pixels that the decoder had no data for
_PADDING = bytes(range(1, 251)) * 2


def jpeg_damage(content: bytes, image: Image.Image) -> str | None:
    """The damage of a JPEG file that was decoded without an error.

    JPEG has no checksum. Found are pixels that end too early and pixels with markers that cannot be there. Altered
    values that decode to other valid values are not found.

    Args:
        content: the file; what follows its first picture is not read.
        image: the decoded picture.

    Returns:
        The damage in words; None: none was found.
    """
    ends: list[int] = []
    progressive, place = False, 2
    while (marker := _marker_at(content, place)) is not None:
        kind, place = marker
        if kind == _END:
            break
        if kind in _ALONE:
            continue
        progressive |= kind == _PROGRESSIVE
        place += int.from_bytes(content[place : place + 2], "big")
        if kind == _PIXELS:
            place, restarts = _end_of_pixels(content, place)
            behind = _marker_at(content, place)
            if behind is None:
                return None  # the file ends without a marker; the decoder reports missing pixels itself
            if behind[0] != _END and behind[0] not in _AFTER_PIXELS:
                return f"damaged: its pixels hold the marker {behind[0]:#x}"
            if any(restart != number % 8 for number, restart in enumerate(restarts)):
                return "damaged: parts of its pixels are missing"
            ends.append(place)
    if ends and (progressive or _may_end_early(image)) and _ends_early(content, ends, image):
        return "damaged: its pixels end too early"
    return None


def _marker_at(content: bytes, place: int) -> tuple[int, int] | None:
    """The next marker's kind and the place behind it."""
    while place < len(content) and content[place] != 0xFF:
        place += 1
    while place < len(content) and content[place] == 0xFF:
        place += 1
    return (content[place], place + 1) if place < len(content) else None


def _end_of_pixels(content: bytes, place: int) -> tuple[int, list[int]]:
    """The place of the first marker behind compressed pixels, and the numbers of the restart markers in them.

    The place is the file's length where there is no marker. Regular expressions take five times as long.
    """
    restarts = []
    while (place := content.find(0xFF, place)) >= 0:
        behind = place + 1
        while behind < len(content) and content[behind] == 0xFF:
            behind += 1
        if behind == len(content):
            break
        kind = content[behind]
        if 0xD0 <= kind <= 0xD7:
            restarts.append(kind - 0xD0)
        elif kind:
            return place, restarts
        place = behind + 1
    return len(content), restarts


def _may_end_early(image: Image.Image) -> bool:
    """Whether the last pixel is as one without data."""
    last = image.getpixel((image.width - 1, image.height - 1))
    values = last if isinstance(last, tuple) else (last,)
    return all(value is not None and abs(value - _MISSING) <= 1 for value in values[:3])


def _ends_early(content: bytes, ends: list[int], image: Image.Image) -> bool:
    """Whether the decoder takes more pixels where there are more: of a whole file it ignores them."""
    starts = [0, *ends]
    parts = [content[start:end] for start, end in zip(starts, [*ends, len(content)], strict=True)]
    with Image.open(BytesIO(_PADDING.join(parts)), formats=["JPEG"]) as padded:
        return not np.array_equal(np.asarray(padded), np.asarray(image))
