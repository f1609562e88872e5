"""The appearance of grey digits: one or three channels, values from 0 or from -1 to 1.

Domains that share their discriminators' first layers must agree in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

Mode = Annotated[Literal["gray", "rgb"], Field(description="1 channel, or 3 equal ones")]
Scale = Annotated[
    Literal["unit", "signed"], Field(description="unit: values from 0 to 1; signed: from -1 to 1, as colour images")
]


@dataclass(frozen=True)
class Appearance:
    """Channels and range of a data set's samples."""

    mode: Literal["gray", "rgb"]
    scale: Literal["unit", "signed"]

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.mode == "gray" else 3

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return (0.0, 1.0) if self.scale == "unit" else (-1.0, 1.0)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [0, 1] -> (B, channels, H, W) in the range."""
        shown = images.expand(-1, self.channels, -1, -1)
        return shown.clone() if self.scale == "unit" else shown * 2 - 1

    def __str__(self) -> str:
        return f"{self.mode} {self.scale}"
