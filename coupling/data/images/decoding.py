"""Options of data sets that decode images, and from a decoded image to a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field

from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.pixels import opaque

# -- options of data sets that decode images ------------------------------------------------

Pixels: TypeAlias = Annotated[int, Field(ge=1, le=4096)]


Size: TypeAlias = Pixels | tuple[Pixels, Pixels]
"""Pixels of an option: one number, or (height, width)."""


Resize: TypeAlias = Literal["none", "stretch", "crop"]
"""Treatment of images of another size: an error, other proportions, or a cut of the longer side."""


Mode: TypeAlias = Literal["rgb", "gray"]


OnError: TypeAlias = Literal["stop", "skip"]
"""Treatment of unreadable samples: an error, or less data."""


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


WindowOption: TypeAlias = Annotated[
    Size | None,
    Field(
        description="pixels of a sample, cut out of the resized image: anywhere at random when training reads it, in "
        "the middle otherwise; default: all of it"
    ),
]


FlipOption: TypeAlias = Annotated[bool, Field(description="mirror half of the samples that training reads, at random")]


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


@dataclass(frozen=True)
class Fit:
    """How a decoded image becomes a sample: uint8 (height, width, channels). Transparency is laid over white."""

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
        """The pixels of a decoded image. Raises :class:`UnreadableImage` for another size."""
        whole = opaque(image, "RGB" if self.channels == 3 else "L")
        pixels = np.asarray(self._sized(self._cropped(whole, name), name))
        return pixels.reshape(self.height, self.width, self.channels)

    def _cropped(self, image: Image.Image, name: str) -> Image.Image:
        if self.crop is None:
            return image
        height, width = self.crop
        if image.height < height or image.width < width:
            raise UnreadableImage(
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
        raise UnreadableImage(
            f"{name} is [{image.height}, {image.width}], expected [{self.height}, {self.width}] "
            f"([height, width]); to bring all to one size, give `size: [{self.height}, {self.width}]` (or "
            "another) and `resize: crop` or `resize: stretch`"
        )
