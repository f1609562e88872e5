"""Images as bytes, and the error for an image that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from coupling.errors import DataError

ImageArray: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
"""Images as bytes: uint8 (count, height, width, channels); one image without the count."""


class UnreadableImage(DataError):  # noqa: N818  (says what the sample is)
    """A sample that cannot be read, raised by a function that makes images; the message names the sample."""


def check_regular(path: Path, name: str) -> None:
    """Check that a file is a regular one: reading a pipe, a socket or a device may wait forever.

    Args:
        path: the file.
        name: name of the image in messages.

    Raises:
        UnreadableImage: it is a pipe, a socket or a device.
    """
    if path.exists() and not path.is_file():
        raise UnreadableImage(f"{name}: is not a regular file")
