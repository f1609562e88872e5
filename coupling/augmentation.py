"""Random small turns, moves and scalings of images, differentiable and a function of given numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from coupling.domain import Domain
from coupling.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """One affine map a sample, drawn evenly from the given bounds; beyond the border its nearest pixel is repeated."""

    rotate: float
    """Degrees, to either side."""
    shift: float
    """Share of a side, along each axis to either side."""
    scale: float
    """Share by which a sample is enlarged or reduced."""

    NUMBERS: ClassVar[int] = 4
    """Numbers in [0, 1) that a sample needs."""

    def __bool__(self) -> bool:
        return (self.rotate, self.shift, self.scale) != (0, 0, 0)

    def check(self, domains: Iterable[Domain]) -> None:
        """Raise ConfigError where samples are no images (channels, height, width)."""
        for domain in domains:
            if self and len(domain.shape) != 3:
                raise ConfigError(
                    f"rotate, shift, scale: are for images (channels, height, width), and domain '{domain.name}' has "
                    f"samples of shape {domain.shape}; give 0 for each"
                )

    def __call__(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Change ``images`` (B, C, H, W) by ``numbers`` (B, 4) in [0, 1); .5 everywhere leaves them as they are."""
        signed = numbers.to(images) * 2 - 1
        angle = signed[:, 0] * math.radians(self.rotate)
        size = 1 + signed[:, 1] * self.scale
        moved = signed[:, 2:] * 2 * self.shift  # the grid's sides are 2 long
        height, width = images.shape[2:]
        cosine, sine = angle.cos() / size, angle.sin() / size
        rows = [
            torch.stack([cosine, -sine * height / width, moved[:, 0]], 1),
            torch.stack([sine * width / height, cosine, moved[:, 1]], 1),
        ]
        places = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return F.grid_sample(images, places, padding_mode="border", align_corners=False)
