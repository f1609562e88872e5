"""An image as bytes, and one that cannot be had."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from coupling.errors import DataError

ImageArray: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
"""Images as bytes: uint8 (count, height, width, channels); one image without the count."""


class UnreadableImage(DataError):  # noqa: N818  (says what the sample is)
    """A sample that cannot be read, raised by a function that makes images; the message names the sample."""
