"""Pictures of samples: one row a domain, its name beside it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from coupling.data.drawings import default_drawing
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.system.atomic_files import write_bytes

_MARGIN = 2


_FRAME = "#c8ced4"
"""Colour of the frame around a drawing; it lies in the margin."""


_SMALLEST = 64
"""Pictures below this many pixels are enlarged, so that a person sees them."""


_LEEWAY = 0.25
"""How far from the largest picture's side another may stay for the sake of a whole factor: crisp pixels."""


def to_pixels(samples: Tensor, domain: Domain) -> npt.NDArray[np.uint8]:
    """Samples as 8-bit colour pixels.

    Args:
        samples: (B, *shape) in the domain's range.
        domain: the domain of the samples. Images are converted without loss; other data are drawn by its ``drawing``,
            or by the one that suits their shape.

    Returns:
        uint8 (B, height, width, 3).

    Raises:
        InputError: the samples are not images and have no drawing.
    """
    return _bytes(samples if domain.is_image else _drawn(samples, domain), domain)


def to_drawing(samples: Tensor, domain: Domain) -> npt.NDArray[np.uint8]:
    """The same for people to look at: as the domain is drawn, images too where it says so."""
    return _bytes(samples if domain.is_image and domain.drawing is None else _drawn(samples, domain), domain)


def _drawn(samples: Tensor, domain: Domain) -> Tensor:
    default = default_drawing(domain.shape)
    if domain.drawing is not None:
        return domain.drawing(samples.float(), domain.range)
    if default is None:
        raise InputError(f"domain '{domain.name}' of shape {domain.shape} cannot be drawn as pictures")
    return default[1](samples.float(), domain.range)


def drawn_as(domain: Domain) -> str:
    """How samples are drawn, in a word: "image", the name of a drawing, or "" where they are not."""
    if domain.drawing is not None:
        return domain.drawn_by
    if domain.is_image:
        return "image"
    default = default_drawing(domain.shape)
    return "" if default is None else default[0]


def _bytes(samples: Tensor, domain: Domain) -> npt.NDArray[np.uint8]:
    """(B, 1 or 3, H, W) in the domain's range to (B, H, W, 3)."""
    low, high = domain.range
    scaled = ((samples.float() - low) / (high - low)).clamp(0, 1).mul(255).round().byte()
    pixels: npt.NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).cpu().numpy()
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3)).copy()


def drawable(domains: Mapping[str, Domain]) -> list[str]:
    """The domains that can be drawn; raises :class:`InputError` where none can."""
    names = [name for name, domain in domains.items() if domain.is_drawable]
    if not names:
        shapes = ", ".join(f"'{name}' {domain.shape}" for name, domain in domains.items())
        raise InputError(
            f"none of the domains can be drawn: {shapes}; let their data sets name a drawing (drawn_by), or use "
            "load_model(...).sample(...) in Python"
        )
    return names


def picture_grid(
    samples: Mapping[str, Tensor], domains: Mapping[str, Domain], columns: int = 12, scale: int | None = None
) -> Image.Image:
    """A picture of corresponding samples: each column is one z, each row one domain.

    Pictures of different size are enlarged to about the same size, by whole factors if possible. Drawings of samples
    that are not images get a frame, since their white backgrounds would meet.

    Args:
        samples: {domain: (B, *shape)} in the domain's range; domains that cannot be drawn are left out.
        domains: {name: domain} of at least these samples.
        columns: columns beside each other; further samples continue in further bands below.
        scale: enlarge the largest pictures by this whole factor, and the others to about the same size; None: by the
            smallest factor that makes them 64 pixels or larger.

    Raises:
        InputError: none of the domains can be drawn.
    """
    rows = {name: to_drawing(x, domains[name]) for name, x in samples.items() if domains[name].is_drawable}
    if not rows:
        raise InputError("none of the domains can be drawn as pictures")
    count = min(len(pixels) for pixels in rows.values())
    columns = min(columns, count)
    scaled = _alike([(pixels.shape[2], pixels.shape[1]) for pixels in rows.values()], scale)
    sizes = dict(zip(rows, scaled, strict=True))
    width = max(width for width, _ in scaled) + _MARGIN
    tops = np.cumsum([0, *(height + _MARGIN for _, height in scaled)]).tolist()
    font = ImageFont.load_default(size=14)
    label = _names_width(rows)
    bands = -(-count // columns)
    band_height = tops[-1] + 4 * _MARGIN
    canvas = Image.new("RGB", (label + columns * width + _MARGIN, bands * band_height), "white")
    pen = ImageDraw.Draw(canvas)
    for band in range(bands):
        for (name, pixels), above in zip(rows.items(), tops, strict=False):
            size = sizes[name]
            top = band * band_height + above + _MARGIN
            pen.text((6, top + (size[1] + _MARGIN) // 2), name, fill="black", font=font, anchor="lm")
            for column, sample in enumerate(pixels[band * columns : (band + 1) * columns]):
                left = label + column * width + (width - _MARGIN - size[0]) // 2
                canvas.paste(_enlarged(Image.fromarray(sample), size), (left, top))
                if not domains[name].is_image:
                    pen.rectangle((left - 1, top - 1, left + size[0], top + size[1]), outline=_FRAME)
    return canvas


def _names_width(names: Iterable[str]) -> int:
    """Width of the names at the left of a picture."""
    font = ImageFont.load_default(size=14)
    return 12 + max(int(font.getlength(name)) for name in names)


def without_names(picture: Image.Image, names: Iterable[str]) -> Image.Image:
    """A picture of :func:`picture_grid` without the ``names`` at its left, for pages that write them as text."""
    return picture.crop((min(_names_width(names), picture.width - 1), 0, picture.width, picture.height))


def _alike(sizes: Sequence[tuple[int, int]], scale: int | None) -> list[tuple[int, int]]:
    """(width, height) of each domain's pictures, and how large they are drawn: longer sides about alike."""
    longest = max(max(size) for size in sizes)
    wanted = longest * (scale or max(1, -(-_SMALLEST // longest)))
    drawn = []
    for width, height in sizes:
        factor: float = max(1, round(wanted / max(width, height)))
        if abs(factor * max(width, height) - wanted) > _LEEWAY * wanted:
            factor = wanted / max(width, height)
        drawn.append((max(1, round(width * factor)), max(1, round(height * factor))))
    return drawn


def _enlarged(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Pixel by pixel where the factor is whole, smoothly otherwise: pixels of uneven size would look like content."""
    whole = size[0] % picture.width == 0 and size[1] % picture.height == 0
    return picture.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.BICUBIC)


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a picture as a PNG file, whole or not at all.

    Args:
        picture: the picture.
        path: the file; an existing one is replaced.
    """
    write_bytes(path, png(picture))


def png(picture: Image.Image) -> bytes:
    """A picture as the content of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
