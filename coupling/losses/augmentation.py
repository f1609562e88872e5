"""Small random affine maps of images, differentiable and determined by given numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from coupling.domain import Domain
from coupling.errors import ConfigError

Rotate = Annotated[float, Field(ge=0, le=180, description="augmentation: largest rotation, in degrees")]


Shift = Annotated[float, Field(ge=0, le=0.5, description="augmentation: largest shift, as a share of the side")]


Scale = Annotated[float, Field(ge=0, lt=1, description="augmentation: largest change of size, as a share")]


Shear = Annotated[float, Field(ge=0, le=1, description="augmentation: largest slant, as a share of the height")]


Stretch = Annotated[
    float, Field(ge=0, le=1, description="augmentation: largest change of the aspect ratio, as a share")
]


@dataclass(frozen=True)
class Augmentation:
    """One affine map for each sample, uniform within the bounds; outside the image the nearest border pixel repeats."""

    rotate: float
    """Largest rotation to either side, in degrees."""
    shift: float
    """Largest shift along each axis to either side, as a share of the side."""
    scale: float
    """Largest factor less 1 by which a sample is enlarged or reduced."""
    shear: float = 0.0
    """Largest shift of the top against the bottom to either side, as a share of the height."""
    stretch: float = 0.0
    """Largest share by which the width grows while the height shrinks by the same factor, or the reverse."""

    @property
    def numbers(self) -> int:
        """How many numbers in [0, 1) each sample needs."""
        return 6 if self.shear or self.stretch else 4

    def __bool__(self) -> bool:
        return any((self.rotate, self.shift, self.scale, self.shear, self.stretch))

    def check(self, domains: Iterable[Domain]) -> None:
        """Raise :class:`ConfigError` if samples that are to be augmented are not (channels, height, width)."""
        for domain in domains:
            if self and len(domain.shape) != 3:
                raise ConfigError(
                    "rotate, shift, scale, shear, stretch: need images (channels, height, width), but domain "
                    f"'{domain.name}' has samples of shape {domain.shape}; set each of them to 0"
                )

    def __call__(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Map images (B, C, H, W) by ``numbers``, (B, :attr:`numbers`) in [0, 1); numbers of 0.5 change nothing."""
        signed = numbers.to(images) * 2 - 1
        angle = signed[:, 0] * math.radians(self.rotate)
        size = 1 + signed[:, 1] * self.scale
        moved = signed[:, 2:4] * 2 * self.shift  # the grid's sides are 2 long
        height, width = images.shape[2:]
        cosine, sine = angle.cos() / size, angle.sin() / size
        turn = _matrices(cosine, -sine * height / width, sine * width / height, cosine)
        if self.numbers > 4:
            wide = (signed[:, 5] * math.log1p(self.stretch)).exp()
            slant = signed[:, 4] * self.shear * height / width
            turn = turn @ _matrices(1 / wide, slant, torch.zeros_like(wide), wide)
        places = F.affine_grid(torch.cat([turn, moved[:, :, None]], 2), list(images.shape), align_corners=False)
        return F.grid_sample(images, places, padding_mode="border", align_corners=False)


def _matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """(B,) each to (B, 2, 2): [[a, b], [c, d]]."""
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)
