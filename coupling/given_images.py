"""Image files that a user gives, as samples of a domain: converted where that is safe, and said so; else refused."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from coupling.domain import Domain
from coupling.errors import InputError, nearest
from coupling.terminal import remark

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Files of a folder that are images; others are ignored and counted."""

Fit = Literal["crop", "stretch"]
"""What may be done to an image of other proportions: cut its longer side, or change them."""

_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
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
    """The images of files, and of folders and their subfolders, in order.

    Of another size, they are resized; of other proportions only with ``fit``. Colour becomes gray, and gray colour.
    Values 0 to 255 become the domain's range. Raises :class:`InputError` naming each file that is no image, or cannot
    be converted safely.
    """
    if not domain.is_image:
        raise InputError(
            f"domain '{domain.name}' has samples of shape {domain.shape}, which are no images; use "
            "load_model(...).transform(...) in Python"
        )
    files = [file for path in paths for file in _files(path)]
    pixels, changes, refused = [], [], []
    for file in files:
        try:
            sample, change = _read(file, domain, fit)
        except _Refused as error:
            refused.append(f"{file}: {error}")
        else:
            pixels.append(sample)
            changes.append(change)
    if refused:
        raise InputError("\n  ".join([f"{len(refused)} of {len(files)} images cannot be used:", *_listed(refused)]))
    low, high = domain.range
    samples = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return GivenImages(files, _names(files), torch.lerp(torch.tensor(low), torch.tensor(high), samples), changes)


class _Refused(Exception):  # noqa: N818  (says what was done)
    """An image that is no sample, and why."""


def _files(path: Path) -> list[Path]:
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file())
            seen = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)]
            images = [p for p in seen if p.suffix.lower() in SUFFIXES]
            if not images:
                raise InputError(
                    f"{path}: holds no images but {len(inside)} other files; images are files named "
                    + ", ".join(sorted(SUFFIXES))
                )
            if len(images) < len(inside):
                remark(f"{path}: {len(inside) - len(images)} hidden or other files are ignored")
            return images
        siblings = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    raise InputError(f"{path}: no such image or folder; {nearest(str(path), siblings)}")


def _read(file: Path, domain: Domain, fit: Fit | None) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], str]:
    """The pixels, uint8 (height, width, channels), and what was changed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                frames = getattr(opened, "n_frames", 1)
                if frames > 1:
                    raise _Refused(f"holds {frames} pictures; give one")
                if opened.mode not in _EIGHT_BIT:
                    raise _Refused(
                        f"has pixels of kind '{opened.mode}', whose range is not known; convert it to 8-bit gray or RGB"
                    )
                image = ImageOps.exif_transpose(opened)
    except _Refused:
        raise
    except UnidentifiedImageError:
        raise _Refused("not an image, damaged, or of a kind unknown here") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _Refused("far too large for an image; scale it down") from None
    except Exception as error:  # what decoders raise on damaged files has no common kind
        raise _Refused((error.strerror if isinstance(error, OSError) else None) or str(error) or "damaged") from None
    changes = []
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        if np.asarray(layer)[..., 3].min() < 255:
            changes.append("laid over white")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    channels, height, width = domain.shape
    if channels == 1 and image.mode not in ("1", "L"):
        colour = image.convert("RGB")
        bands = np.asarray(colour)
        if (bands != bands[..., :1]).any():
            changes.append("colour to gray")
        image = colour.convert("L")
    elif channels == 3:
        if image.mode in ("1", "L", "LA"):
            changes.append("gray to colour")
        image = image.convert("RGB")
    image = image.convert("L") if channels == 1 else image
    if image.size != (width, height):
        changes.append(f"resized from {image.width}×{image.height}")
        image = _resized(image, width, height, fit)
    return np.asarray(image).reshape(height, width, channels), ", ".join(changes)


def _resized(image: Image.Image, width: int, height: int, fit: Fit | None) -> Image.Image:
    if abs(image.width * height / (image.height * width) - 1) > _ALIKE and fit is None:
        raise _Refused(
            f"is {image.width}×{image.height} (width×height), of other proportions than the domain's {width}×{height}; "
            "cut it, or give --fit crop or --fit stretch"
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
