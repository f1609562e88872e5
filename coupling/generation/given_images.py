"""Image files that a user gives, as samples of a domain: converted where that is safe, and said so; else refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from coupling.data.images.decoding import EIGHT_BIT_MODES, opaque, open_image, pixel_kind
from coupling.data.images.files import in_words
from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.places import image_files
from coupling.domain import Domain
from coupling.errors import InputError, nearest
from coupling.system.terminal import print_line

Fit = Literal["crop", "stretch"]
"""What may be done to an image of other proportions: cut its longer side, or change them."""


_ALIKE = 0.02
"""Proportions that differ by less than this share are the same, but for rounding."""


@dataclass(frozen=True)
class GivenImages:
    """Some images as samples of one domain."""

    files: list[Path]
    names: list[str]
    """What to call each: its file's name without the suffix, with a number where two are alike."""
    samples: Tensor
    """(B, *shape), float32 in the domain's range."""
    changes: list[str]
    """What was done to each besides reading it: "resized from 56×56", say; or nothing."""


def read_images(paths: Sequence[Path], domain: Domain, fit: Fit | None = None) -> GivenImages:
    """The images of files, and of folders (and their subfolders) and zips, in order.

    Of another size, they are resized; of other proportions only with ``fit``. Colour becomes gray, and gray colour.
    Values 0 to 255 become the domain's range. Raises :class:`InputError` naming each file that is no image, or cannot
    be converted safely.
    """
    if not domain.is_image:
        raise InputError(
            f"domain '{domain.name}' has samples of shape {domain.shape}, which are no images; use "
            "load_model(...).transform(...) in Python"
        )
    files, pixels, changes, refused = [], [], [], []
    for file, opening in (found for path in paths for found in _files(path)):
        files.append(file)
        try:
            with opening() as content:
                sample, change = _read(content, str(file), domain, fit)
        except UnreadableImage as error:
            refused.append(str(error))
        else:
            pixels.append(sample)
            changes.append(change)
    if refused:
        raise InputError("\n  ".join([f"{len(refused)} of {len(files)} images cannot be used:", *_listed(refused)]))
    low, high = domain.range
    samples = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return GivenImages(files, _names(files), torch.lerp(torch.tensor(low), torch.tensor(high), samples), changes)


_Opening = Callable[[], AbstractContextManager[Path | BinaryIO]]


def _files(path: Path) -> Iterator[tuple[Path, _Opening]]:
    """The images at ``path``: what each is called, and how it is opened."""
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
    """The pixels, uint8 (height, width, channels), and what was changed."""
    with open_image(content, name) as given:
        frames = getattr(given, "n_frames", 1)
        if frames > 1:
            raise UnreadableImage(f"{name}: holds {frames} pictures; give one")
        if given.mode not in EIGHT_BIT_MODES:
            raise UnreadableImage(
                f"{name}: has {pixel_kind(given)} pixels, whose range is not known; convert it to 8-bit gray or RGB"
            )
        image = ImageOps.exif_transpose(given)
    changes = []
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
    if abs(image.width * height / (image.height * width) - 1) > _ALIKE and fit is None:
        raise UnreadableImage(
            f"{name}: is {image.width}×{image.height} (width×height), of other proportions than the domain's "
            f"{width}×{height}; cut it, or give --fit crop or --fit stretch"
        )
    if fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _names(files: Sequence[Path]) -> list[str]:
    names: list[str] = []
    taken: set[str] = set()
    for file in files:
        name, number = file.stem, 2
        while name.casefold() in taken:
            name, number = f"{file.stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _listed(messages: Sequence[str], most: int = 10) -> list[str]:
    return [*messages[:most], *([f"and {len(messages) - most} more"] if len(messages) > most else [])]
