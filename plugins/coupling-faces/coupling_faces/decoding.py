"""From image files to the pixels that crops are cut from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coupling import DataError, UnreadableImage, decode_image, opaque
from coupling_faces.archive import Images

Pixels: TypeAlias = NDArray[np.uint8]
Aspect: TypeAlias = Literal["stretch", "crop"]

OFFICIAL_SIZE = (178, 218)
"""Width and height of CelebA's aligned images."""


@dataclass(frozen=True, eq=False)
class Decoder:
    """Makes the pixels of an image by its number: uint8 (side, side, 3)."""

    images: Images
    side: int
    aspect: Aspect
    official: bool
    """Whether an image of another size than CelebA's is an error."""

    def __call__(self, number: int) -> Pixels:
        """Image ``number``, resized. Raises :class:`DataError` where its file is damaged or of another size."""
        content = self.images(number)
        try:
            image = opaque(decode_image(io.BytesIO(content), self.images.place(number)), "RGB")
        except UnreadableImage as error:
            raise DataError(f"{error}; get the images again") from error
        if self.official and image.size != OFFICIAL_SIZE:
            raise DataError(
                f"{self.images.place(number)}: is {image.width}x{image.height} pixels, CelebA's aligned images are "
                f"{OFFICIAL_SIZE[0]}x{OFFICIAL_SIZE[1]}; put the official ones there, or set `verify: false` to read "
                "images of your own"
            )
        if self.aspect == "crop":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        return np.asarray(image.resize((self.side, self.side), Image.Resampling.LANCZOS))

    def several(self, numbers: list[int]) -> Pixels:
        """Some images: (len(numbers), side, side, 3)."""
        return np.stack([self(number) for number in numbers])
