"""Photographs from which MNIST-M's backgrounds are cut: a folder's, or those that scikit-image ships."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coupling import ConfigError, DataError, UnreadableImage, decode_image, expand_home, image_paths, opaque

SHIPPED = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "rocket.jpg",
)
"""scikit-image's colour photographs; its retina and deep field are nearly black."""


def photographs(folder: str | None) -> list[Path]:
    """The image files of ``folder`` and its subfolders in the order of their paths; None: scikit-image's.

    Raises ConfigError if it is not a folder, DataError if it holds none.
    """
    if folder is None:
        return _shipped()
    root = expand_home(folder)
    if not root.is_dir():
        raise ConfigError(f"backgrounds: '{folder}' is {'a file' if root.exists() else 'not there'}; name a folder")
    try:
        return image_paths(root)
    except DataError as error:
        raise DataError(f"backgrounds: {error}") from None


def _shipped() -> list[Path]:
    package = importlib.util.find_spec("skimage")  # not imported: it takes a second, and its files are all we need
    if package is None or package.origin is None:
        raise DataError(
            "backgrounds: the photographs to fall back on are scikit-image's, which is not installed; "
            "pip install 'coupling-digits[photographs]', or name a folder of photographs"
        )
    found = [Path(package.origin).parent / "data" / name for name in SHIPPED]
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise DataError(
            f"backgrounds: {missing[0]} is not there; pip install -U scikit-image, or name a folder of photographs"
        )
    return found


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 of the files' contents in order: the same wherever they lie."""
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(_read(path)).digest())
    return total.hexdigest()


def pixels(path: Path, side: int) -> NDArray[np.uint8]:
    """A photograph as (height, width, 3).

    Raises DataError where it is damaged, or smaller than a background of ``side`` pixels.
    """
    try:
        colours = np.asarray(opaque(decode_image(path, str(path)), "RGB"))
    except UnreadableImage as error:
        raise DataError(f"backgrounds: {error}") from error
    if min(colours.shape[:2]) < side:
        height, width = colours.shape[:2]
        raise DataError(f"backgrounds: {path} is {height} x {width}, too small for backgrounds of {side} x {side}")
    return colours


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"backgrounds: {path}: cannot be read ({error.strerror})") from error
