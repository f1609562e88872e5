"""Random small affine changes of images, differentiable and a function of given numbers."""

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

Rotate = Annotated[float, Field(ge=0, le=180, description="augmentation: turned by up to so many degrees")]


Shift = Annotated[float, Field(ge=0, le=0.5, description="augmentation: moved by up to this share of a side")]


Scale = Annotated[float, Field(ge=0, lt=1, description="augmentation: enlarged or reduced by up to this share")]


Shear = Annotated[float, Field(ge=0, le=1, description="augmentation: slanted by up to this share of the height")]


Stretch = Annotated[float, Field(ge=0, le=1, description="augmentation: made wider and lower, or back, by up to this")]


@dataclass(frozen=True)
class Augmentation:
    """One affine map a sample, drawn evenly from the given bounds; beyond the border its nearest pixel is repeated."""

    rotate: float
    """Degrees, to either side."""
    shift: float
    """Share of a side, along each axis to either side."""
    scale: float
    """Share by which a sample is enlarged or reduced."""
    shear: float = 0.0
    """Share of the height by which its top is moved against its bottom, to either side."""
    stretch: float = 0.0
    """Share by which the width grows while the height shrinks by the same factor, or the other way round."""

    @property
    def numbers(self) -> int:
        """Numbers in [0, 1) that a sample needs."""
        return 6 if self.shear or self.stretch else 4

    def __bool__(self) -> bool:
        return any((self.rotate, self.shift, self.scale, self.shear, self.stretch))

    def check(self, domains: Iterable[Domain]) -> None:
        """Raise ConfigError where samples are no images (channels, height, width)."""
        for domain in domains:
            if self and len(domain.shape) != 3:
                raise ConfigError(
                    "rotate, shift, scale, shear, stretch: are for images (channels, height, width), and domain "
                    f"'{domain.name}' has samples of shape {domain.shape}; give 0 for each"
                )

    def __call__(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Change ``images`` (B, C, H, W) by (B, :attr:`numbers`) in [0, 1); .5 everywhere leaves them as they are."""
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
