"""A data set."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from coupling import Dataset

SIDE = 16


class Shapes(Dataset):
    """White discs or squares anywhere on black, 16x16 grey."""

    shape = (1, SIDE, SIDE)
    range = (0.0, 1.0)

    def __init__(
        self,
        *,
        kind: Annotated[Literal["disc", "square"], Field(description="what is drawn")],
        count: Annotated[int, Field(ge=1, description="number of samples")] = 10_000,
    ) -> None:
        self.kind = kind
        self.count = count
        self.source = f"shapes/{kind}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        """Sample ``index``, (1, 16, 16) in [0, 1]: the same at every call."""
        random = np.random.default_rng([self.kind == "disc", index])
        (y, x), radius = random.uniform(4, SIDE - 5, size=2), random.uniform(2, 4)
        dy, dx = np.abs(np.mgrid[:SIDE, :SIDE] - np.array([y, x])[:, None, None])
        distance = np.hypot(dy, dx) if self.kind == "disc" else np.maximum(dy, dx)
        return torch.from_numpy(np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32))[None]
