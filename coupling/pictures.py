"""Pictures of samples: one row a domain, its name beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from coupling.domain import Domain
from coupling.errors import InputError

_MARGIN = 2
_SMALLEST = 64
"""Samples below this many pixels are enlarged by a whole factor, so that a person sees them."""


def to_pixels(samples: Tensor, domain: Domain) -> npt.NDArray[np.uint8]:
    """Samples (B, C, H, W) in the domain's range as uint8 (B, H, W, 3). C is 1 or 3."""
    if not domain.is_image:
        raise InputError(f"domain '{domain.name}' of shape {domain.shape} cannot be drawn as pictures")
    low, high = domain.range
    scaled = ((samples.float() - low) / (high - low)).clamp(0, 1).mul(255).round().byte()
    pixels: npt.NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).cpu().numpy()
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3)).copy()


def drawable(domains: Mapping[str, Domain]) -> list[str]:
    """The domains that are of images; raises :class:`InputError` where none is."""
    names = [name for name, domain in domains.items() if domain.is_image]
    if not names:
        shapes = ", ".join(f"'{name}' {domain.shape}" for name, domain in domains.items())
        raise InputError(f"none of the domains is of images: {shapes}; use load_model(...).sample(...) in Python")
    return names


def grid(samples: Mapping[str, Tensor], domains: Mapping[str, Domain], columns: int = 12) -> Image.Image:
    """Corresponding samples: a column is one z, a row one domain; further columns in further bands."""
    rows = {name: to_pixels(x, domains[name]) for name, x in samples.items() if domains[name].is_image}
    if not rows:
        raise InputError("none of the domains can be drawn as pictures")
    count = min(len(pixels) for pixels in rows.values())
    columns = min(columns, count)
    height = max(p.shape[1] for p in rows.values())
    width = max(p.shape[2] for p in rows.values())
    factor = max(1, -(-_SMALLEST // max(height, width)))
    cell = (width * factor + _MARGIN, height * factor + _MARGIN)
    font = ImageFont.load_default(size=14)
    label = 12 + max(int(font.getlength(name)) for name in rows)
    bands = -(-count // columns)
    size = (label + columns * cell[0] + _MARGIN, bands * (len(rows) * cell[1] + 4 * _MARGIN))
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    for band in range(bands):
        for row, (name, pixels) in enumerate(rows.items()):
            top = band * (len(rows) * cell[1] + 4 * _MARGIN) + row * cell[1] + _MARGIN
            pen.text((6, top + cell[1] // 2), name, fill="black", font=font, anchor="lm")
            for column, sample in enumerate(pixels[band * columns : (band + 1) * columns]):
                picture = Image.fromarray(sample)
                scaled = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
                canvas.paste(scaled, (label + column * cell[0], top))
    return canvas


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a PNG as a whole."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    write_whole(buffer.getvalue(), path)


def write_whole(content: bytes, path: Path) -> None:
    """Write a file as a whole: never a torn one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:  # a full disk
        temporary.unlink(missing_ok=True)
        raise
