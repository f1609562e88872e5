"""An image as bytes, and one that cannot be had."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from coupling.errors import DataError

ImageArray: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
"""uint8, (count, height, width, channels); one image without the count."""


class UnreadableImage(DataError):  # noqa: N818  (says what the sample is)
    """Raised by ``make`` for one sample that cannot be had; names it. ``on_error`` says what follows."""
