"""The data set that components are checked on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.data.dataset import Dataset

_COUNT = 64


class Noise(Dataset):
    """Blurred noise of three classes, in memory."""

    def __init__(
        self,
        *,
        shape: Annotated[list[int], Field(description="shape of a sample")] = [1, 16, 16],  # noqa: B006  (never changed)
        range: Annotated[tuple[float, float], Field(description="lowest and highest value")] = (0.0, 1.0),
        seed: Annotated[int, Field(description="seed of the noise")] = 0,
    ) -> None:
        self.shape, self.range, self.seed = tuple(shape), range, seed
        self.source = f"conformance:{shape}:{range}:{seed}"
        noise = torch.rand(_COUNT, *shape, generator=torch.Generator().manual_seed(seed))
        blurred = (noise + noise.roll(1, -1)) / 2
        self.samples = range[0] + (range[1] - range[0]) * blurred

    @property
    def labels(self) -> Tensor:
        """0, 1, 2, 0, ..."""
        return torch.arange(len(self)) % 3

    def attributes(self) -> Mapping[str, Tensor]:
        """``odd``: whether the number of a sample is odd."""
        return {"odd": torch.arange(len(self)) % 2}

    def held_out(self) -> Dataset | None:
        """Noise of another seed."""
        return None if self.seed else Noise(shape=list(self.shape), range=self.range, seed=1)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:
        return self.samples[index]
