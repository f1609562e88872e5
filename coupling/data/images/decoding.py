"""From an encoded image, of a file or of memory, to the pixels of a sample."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from coupling.data.images.image import ImageArray, UnreadableImage, check_regular
from coupling.errors import DataError

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})  # Pillow's modes that convert safely
"""Pillow's modes with 8 bits for each value, which are converted without loss."""


_DEEPER = {
    "I;16": "16-bit gray",
    "I;16B": "16-bit gray",
    "I;16L": "16-bit gray",
    "I": "32-bit gray",
    "F": "floating-point",
}


def pixel_kind(image: Image.Image) -> str:
    """The kind of an image's pixels in words: "16-bit gray", "CMYK".

    Args:
        image: the image.
    """
    return _DEEPER.get(image.mode, image.mode)


# -- options of data sets that decode images ------------------------------------------------

Pixels: TypeAlias = Annotated[int, Field(ge=1, le=4096)]


Size: TypeAlias = Pixels | tuple[Pixels, Pixels]
"""Pixels of an option: one number, or (height, width)."""


Resize: TypeAlias = Literal["none", "stretch", "crop"]
"""What is done to images of another size: an error, other proportions, or a cut of the longer side."""


Mode: TypeAlias = Literal["rgb", "gray"]


OnError: TypeAlias = Literal["stop", "skip"]
"""What is done about unreadable samples: an error, or less data."""


SizeOption: TypeAlias = Annotated[
    Size | None, Field(description="pixels: one number or [height, width]; default: the first image's")
]


CropOption: TypeAlias = Annotated[
    Size | None,
    Field(description="pixels cut out of the middle of every image, before it is resized; default: all of it"),
]


ResizeOption: TypeAlias = Annotated[
    Resize,
    Field(
        description="what is done to images of another size: none is an error; stretch changes their "
        "proportions; crop scales the shorter side and cuts the longer one evenly"
    ),
]
"""Option of a data set, of type :data:`Resize`, with its description."""


ModeOption: TypeAlias = Annotated[Mode, Field(description="3 channels or 1")]


OnErrorOption: TypeAlias = Annotated[
    OnError, Field(description="what unreadable images lead to: an error, or less data")
]
"""Option of a data set, of type :data:`OnError`, with its description."""


def height_and_width(size: Size) -> tuple[int, int]:
    """(height, width) of an option that may be one number.

    Args:
        size: pixels.
    """
    return (size, size) if isinstance(size, int) else size


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
    try:
        if isinstance(file, Path):
            check_regular(file, name)
        with warnings.catch_warnings():
            # Large photographs are meant; from twice its limit on, Pillow raises an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file)
        with image:
            yield image
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


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) as it is to be seen."""
    sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return (image.width, image.height) if sideways else (image.height, image.width)


@dataclass(frozen=True)
class Fit:
    """How an image becomes a sample: uint8 (height, width, channels).

    EXIF orientation is applied, transparency is laid over white.
    """

    height: int
    width: int
    channels: int
    resize: Resize
    crop: tuple[int, int] | None = None
    """(height, width) cut out of the middle first."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the sample."""
        return self.height, self.width, self.channels

    def __call__(self, image: Image.Image, name: str) -> ImageArray:
        """The pixels. Raises :class:`UnreadableImage` for other than 8 bits, :class:`DataError` for another size."""
        if image.mode not in EIGHT_BIT_MODES:
            raise UnreadableImage(f"{name}: has {pixel_kind(image)} pixels; convert it to 8-bit RGB or gray")
        whole = opaque(ImageOps.exif_transpose(image), "RGB" if self.channels == 3 else "L")
        pixels = np.asarray(self._sized(self._cropped(whole, name), name))
        return pixels.reshape(self.height, self.width, self.channels)

    def _cropped(self, image: Image.Image, name: str) -> Image.Image:
        if self.crop is None:
            return image
        height, width = self.crop
        if image.height < height or image.width < width:
            raise DataError(
                f"{name} is [{image.height}, {image.width}] ([height, width]), smaller than `crop: [{height}, "
                f"{width}]`; crop less, or leave crop out and give `resize: crop`"
            )
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))

    def _sized(self, image: Image.Image, name: str) -> Image.Image:
        size = (self.width, self.height)
        if image.size == size:
            return image
        if self.resize == "stretch":
            return image.resize(size, Image.Resampling.LANCZOS)
        if self.resize == "crop":
            return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
        raise DataError(
            f"{name} is [{image.height}, {image.width}], expected [{self.height}, {self.width}] "
            f"([height, width]); to bring all to one size, give `size: [{self.height}, {self.width}]` (or "
            "another) and `resize: crop` or `resize: stretch`"
        )


def opaque(image: Image.Image, mode: Literal["RGB", "L"]) -> Image.Image:
    """The image in ``mode``; what shows through is white, as on a page."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert(mode)
