"""The one decoder of images: from an encoded image to upright pixels of 8 bits in sRGB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, ImageFile

from coupling.data.images.colour_profiles import convert_profile
from coupling.data.images.image import UnreadableImage
from coupling.data.images.jpeg_damage import jpeg_damage
from coupling.data.images.metadata import orientation, upright
from coupling.data.images.notes import note
from coupling.data.images.opening import content_of, open_content, open_without_metadata, reading

DECODER = 2
"""Version of the decoder, part of the keys of caches: raised when some images are decoded to other pixels."""

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
"""Pillow's modes with 8 bits for each value, which are converted without loss."""

_DEEPER = {
    "I;16": "16-bit gray",
    "I;16B": "16-bit gray",
    "I;16L": "16-bit gray",
    "I": "32-bit gray",
    "F": "floating-point",
}
_OTHER = {"RGBa": "RGBA", "RGBX": "RGB", "La": "LA", "YCbCr": "RGB"}  # that Pillow converts exactly
_BITS, _PHOTOMETRIC, _SUBFILE = 258, 262, 254  # tags of TIFF


def pixel_kind(image: Image.Image) -> str:
    """The kind of an image's pixels in words: "16-bit gray", "CMYK".

    Args:
        image: the image.
    """
    return _DEEPER.get(image.mode, image.mode)


def decode_image(file: Path | BinaryIO, name: str, *, turn: bool = True) -> Image.Image:
    """Decode an image completely. Conversions are noted (see :mod:`coupling.data.images.notes`).

    Args:
        file: path, or a binary file.
        name: name of the image in messages.
        turn: whether to turn it as its EXIF orientation says.

    Returns:
        The image in one of :data:`EIGHT_BIT_MODES`, its colours in sRGB.

    Raises:
        UnreadableImage: the file is not an image, is damaged or too large, holds several images, or has pixels whose
            range is not known.
    """
    with reading(name), _whole_files_only():
        content = content_of(file, name)
        try:
            with open_content(content) as image:
                return _decoded(image, content, name, turn)
        except (UnreadableImage, Image.DecompressionBombError):
            raise
        except Exception:
            bare, plain = open_without_metadata(content)
            if bare is None:
                raise
            with bare:
                return _decoded(bare, plain, name, turn)


def opaque(image: Image.Image, mode: Literal["RGB", "L"]) -> Image.Image:
    """The image without transparency, laid over white.

    Args:
        image: of 8 bits.
        mode: mode of the result.
    """
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert(mode)


def _decoded(image: ImageFile.ImageFile, content: bytes, name: str, turn: bool) -> Image.Image:
    pictures = _pictures(image)
    if pictures > 1:
        raise UnreadableImage(f"{name}: holds {pictures} images; give a file with one")
    depth = _depth(image)
    image.load()
    if image.format in ("JPEG", "MPO") and (damage := jpeg_damage(content, image)):
        raise UnreadableImage(f"{name}: {damage}")
    angle = orientation(image) if turn else 1  # of the loaded image: PNG may hold it behind the pixels
    return upright(_in_srgb(_in_eight_bits(image, depth, name), name), angle)


@contextmanager
def _whole_files_only() -> Iterator[None]:
    """Let Pillow raise an error for files that are cut short, whatever another library has set."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _pictures(image: Image.Image) -> int:
    """Number of images in a file. Of a JPEG only the first counts; previews in a TIFF do not."""
    if image.format in ("JPEG", "MPO"):
        return 1
    frames = int(getattr(image, "n_frames", 1))
    if frames == 1 or image.format != "TIFF":
        return frames
    others = 0
    for frame in range(1, frames):
        image.seek(frame)
        others += not int(image.tag_v2.get(_SUBFILE, 0)) & 1  # type: ignore[attr-defined]
    image.seek(0)
    return 1 + others


def _depth(image: ImageFile.ImageFile) -> int:
    """Bits of a value: 8 or less, or up to 16. It can be read before the pixels are decoded only."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS, 8)  # type: ignore[attr-defined]
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    if image.format == "PNG" and image.tile:
        return 16 if "16" in str(image.tile[0][3]) else 8
    if image.format == "PPM" and image.tile:
        arguments = image.tile[0][3]
        values = arguments if isinstance(arguments, tuple) else (arguments,)
        deep = any(value > 255 if isinstance(value, int) else "16" in str(value) for value in values)
        return 16 if deep else 8
    return 16 if image.mode.startswith("I;16") else 8


def _in_eight_bits(image: Image.Image, depth: int, name: str) -> Image.Image:
    """The image in 8 bits: of deeper values the upper 8. Raises :class:`UnreadableImage` where that is not possible."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _gray_in_eight_bits(image, max(depth, 9), name)
    if depth > 8 and image.mode not in ("I", "F"):
        if "transparency" in image.info:
            raise UnreadableImage(f"{name}: has a transparent colour of {depth} bits; save it with an alpha channel")
        _note_depth(depth, max(top for _, top in _extrema(image)) * 257, name)
    if image.mode in EIGHT_BIT_MODES or image.mode == "CMYK":
        return image
    if image.mode in _OTHER:
        return _with_profile(image.convert(_OTHER[image.mode]), image)
    raise UnreadableImage(
        f"{name}: has {pixel_kind(image)} pixels, whose range is not known; convert it to 8-bit gray or RGB"
    )


def _gray_in_eight_bits(image: Image.Image, depth: int, name: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    clear = image.info.get("transparency")
    alpha = None if clear is None else np.where(values == clear, 0, 255).astype(np.uint8)
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]  # 0 is white
        values = 2**depth - 1 - values
    _note_depth(depth, int(values.max()) << (16 - depth), name)
    made = Image.fromarray((values >> (depth - 8)).clip(0, 255).astype(np.uint8))
    if alpha is not None:
        made.putalpha(Image.fromarray(alpha))
    return _with_profile(made, image)


def _note_depth(depth: int, largest: int, name: str) -> None:
    """Note the conversion; ``largest`` is the largest value, scaled to 16 bits."""
    if 0 < largest < 4096:
        note(f"{depth}-bit values, all below a sixteenth of their range: nearly black", name, is_warning=True)
    else:
        note(f"{depth}-bit values scaled to 8 bits", name)


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    """Smallest and largest value of each colour, without alpha."""
    bands = [band for band in image.getbands() if band not in ("A", "a")]
    return [image.getchannel(band).getextrema() for band in bands]  # type: ignore[misc]


def _with_profile(made: Image.Image, original: Image.Image) -> Image.Image:
    """An image made of another, with its colour profile."""
    if profile := original.info.get("icc_profile"):
        made.info["icc_profile"] = profile
    return made


def _in_srgb(image: Image.Image, name: str) -> Image.Image:
    converted = convert_profile(image, name)
    if converted.mode == "CMYK":
        note("CMYK converted to RGB without a colour profile", name, is_warning=True)
        converted = converted.convert("RGB")
    return converted
