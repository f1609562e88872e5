"""Image files that a user gives, as samples of a domain; conversions are recorded, unsafe ones are errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from coupling.data.images.files import in_words
from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.notes import collect_notes
from coupling.data.images.pixels import decode_image, opaque
from coupling.data.images.places import image_files
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.given_sample import GivenSample
from coupling.system.terminal import print_line

Fit = Literal["crop", "stretch"]
"""How an image of another aspect ratio is fitted: cut its longer side, or change its aspect ratio."""


_ALIKE = 0.02
"""Aspect ratios that differ by less than this share are the same, but for rounding."""


def images_at(path: Path, domain: Domain, fit: Fit | None) -> Iterator[GivenSample | str]:
    """Each image in a file, or in those of a folder (with its subfolders) or a zip, or why it cannot be used.

    ``domain`` is of images. ``path`` exists.
    """
    try:
        for file, opening in _files(path):
            yield _read_file(file, opening, domain, fit)
    except InputError as error:
        yield str(error)


def _read_file(file: Path, opening: _Opening, domain: Domain, fit: Fit | None) -> GivenSample | str:
    """The image in a file, or the message on why it cannot be used."""
    try:
        with opening() as content:
            pixels, change = _read(content, str(file), domain, fit)
    except UnreadableImage as error:
        return str(error)
    return GivenSample(file, _in_range(pixels, domain), change)


def _in_range(pixels: ImageArray, domain: Domain) -> Tensor:
    """Pixels, uint8 (height, width, channels), as a sample (*shape) in the domain's range."""
    low, high = domain.range
    sample = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    return torch.lerp(torch.tensor(low), torch.tensor(high), sample)


_Opening = Callable[[], AbstractContextManager[Path | BinaryIO]]


def _files(path: Path) -> Iterator[tuple[Path, _Opening]]:
    """The images at ``path``, each with a function that opens it; raises :class:`InputError` if there are none."""
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"):
        found = image_files(str(path))
        if found.ignored:
            print_line(f"{path}: {in_words(found.ignored)} are ignored")
        for number, file in enumerate(found.files):
            yield path / file.name, partial(found.open, number)
        found.close()
    else:
        yield path, lambda: nullcontext(path)


def _read(content: Path | BinaryIO, name: str, domain: Domain, fit: Fit | None) -> tuple[ImageArray, str]:
    """The pixels, uint8 (height, width, channels), and how they were converted.

    Raises:
        UnreadableImage: the file is not an image, is damaged, or cannot be converted safely.
    """
    with collect_notes() as notes:
        image = decode_image(content, name)
    changes = list(notes)
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        changes.append("laid over white")
    channels, height, width = domain.shape
    colours = np.asarray(opaque(image, "RGB"))
    if channels == 1 and (colours != colours[..., :1]).any():
        changes.append("colour to gray")
    if channels == 3 and image.mode in ("1", "L", "LA"):
        changes.append("gray to colour")
    image = opaque(image, "RGB" if channels == 3 else "L")
    if image.size != (width, height):
        changes.append(f"resized from {image.width}×{image.height}")
        image = _resized(image, name, width, height, fit)
    return np.asarray(image).reshape(height, width, channels), ", ".join(changes)


def _resized(image: Image.Image, name: str, width: int, height: int, fit: Fit | None) -> Image.Image:
    """The image in this size; raises :class:`UnreadableImage` if it has another aspect ratio and ``fit`` is None."""
    if abs(image.width * height / (image.height * width) - 1) > _ALIKE and fit is None:
        raise UnreadableImage(
            f"{name}: is {image.width}×{image.height} (width×height), another aspect ratio than the domain's "
            f"{width}×{height}; crop it, or give --fit crop or --fit stretch"
        )
    if fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return image.resize((width, height), Image.Resampling.LANCZOS)
