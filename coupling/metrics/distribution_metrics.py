"""Distances between the distributions of generated and real samples, and their diversity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.errors import ConfigError
from coupling.metrics import distances
from coupling.metrics.distribution import VALUE, Count, DistributionMetric, Domains, FeatureName
from coupling.system.seeds import torch_generator


class FrechetDistance(DistributionMetric):
    """Fréchet distance of generated to real samples on features; 0: equal means and covariances.

    With Inception's features it is what is called FID; with others it is not, and only values on one network and one
    number of samples can be compared. Biased: compare it with ``/real``, the distance of as many other real samples,
    and not with 0.
    """

    kind = "frechet-distance"
    better = "lower"

    def __init__(self, *, domain: Domains, count: Count = 5000, features: FeatureName = "auto") -> None:
        super().__init__(domain, count, features)

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """The distance."""
        return {VALUE: distances.frechet(torch.cat(list(reference), 1), torch.cat(list(samples), 1))}


class KernelDistance(DistributionMetric):
    """Kernel distance of generated to real samples on features, with the cubic kernel; 0: alike.

    With Inception's features it is what is called KID. Unbiased, over all pairs of samples: 0 in the mean for a model
    without fault, and so for ``/real``, whatever the number of samples.
    """

    kind = "kernel-distance"
    better = "lower"

    def __init__(self, *, domain: Domains, count: Count = 5000, features: FeatureName = "auto") -> None:
        super().__init__(domain, count, features)

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """The distance."""
        return {VALUE: distances.kernel(torch.cat(list(reference), 1), torch.cat(list(samples), 1))}


class PrecisionRecall(DistributionMetric):
    """How many generated samples are near real ones, how many real ones near generated ones: their harmonic mean.

    ``/precision`` falls with samples that look like none, ``/recall`` with kinds of samples that are missing. Near is
    within the distance of a sample to its k-th neighbour, on features.
    """

    kind = "precision-recall"

    def __init__(
        self,
        *,
        domain: Domains,
        count: Count = 5000,
        features: FeatureName = "auto",
        neighbours: Annotated[int, Field(ge=1, le=100, description="k: whose distance is a sample's radius")] = 3,
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
    """Mean distance of two generated samples on features, as a share of that of two real ones: 1 is as varied.

    ``/duplicates``: share of samples that have another as near as only one in a hundred real samples has; 0.01 of
    real samples, more where the model draws the same again and again.
    """

    kind = "diversity"

    def __init__(self, *, domain: Domains, count: Count = 5000, features: FeatureName = "auto") -> None:
        super().__init__(domain, count, features)

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """The share, and that of duplicates."""
        real, drawn = torch.cat(list(reference), 1), torch.cat(list(samples), 1)
        near = distances.neighbour_distances(real).quantile(0.01)
        spread = distances.mean_distance(real)
        return {
            VALUE: distances.mean_distance(drawn) / spread if spread else 0.0,
            "duplicates": (distances.neighbour_distances(drawn) <= near).double().mean().item(),
        }


class SlicedWasserstein(DistributionMetric):
    """Sliced Wasserstein distance of generated to real samples: of their projections onto random directions.

    On the numbers themselves by default: pixels, in units of their range. It sees brightness, colour and place, and
    little of what is shown; it needs no network and no label.
    """

    kind = "sliced-wasserstein"
    better = "lower"
    widest = 1_000_000
    scaled = False

    def __init__(
        self,
        *,
        domain: Domains,
        count: Count = 5000,
        features: FeatureName = "pixels",
        directions: Annotated[int, Field(ge=1, le=10_000, description="onto which samples are projected")] = 512,
    ) -> None:
        super().__init__(domain, count, features)
        self.directions = directions
        self._drawn: dict[str, Tensor] = {}

    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """The distance. A joint projection is the sum of the domains' own."""
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
