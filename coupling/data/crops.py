"""Crops and mirror images, each a function of the key that training reads a sample with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def crop_images(
    images: Sequence[NDArray[Any]], size: tuple[int, int], keys: Sequence[int] | None = None, *, mirror: bool = False
) -> NDArray[Any]:
    """Cut a window out of each image, and mirror half of them if ``mirror``.

    Args:
        images: arrays (height, width, ...) of one shape and type, at least one; views of a memory map
            are read once.
        size: (height, width) of the windows, no larger than the images.
        keys: the keys of :meth:`coupling.Dataset.augmented`. Every window is equally probable, and so
            are the two sides. None: the middle (of an odd margin, the pixel more is below and at
            the right), never mirrored.
        mirror: whether left and right may be exchanged.

    Returns:
        (len(images), *size, ...). Images of one height and width are cut alike for the same keys,
        whatever their channels and type: colour and depth, for example.
    """
    height, width = size
    made = np.empty((len(images), height, width, *images[0].shape[2:]), images[0].dtype)
    for number, image in enumerate(images):
        margins = image.shape[0] - height, image.shape[1] - width
        mirrored = False
        if keys is None:
            top, left = margins[0] // 2, margins[1] // 2
        else:  # the digits of the key in a mixed radix: for margins of pixels, 63 bits are even enough
            rest, top = divmod(keys[number], margins[0] + 1)
            rest, left = divmod(rest, margins[1] + 1)
            mirrored = mirror and rest % 2 == 1
        window = image[top : top + height, left : left + width]
        made[number] = window[:, ::-1] if mirrored else window
    return made
