"""Image files that a user gives, as samples of a domain; conversions are recorded, unsafe ones are errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
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
from coupling.errors import InputError, nearest
from coupling.system.terminal import print_line, warn

Fit = Literal["crop", "stretch"]
"""How an image of another aspect ratio is fitted: cut its longer side, or change its aspect ratio."""


_ALIKE = 0.02
"""Aspect ratios that differ by less than this share are the same, but for rounding."""


_LISTED = 10
"""Files that the message lists at most if nothing is done with the others."""


@dataclass(frozen=True)
class GivenImages:
    """Images as samples of one domain."""

    files: list[Path]
    names: list[str]
    """A name for each: its file's name without the suffix, with a number if two are alike."""
    samples: Tensor
    """(B, *shape), float32 in the domain's range."""
    changes: list[str]
    """How each was converted ("resized from 56×56"); empty if it was not."""
    errors: list[str] = field(default_factory=list)
    """A message for each given file that cannot be used, with the reason."""

    def check_complete(self) -> None:
        """Raise :class:`InputError` if there are files that cannot be used; it lists all of them with the reasons."""
        if self.errors:
            count = len(self.files) + len(self.errors)
            raise InputError(_message(f"{len(self.errors)} of {count} images could not be used", self.errors))


@dataclass(frozen=True)
class _Image:
    """One image that can be used."""

    file: Path
    pixels: ImageArray
    change: str


def read_images(paths: Sequence[Path], domain: Domain, fit: Fit | None = None, *, strict: bool = False) -> GivenImages:
    """Read the images in files, and in folders (with their subfolders) and zips, in order.

    Images of another size are resized; those of another aspect ratio only with ``fit``. Colour becomes gray, and gray
    colour. Values 0 to 255 become the domain's range. Files that cannot be used are left out, with a warning.

    Args:
        paths: files, folders and zips.
        domain: the domain that the images belong to.
        fit: how to fit images of another aspect ratio; None: they cannot be used.
        strict: whether a single file that cannot be used is an error.

    Raises:
        InputError: none of the files can be used, or not all of them with ``strict``; it names them and the reasons.
            Or the domain's samples are not images.
    """
    if not domain.is_image:
        raise InputError(
            f"domain '{domain.name}' has samples of shape {domain.shape}, which are not images; use "
            "load_model(...).transform(...) in Python"
        )
    found = [image for path in paths for image in _images(path, domain, fit)]
    images = [image for image in found if isinstance(image, _Image)]
    errors = [message for message in found if isinstance(message, str)]
    if errors and (strict or not images):
        more = [f"and {len(errors) - _LISTED} more"] if len(errors) > _LISTED else []
        head = f"{len(errors)} of {len(found)} images cannot be used"
        raise InputError(errors[0] if len(found) == 1 else _message(head, [*errors[:_LISTED], *more]))
    if errors:
        warn(f"{len(errors)} of {len(found)} images cannot be used; the reasons follow at the end")
    files = [image.file for image in images]
    samples = _in_range([image.pixels for image in images], domain)
    return GivenImages(files, _names(files), samples, [image.change for image in images], errors)


def _message(head: str, lines: Sequence[str]) -> str:
    """A message with a line for each of ``lines``."""
    return "\n  ".join([f"{head}:", *lines])


def _in_range(pixels: Sequence[ImageArray], domain: Domain) -> Tensor:
    """Pixels, uint8 (height, width, channels) each, as samples (B, *shape) in the domain's range."""
    low, high = domain.range
    samples = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return torch.lerp(torch.tensor(low), torch.tensor(high), samples)


def _images(path: Path, domain: Domain, fit: Fit | None) -> Iterator[_Image | str]:
    """Each image at ``path``, or the message on why it cannot be used."""
    try:
        for file, opening in _files(path):
            yield _read_file(file, opening, domain, fit)
    except InputError as error:
        yield str(error)


def _read_file(file: Path, opening: _Opening, domain: Domain, fit: Fit | None) -> _Image | str:
    """The image in a file, or the message on why it cannot be used."""
    try:
        with opening() as content:
            return _Image(file, *_read(content, str(file), domain, fit))
    except UnreadableImage as error:
        return str(error)


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
    elif path.is_file():
        yield path, lambda: nullcontext(path)
    else:
        try:
            siblings = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        except OSError:
            siblings = []
        raise InputError(f"{path}: no such image or folder; {nearest(str(path), siblings)}")


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


def _names(files: Sequence[Path]) -> list[str]:
    """Names of files without suffix, with a number where two differ at most in upper and lower case."""
    names: list[str] = []
    taken: set[str] = set()
    for file in files:
        name, number = file.stem, 2
        while name.casefold() in taken:
            name, number = f"{file.stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names
