"""Frames as a video file: MP4 (H.264) or WebM (VP9), by imageio and PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from PIL import Image

from coupling.errors import InputError

CODECS = {".mp4": "libx264", ".webm": "libvpx-vp9"}
"""The codec of each kind of file, by suffix."""


def check_video(place: str) -> None:
    """Raise :class:`InputError` that names ``place`` if what writes videos is not installed."""
    missing = [name for name in ("imageio", "av") if find_spec(name) is None]
    if missing:
        raise InputError(f"{place}: a video needs {' and '.join(missing)}: pip install 'coupling-gan[video]'")


def video(frames: Sequence[Image.Image], seconds: float, suffix: str) -> bytes:
    """The content of a video file, which plays once.

    Args:
        frames: pictures of one size.
        seconds: duration.
        suffix: a key of :data:`CODECS`.
    """
    import imageio.v3 as imageio

    pixels = np.stack([_even(frame) for frame in frames])
    rate = len(frames) / seconds
    content: bytes = imageio.imwrite(
        "<bytes>", pixels, extension=suffix, plugin="pyav", codec=CODECS[suffix], fps=rate, out_pixel_format="yuv420p"
    )
    return content


def _even(frame: Image.Image) -> npt.NDArray[np.uint8]:
    """(height, width, 3) with even sides, as both codecs need them; white is added."""
    pixels = np.asarray(frame.convert("RGB"))
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
