"""Encoded images, of files and of memory, opened by their content."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from coupling.data.images.image import UnreadableImage, check_regular
from coupling.data.images.metadata import without_metadata

_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read; others of Pillow's are not images of pixels, or run other programs."""


@contextmanager
def open_image(file: Path | BinaryIO, name: str) -> Iterator[Image.Image]:
    """Open an image in a ``with`` block; its pixels are not decoded yet.

    Args:
        file: path, or a binary file.
        name: name of the image in messages.

    Yields:
        The image.

    Raises:
        UnreadableImage: the file is not an image, is damaged or too large; also for every error in the block.
    """
    with reading(name), open_content(content_of(file, name)) as image:
        yield image


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Raise each error of the block as :class:`UnreadableImage`, and show no warnings of decoders.

    Args:
        name: name of the image in messages.
    """
    try:
        with warnings.catch_warnings():
            # Large photographs are meant; from twice its limit on, Pillow raises an error. Damaged metadata, of which
            # it warns, do not matter.
            warnings.simplefilter("ignore")
            yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(f"{name}: not an image, damaged, or of a kind unknown here") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(
            f"{name}: {str(error).rstrip('.')}; if it is meant to be that large, scale it down"
        ) from None
    except Exception as error:  # what decoders raise on damaged files has no common kind
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UnreadableImage(f"{name}: {reason or type(error).__name__}") from error


def content_of(file: Path | BinaryIO, name: str) -> bytes:
    """All bytes of a file.

    Args:
        file: path, or a binary file.
        name: name of the image in messages.
    """
    if not isinstance(file, Path):
        return file.read()
    check_regular(file, name)
    return file.read_bytes()


def open_content(content: bytes) -> ImageFile.ImageFile:
    """An image in memory, not decoded yet; without its metadata if it can be opened only so.

    Args:
        content: the file. Raises what Pillow raises.
    """
    try:
        return Image.open(BytesIO(content), formats=_formats())
    except Image.DecompressionBombError:
        raise
    except Exception:
        image, _ = open_without_metadata(content)
        if image is None:
            raise
        return image


def open_without_metadata(content: bytes) -> tuple[ImageFile.ImageFile | None, bytes]:
    """An image in memory without its metadata, except orientation and colour profile, and the bytes that are left.

    Args:
        content: the file.

    Returns:
        The image, None where it cannot be opened; and the file without the metadata.
    """
    plain, profile = without_metadata(content) or (b"", None)
    try:
        image = Image.open(BytesIO(plain), formats=_formats())
    except Image.DecompressionBombError:
        raise
    except Exception:  # the error of the whole file says more
        return None, plain
    if profile is not None:
        image.info["icc_profile"] = profile
    return image, plain


@lru_cache(maxsize=1)
def _formats() -> list[str]:
    """The formats that this installation of Pillow can open."""
    Image.preinit()
    if not set(_FORMATS) <= set(Image.OPEN):
        Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]
