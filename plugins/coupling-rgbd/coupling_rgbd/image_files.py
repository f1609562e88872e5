"""Files of colour and depth images: read completely, or rejected with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coupling import EIGHT_BIT_MODES, UnreadableImage, check_regular, decode_image, opaque, open_image, pixel_kind

COLOR_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
DEPTH_SUFFIXES = frozenset({".npy", ".pgm", ".png", ".tif", ".tiff"})


def read_color(root: Path, name: str) -> NDArray[np.uint8]:
    """The file ``root / name`` as (height, width, 3) bytes; raises :class:`UnreadableImage`, which names it."""
    with _explaining(root, name):
        with open_image(root / name, name) as image:
            if image.mode not in EIGHT_BIT_MODES:  # depth, given for colour
                raise UnreadableImage(f"{name}: has {pixel_kind(image)} pixels; convert it to 8-bit RGB")
        return np.asarray(opaque(decode_image(root / name, name, turn=False), "RGB"))


def read_numbers(root: Path, name: str) -> NDArray[Any]:
    """The numbers of a depth file as it holds them, (height, width): whole or floats.

    Raises :class:`UnreadableImage`, which names the file, if they cannot be read, have 8 bits, or hold no reading.
    """
    numbers = _array(root, name) if name.lower().endswith(".npy") else _pixels(root, name)
    if numbers.ndim != 2:
        raise UnreadableImage(f"{name}: is of shape {numbers.shape}; depth is one number a pixel, (height, width)")
    if numbers.dtype.itemsize < 2 or numbers.dtype.kind not in "uif":
        raise UnreadableImage(_too_coarse(name, str(numbers.dtype)))
    if not np.any(np.isfinite(numbers) & (numbers > 0)):
        raise UnreadableImage(f"{name}: holds no reading: every pixel is missing (0)")
    return numbers


def _pixels(root: Path, name: str) -> NDArray[Any]:
    with _loaded(root, name) as image:
        if image.mode in EIGHT_BIT_MODES:
            raise UnreadableImage(_too_coarse(name, f"kind '{image.mode}'"))
        return np.asarray(image)


def _array(root: Path, name: str) -> NDArray[Any]:
    try:
        check_regular(root / name, name)
        return np.asarray(np.load(root / name, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableImage(f"{name}: not a whole .npy file: {error}") from error


def _too_coarse(name: str, kind: str) -> str:
    return (
        f"{name}: 8-bit pixels ({kind}); depth files hold 16-bit whole numbers or floats: "
        "this is a picture of the depth, made for people, and the depths themselves are lost in it"
    )


@contextmanager
def _loaded(root: Path, name: str) -> Iterator[Image.Image]:
    """The decoded image; every error becomes :class:`UnreadableImage`."""
    with _explaining(root, name), open_image(root / name, name) as image:
        image.load()  # here, so that errors of a truncated file are not those of the block
        yield image


@contextmanager
def _explaining(root: Path, name: str) -> Iterator[None]:
    """Raise :class:`UnreadableImage` that says what the file is if it is not an image."""
    try:
        yield
    except UnreadableImage as error:
        if mistaken := _mistaken(root / name):
            raise UnreadableImage(f"{name}: {mistaken}") from error
        raise


def _mistaken(path: Path) -> str | None:
    """A description of what the file is instead of an image; None: unknown."""
    try:
        check_regular(path, path.name)
        with open(path, "rb") as file:
            start = file.read(512).lstrip()
    except (OSError, UnreadableImage):
        return None
    if not start:
        return "an empty file; the download or copy stopped before it"
    if start.startswith(b"<"):
        return "an HTML page, saved in place of the image (an error page of the server?)"
    return None
