"""Drawings: pictures of samples that are not images, each called as ``drawing(samples, range)``.

A drawing gets samples (B, *shape) with values in ``range``, (lowest, highest), and returns pictures
(B, 1 or 3, height, width) in the same range: the lowest value is black, the highest white.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coupling.domain import Drawing
from coupling.errors import ConfigError

_HEIGHT, _WIDTH = 64, 128
"""Size of a drawing, in pixels."""


_AXIS = 0.75
"""Brightness of the line at zero, as a share of the range."""


class Line:
    """A line: the values of a sequence from left to right, the highest at the top, black on white.

    Where several values share a column of pixels, the line covers all of them. A gray line marks zero if it lies
    within the range. Sequences are (n,) or (1, n).
    """

    def __call__(self, samples: Tensor, range: tuple[float, float]) -> Tensor:
        """(B, n) or (B, 1, n) -> (B, 1, 64, 128); raises :class:`ConfigError` for other shapes."""
        values = _sequences(samples, "line").float()
        last = values.shape[1] - 1
        edges = torch.linspace(0, last, _WIDTH + 1, device=samples.device)
        left, right = edges[:-1, None], edges[1:, None]
        # A column shows the line from its left edge to its right one, with the values between: neighbours meet.
        between = left.ceil() + torch.arange(last // _WIDTH + 1, device=samples.device)
        places = torch.cat([left, between.minimum(right), right], 1)
        before = places.floor().long().clamp(max=last)
        after = (before + 1).clamp(max=last)
        heights = _heights(torch.lerp(values[:, before], values[:, after], places - before), range)
        return _painted(heights.amin(2), heights.amax(2), range)


class Bars:
    """Bars: a bar for each number, from zero, or from the lowest value if zero does not lie in the range.

    Samples are rows of numbers, (n,) or (1, n).
    """

    def __call__(self, samples: Tensor, range: tuple[float, float]) -> Tensor:
        """(B, n) or (B, 1, n) -> (B, 1, 64, about 128 or n); raises :class:`ConfigError` for other shapes."""
        heights = _heights(_sequences(samples, "bars"), range)
        zero = _heights(torch.tensor([[_origin(range)]], device=samples.device), range)
        wide = max(2, _WIDTH // heights.shape[1])
        pictures = _painted(heights.minimum(zero), heights.maximum(zero), range)
        pictures = pictures.repeat_interleave(wide, 3)
        pictures[..., wide - 1 :: wide] = range[1]  # a gap between bars
        return pictures


class HeatMap:
    """Colours for the values of a matrix (h, w), the first row at the top: black, purple, red, yellow, white.

    A value is one pixel, or a rectangle of them, so that the picture of a small matrix is about 64 pixels high and 128
    wide.
    """

    def __call__(self, samples: Tensor, range: tuple[float, float]) -> Tensor:
        """(B, h, w) -> (B, 3, height, width); raises :class:`ConfigError` for other shapes."""
        if samples.dim() != 3:
            raise ConfigError(f"heat-map draws samples of shape (h, w), not {tuple(samples.shape[1:])}")
        tall, wide = max(1, _HEIGHT // samples.shape[1]), max(1, _WIDTH // samples.shape[2])
        pictures = false_colours(samples[:, None], range)
        return pictures.repeat_interleave(tall, 2).repeat_interleave(wide, 3)


def default_drawing(shape: tuple[int, ...]) -> tuple[str, Drawing] | None:
    """The drawing of a domain that names none, with its name; None: samples of this shape are not drawn.

    (n,) and (1, n) are drawn as a line, other (h, w) as a heat map.
    """
    if len(shape) == 1 or (len(shape) == 2 and shape[0] == 1):
        return "line", Line()
    return ("heat-map", HeatMap()) if len(shape) == 2 else None


def false_colours(images: Tensor, range: tuple[float, float]) -> Tensor:
    """(B, 1, H, W) -> (B, 3, H, W), brightness rising with the value; the range stays."""
    low, high = range
    stops = torch.tensor(_STOPS, dtype=images.dtype, device=images.device)
    place = ((images - low) / (high - low)).nan_to_num(0).clamp(0, 1) * (len(stops) - 1)
    below = place.floor().clamp(max=len(stops) - 2).long()
    colours = torch.lerp(stops[below], stops[below + 1], (place - below).unsqueeze(-1))  # (B, 1, H, W, 3)
    return (low + (high - low) * colours.squeeze(1).permute(0, 3, 1, 2)).clamp(low, high)


_STOPS = (
    (0.0, 0.0, 0.0),
    (0.18, 0.09, 0.40),
    (0.55, 0.14, 0.47),
    (0.90, 0.32, 0.28),
    (0.98, 0.67, 0.25),
    (1.0, 1.0, 0.85),
)
"""Red, green and blue at equal steps of the range."""


def _sequences(samples: Tensor, name: str) -> Tensor:
    """(B, n) of (B, n) or (B, 1, n)."""
    if samples.dim() == 2 or (samples.dim() == 3 and samples.shape[1] == 1):
        return samples.flatten(1)
    raise ConfigError(f"{name} draws samples of shape (n,) or (1, n), not {tuple(samples.shape[1:])}")


def _origin(range: tuple[float, float]) -> float:
    """Zero, or the lowest value if zero does not lie in the range."""
    return 0.0 if range[0] <= 0 <= range[1] else range[0]


def _heights(values: Tensor, range: tuple[float, float]) -> Tensor:
    """The row of pixels of each value, from 0 at the bottom."""
    low, high = range
    share = ((values.float() - low) / (high - low)).nan_to_num(0).clamp(0, 1)
    return (share * (_HEIGHT - 1)).round()


def _painted(lowest: Tensor, highest: Tensor, range: tuple[float, float]) -> Tensor:
    """Pictures (B, 1, 64, width) that are black from ``lowest`` to ``highest``, (B, width) rows from the bottom."""
    low, high = range
    rows = torch.arange(_HEIGHT - 1, -1, -1, device=lowest.device)[:, None]
    pictures = torch.full((len(lowest), _HEIGHT, lowest.shape[1]), high, device=lowest.device)
    if low < 0 < high:
        axis = int(_heights(torch.zeros(1), range))
        pictures[:, _HEIGHT - 1 - axis] = low + (high - low) * _AXIS
    inside = (rows >= lowest[:, None]) & (rows <= highest[:, None])
    return pictures.masked_fill(inside, low)[:, None]
