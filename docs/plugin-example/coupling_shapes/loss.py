"""A loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from coupling import GeneratorHalf, Loss, PerDomain


class Smoothness(Loss):
    """Total variation of generated images: the mean difference of neighbouring pixels."""

    def __init__(self, *, weight: Annotated[float, Field(ge=0, description="of this term")] = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """A scalar for each domain."""
        return {domain: self.weight * variation(images) for domain, images in half.fake.items()}


def variation(images: Tensor) -> Tensor:
    """(B, C, H, W) to a scalar."""
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
