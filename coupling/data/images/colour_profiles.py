"""Conversion of embedded colour profiles (ICC) to sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageCms

from coupling.data.images.notes import note

_NEAR = 2  # of 255: a profile that changes no colour by more is sRGB itself
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_LARGEST = 2**26  # bytes of a profile; larger ones are damaged
_PROBES = np.linspace(0, 255, 9).astype(np.uint8)

_Transform: TypeAlias = "ImageCms.ImageCmsTransform"


def convert_profile(image: Image.Image, name: str) -> Image.Image:
    """Convert colours from the image's profile to sRGB.

    A profile that is damaged, or of another kind than the image, is ignored with a warning. A profile that is sRGB,
    or differs from it by at most 2 of 255, changes nothing.

    Args:
        image: of 8 bits.
        name: name of the image in messages.

    Returns:
        The image, unchanged; or in the mode RGB, RGBA, L or LA.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode == "1":
        return image
    plain, alpha = _separated(image)
    try:
        transform = _transform(bytes(profile), plain.mode)
    except Exception:  # littlecms, and Pillow around it, have no common kind of error for damaged profiles
        note("damaged or unfit colour profile ignored", name, is_warning=True)
        return image
    if transform is None:
        return image
    note("colour profile converted to sRGB", name)
    converted = ImageCms.applyTransform(plain, transform)
    if converted is None:
        return image
    if plain.mode == "L":
        converted = converted.convert("L")
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _separated(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The image in L, RGB or CMYK, and its alpha channel; None: it is opaque."""
    if image.has_transparency_data:
        gray = image.mode in ("L", "LA", "La")
        layers = image.convert("RGBA")
        return layers.convert("L" if gray else "RGB"), layers.getchannel("A")
    return (image if image.mode in _SPACES else image.convert("RGB")), None


@lru_cache(maxsize=16)
def _transform(content: bytes, mode: str) -> _Transform | None:
    """The conversion from a profile to sRGB; None: it is sRGB. Raises any exception if the profile cannot be used."""
    if len(content) > _LARGEST:
        raise ValueError("too large")
    profile = ImageCms.ImageCmsProfile(BytesIO(content))
    if profile.profile.xcolor_space.strip() != _SPACES[mode]:
        raise ValueError("of another colour space")
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return None if mode != "CMYK" and _changes_little(transform, mode) else transform


def _changes_little(transform: _Transform, mode: str) -> bool:
    if mode == "L":
        colours = np.arange(256, dtype=np.uint8)[None]
    else:
        colours = np.stack(np.meshgrid(_PROBES, _PROBES, _PROBES), -1).reshape(1, -1, 3)
    after = ImageCms.applyTransform(Image.fromarray(colours), transform)
    before = Image.fromarray(colours).convert("RGB")
    return bool(np.abs(np.asarray(after, int) - np.asarray(before, int)).max() <= _NEAR)
