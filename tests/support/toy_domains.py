"""A plugin for tests of metrics: pictures of which all is known, and that a probe learns within seconds.

``marked`` and ``unmarked`` are two populations, of different sources; ``color`` and ``depth`` are views of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from coupling import Dataset, hookimpl
from coupling.api import parse_config
from coupling.data.domain_data import DomainData, open_domains
from coupling.plugins import Plugins
from tests.support import tiny_plugin as tiny

SIDE = 8


class Squares(Dataset):
    """A square in one of four corners, dim or bright, 8x8: its corner is the label."""

    def __init__(
        self,
        *,
        kind: Annotated[
            Literal["plain", "marked", "unmarked", "color", "depth", "blank"], Field(description="what is drawn")
        ] = "plain",
        count: Annotated[int, Field(ge=1, description="samples")] = 300,
        pool: Annotated[str, Field(description="names the samples; equal pools are one source")] = "pool",
        test: Annotated[int, Field(ge=0, description="samples set apart for testing")] = 0,
        grouped: Annotated[int, Field(ge=1, description="samples in a group")] = 1,
        side: Annotated[int, Field(ge=8, description="height and width")] = SIDE,
        grain: Annotated[float, Field(ge=0, lt=0.1, description="noise, so that no two samples are the same")] = 0.0,
    ) -> None:
        self.grain = grain
        self.kind, self.count, self.pool, self.test, self.grouped = kind, count, pool, test, grouped
        self.shape = (3 if kind == "color" else 1, side, side)
        self.range = (0.0, 1.0) if kind == "depth" else (-1.0, 1.0)
        marks = f"{kind}/" if kind in ("marked", "unmarked") else ""
        self.source = f"squares:{marks}{pool}"
        random = np.random.default_rng(sum(map(ord, pool)))
        self.corner = torch.from_numpy(random.integers(0, 4, count))
        self.bright = torch.from_numpy(random.integers(0, 2, count))

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> Tensor | None:
        return None if self.kind in ("color", "depth", "blank") else self.corner

    def attributes(self) -> Mapping[str, Tensor]:
        if self.kind not in ("marked", "unmarked"):
            return {}
        mark = torch.full((self.count,), int(self.kind == "marked"))
        return {"corner": self.corner, "brightness": self.bright, "mark": mark, "number": torch.zeros_like(mark)}

    def groups(self) -> Tensor | None:
        return None if self.grouped == 1 else torch.arange(self.count) // self.grouped

    def held_out(self) -> Dataset | None:
        if not self.test:
            return None
        return Squares(kind=self.kind, count=self.test, pool=f"{self.pool}+test", side=self.shape[1])

    def counterparts(self, other: Dataset, indices: Sequence[int]) -> Tensor | None:
        if isinstance(other, Squares) and {self.kind, other.kind} == {"marked", "unmarked"}:
            return torch.stack([draw(self.kind, int(other.corner[i]), int(other.bright[i])) for i in indices])
        return super().counterparts(other, indices)

    def __getitem__(self, index: int) -> Tensor:
        picture = draw(self.kind, int(self.corner[index]), int(self.bright[index]), self.shape[1])
        noise = torch.rand(self.shape, generator=torch.Generator().manual_seed(int(index)))
        return picture + self.grain * noise * (1 if self.kind == "blank" else picture.sign().neg())


def draw(kind: str, corner: int, bright: int, side: int = SIDE) -> Tensor:
    """One picture of ``kind``."""
    half = side // 2
    place = slice(half * (corner // 2), half * (corner // 2 + 1)), slice(half * (corner % 2), half * (corner % 2 + 1))
    if kind == "depth":
        picture = torch.ones(1, side, side)
        picture[:, *place] = 0.2 + 0.2 * corner
        return picture
    picture = torch.full((3 if kind == "color" else 1, side, side), -1.0)
    if kind != "blank":
        picture[:, *place] = 0.9 if bright else 0.1
    if kind == "marked":
        picture[:, half - 1 : half + 1, half - 1 : half + 1] = 1.0
    return picture


class Drawn:
    """A model that draws given squares: code z is (corner, brightness) of each domain."""

    def __init__(self, kinds: Mapping[str, str], wrong: float = 0.0, seed: int = 0) -> None:
        """``wrong``: share of pairs whose second sample shows another corner."""
        self.kinds, self.wrong = dict(kinds), wrong
        self.device = torch.device("cpu")
        self.discriminator = None
        self.step = 7

    def latent(self, count: int, seed: int = 0) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        corners, bright = (
            torch.randint(0, 4, (count,), generator=random),
            torch.randint(0, 2, (count,), generator=random),
        )
        other = torch.where(torch.arange(count) < self.wrong * count, (corners + 1) % 4, corners)
        return torch.stack([corners, other, bright], 1).float()

    def generate(self, z: Tensor, domains: Sequence[str] | None = None) -> dict[str, Tensor]:
        places = {name: number for number, name in enumerate(self.kinds)}
        return {
            name: torch.stack([draw(self.kinds[name], int(row[places[name]]), int(row[2])) for row in z])
            for name in domains or self.kinds
        }


def opened(a: Mapping[str, object], b: Mapping[str, object]) -> dict[str, DomainData]:
    """Two domains of squares, ``a`` and ``b``."""
    values = tiny.values()
    values["domains"] = {"a": {"dataset": {"name": "squares", **a}}, "b": {"dataset": {"name": "squares", **b}}}
    return open_domains(parse_config(values, plugins=PLUGINS), PLUGINS.registry)


@hookimpl
def register_datasets(register):
    register("squares", Squares)


PLUGINS = Plugins(("tests.support.tiny_plugin", "tests.support.toy_domains"), entry_points=False)
