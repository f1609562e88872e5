"""A transform."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor


class Soften:
    """Mean over a square neighbourhood."""

    def __init__(self, *, radius: Annotated[int, Field(ge=1, le=4, description="pixels on each side")] = 1) -> None:
        self.radius = radius

    def __call__(self, images: Tensor, range: tuple[float, float]) -> Tensor:
        """(B, C, H, W) in ``range`` to the same."""
        size = 2 * self.radius + 1
        softened = F.avg_pool2d(images, size, stride=1, padding=self.radius, count_include_pad=False)
        return softened.clamp(*range)
