"""Distances between the distributions of generated and real samples, and their diversity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.errors import ConfigError
from coupling.metrics import distances
from coupling.metrics.collapse import relative_diversity
from coupling.metrics.distribution import VALUE, Count, DistributionMetric, Domains, FeatureName
from coupling.system.seeds import torch_generator


class FrechetDistance(DistributionMetric):
    """Fréchet distance of generated to real samples on features; 0: equal means and covariances.

    With Inception's features it is known as FID. Only values of the same feature network and number of samples can be
    compared. It is biased: compare it with ``/real``, the distance of as many other real samples, and not with 0.
    """

    kind = "frechet-distance"
    better = "lower"
    range = (0.0, math.inf)

    def __init__(self, *, domain: Domains, count: Count = 5000, features: FeatureName = "auto") -> None:
        super().__init__(domain, count, features)

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """The distance."""
        return {VALUE: distances.frechet(torch.cat(list(reference), 1), torch.cat(list(samples), 1))}


class KernelDistance(DistributionMetric):
    """Kernel distance of generated to real samples on features, with the cubic kernel; 0: alike.

    With Inception's features it is known as KID. It is unbiased and computed over all pairs of samples: for a perfect
    model, and for ``/real``, its mean is 0 for any number of samples.
    """

    kind = "kernel-distance"
    better = "lower"

    def __init__(self, *, domain: Domains, count: Count = 5000, features: FeatureName = "auto") -> None:
        super().__init__(domain, count, features)

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """The distance."""
        return {VALUE: distances.kernel(torch.cat(list(reference), 1), torch.cat(list(samples), 1))}


class PrecisionRecall(DistributionMetric):
    """Harmonic mean of precision (generated samples near real ones) and recall (real samples near generated ones).

    ``/precision`` falls with samples that look unreal, ``/recall`` with kinds of samples that are missing. A sample is
    near a set if it is within the distance of some sample of the set to its k-th neighbour, on features.
    """

    kind = "precision-recall"
    range = (0.0, 1.0)

    def __init__(
        self,
        *,
        domain: Domains,
        count: Count = 5000,
        features: FeatureName = "auto",
        neighbours: Annotated[
            int, Field(ge=1, le=100, description="k: the k-th neighbour's distance is a sample's radius")
        ] = 3,
    ) -> None:
        super().__init__(domain, count, features)
        self.neighbours = neighbours

    def check(self, data: Mapping[str, DomainData]) -> None:
        """There must be more samples than neighbours."""
        super().check(data)
        if self._samples(data) <= self.neighbours:
            raise ConfigError(f"neighbours: {self.neighbours} among {self._samples(data)} samples; give fewer")

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """Precision and recall, and first their harmonic mean."""
        precision, recall = distances.precision_recall(
            torch.cat(list(reference), 1), torch.cat(list(samples), 1), self.neighbours
        )
        both = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return {VALUE: both, "precision": precision, "recall": recall}


class Diversity(DistributionMetric):
    """Mean distance of two generated samples on features, divided by that of two real samples: 1 is equally varied.

    ``/duplicates``: share of samples whose nearest neighbour is as near as that of the nearest hundredth of real
    samples; 0.01 for real samples, more if the model generates the same sample again and again.
    """

    kind = "diversity"
    range = (0.0, math.inf)

    def __init__(self, *, domain: Domains, count: Count = 5000, features: FeatureName = "auto") -> None:
        super().__init__(domain, count, features)

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """The ratio, and the share of duplicates."""
        real, drawn = torch.cat(list(reference), 1), torch.cat(list(samples), 1)
        near = distances.neighbour_distances(real).quantile(0.01)
        return {
            VALUE: relative_diversity(real, drawn),
            "duplicates": (distances.neighbour_distances(drawn) <= near).double().mean().item(),
        }


class SlicedWasserstein(DistributionMetric):
    """Sliced Wasserstein distance of generated to real samples, from their projections onto random directions.

    By default it compares the numbers themselves: pixels, as shares of their range. It depends on brightness, colour
    and position, and little on what an image shows; it needs no network and no label.
    """

    kind = "sliced-wasserstein"
    better = "lower"
    range = (0.0, math.inf)
    needs_spread = False
    widest = 1_000_000
    scaled = False

    def __init__(
        self,
        *,
        domain: Domains,
        count: Count = 5000,
        features: FeatureName = "pixels",
        directions: Annotated[int, Field(ge=1, le=10_000, description="number of random directions")] = 512,
    ) -> None:
        super().__init__(domain, count, features)
        self.directions = directions
        self._drawn: dict[str, Tensor] = {}

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """The distance; a projection of pairs is the sum of those of the domains."""
        return {
            VALUE: distances.sliced_wasserstein(torch.stack(list(reference)).sum(0), torch.stack(list(samples)).sum(0))
        }

    def reduce(self, domain: str, features: Tensor) -> Tensor:
        """Projections of a portion's features, (B, directions)."""
        if domain not in self._drawn:
            self._draw()
        return features.float() @ self._drawn[domain]

    def _draw(self) -> None:
        sizes = [int(network.record["size"]) for network in self._networks.values()]
        drawn = distances.directions(sum(sizes), self.directions, torch_generator(0, "directions", *sizes))
        self._drawn = dict(zip(self._networks, drawn.split(sizes), strict=True))
