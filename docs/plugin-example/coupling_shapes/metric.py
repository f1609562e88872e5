"""A metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling import ConfigError, DomainData, Evaluation, Measured, Metric, nearest


class CentreDistance(Metric):
    """Pixels between the centres of brightness of corresponding samples of two domains."""

    better = "lower"
    range = (0.0, math.inf)

    def __init__(
        self,
        *,
        from_: Annotated[str, Field(description="one domain")],
        to: Annotated[str, Field(description="another domain")],
        count: Annotated[int, Field(ge=1, description="number of pairs")] = 1000,
    ) -> None:
        self.domains = (from_, to)
        self.count = count

    def check(self, data: Mapping[str, DomainData]) -> None:
        """Both domains must exist."""
        for key, domain in zip(("from", "to"), self.domains, strict=True):
            if domain not in data:
                raise ConfigError(f"{key}: no domain is called '{domain}'; {nearest(domain, data)}")

    def measure(self, evaluation: Evaluation) -> Measured:
        """The mean distance; that of unrelated samples is the floor."""
        samples = evaluation.model.sample(self.count, seed=evaluation.seed, domains=self.domains)
        one, other = (centres(samples[domain]) for domain in self.domains)
        return Measured(distance(one, other), floors={"unrelated": distance(one, other.roll(1, 0))})


def centres(images: Tensor) -> Tensor:
    """(B, C, H, W) in [0, 1] to (B, 2): row and column of the centre of brightness, in pixels."""
    light = images.sum(1)
    light = light / light.sum((1, 2), keepdim=True).clamp(min=1e-6)
    rows, columns = (torch.arange(n, dtype=light.dtype) for n in light.shape[1:])
    return torch.stack([(light.sum(2) * rows).sum(1), (light.sum(1) * columns).sum(1)], 1)


def distance(one: Tensor, other: Tensor) -> float:
    """Mean distance of points, each (B, 2)."""
    return float((one - other).norm(dim=1).mean())
