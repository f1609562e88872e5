"""Image operators that carry one domain into another, each called as ``transform(images, range)``.

``images`` is a float batch (B, C, H, W) with values in ``range``, (lowest, highest); the result is a
new batch with values in the same range.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from coupling.data.drawings import false_colours
from coupling.errors import ConfigError


class Edges:
    """Edges: 3x3 grey dilation minus the image, channel by channel (the paper's Task A)."""

    def __call__(self, images: Tensor, range: tuple[float, float]) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); flat regions become ``range``'s lowest value."""
        low, high = range
        # Max pooling pads with minus infinity, so that a border adds nothing to the dilation.
        steps = F.max_pool2d(images, kernel_size=3, stride=1, padding=1) - images
        return (low + steps).clamp(low, high)  # rounding may have carried it past the range


class Negative:
    """Negative: lowest plus highest value minus the image (the paper's Task B)."""

    def __call__(self, images: Tensor, range: tuple[float, float]) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); 1 - x for the range [0, 1], -x for [-1, 1]."""
        low, high = range
        return (low + high - images).clamp(low, high)  # rounding may have carried it past the range


class Rotate90:
    """Rotation in the plane by quarter turns, counter-clockwise."""

    def __init__(
        self, *, turns: Annotated[int, Field(ge=1, le=3, description="quarter turns, counter-clockwise")] = 1
    ) -> None:
        self.turns = turns

    def __call__(self, images: Tensor, range: tuple[float, float]) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), or (B, C, W, H) for an odd number of turns; the range stays."""
        return torch.rot90(images, self.turns, dims=(2, 3))


class FalseColours:
    """Colours for the values of one channel, as maps show heights: from black over purple, red and yellow to white.

    For people to see small differences. A data set whose `drawn_by` names it is drawn so.
    """

    def __call__(self, images: Tensor, range: tuple[float, float]) -> Tensor:
        """(B, 1, H, W) -> (B, 3, H, W), brightness rising with the value; the range stays."""
        if images.shape[1] != 1:
            raise ConfigError(f"false-colours takes images of one channel, not of {images.shape[1]}")
        return false_colours(images, range)
