"""How near the generated samples are to the real ones as a whole: one domain's, or pairs of several."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.data.held_out import Numbers, true_pairs
from coupling.errors import ConfigError, check_domain_name
from coupling.metrics import distances
from coupling.metrics.features import WIDEST, Features, check_features, open_features
from coupling.metrics.metric import Evaluation, Metric
from coupling.system.seeds import derive_seed, torch_generator
from coupling.system.terminal import print_line

Domains = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1, description="a domain, or [several]: the joint distribution of their pairs"),
]


Count = Annotated[
    int, Field(ge=2, description="generated samples, and as many real ones; at most half of the domain's samples")
]


FeatureName = Annotated[
    str,
    Field(
        description="what samples are compared by: classes (a classifier trained on the domain's own labels or "
        "attributes), random (fixed random convolutions), auto (classes where there are some, else random), pixels, an "
        ".onnx file, or module:attribute of installed code"
    ),
]


_PORTION = 500


Portion = dict[str, Tensor]
"""Samples by domain, (B, *shape) each, corresponding."""


class OfDistribution(Metric):
    """A comparison of generated with real samples.

    As many real samples as generated ones are the reference, and as many others stand for the best model there could
    be: compared in the same way, they give the value ``/real``. With several domains the features of a pair's samples
    are one vector, the reference is true pairs, and ``/unrelated`` compares generated samples of different codes.

    Features of networks of ours are moved and scaled, for each domain, to mean 0 and mean variance 1 of the reference:
    distances that depend on a scale then mean the same for every domain, and none outweighs another in a pair.
    """

    kind: str
    """Name under which the metric is registered."""
    widest = WIDEST
    """Numbers of a feature, at most."""
    scaled = True
    """Whether features of networks of ours are scaled."""

    def __init__(self, domain: list[str], count: int, features: str) -> None:
        self.domains = domain
        self.count = count
        self.features = features
        self._networks: dict[str, Features] = {}
        self._reference: list[Tensor] = []
        self._scales: dict[str, tuple[Tensor, Tensor]] = {}
        self._beside: dict[str, float] = {}

    @property
    def name(self) -> str:
        """Flat name of the value."""
        return "/".join([self.kind, *self.domains])

    def flat_name(self) -> str:
        """``METRIC/DOMAIN...``."""
        return self.name

    def check(self, data: Mapping[str, DomainData]) -> None:
        """The domains must exist, with enough samples, and the feature network."""
        for domain in self.domains:
            check_domain_name("domain", domain, data)
            check_features(self.features, data[domain])
        if len(set(self.domains)) < len(self.domains):
            raise ConfigError(f"domain: {self.domains} names one twice")
        if len(data[self.domains[0]]) < 4:
            raise ConfigError(f"domain: '{self.domains[0]}' has fewer than 4 samples")

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """Open the feature network, which may have to be trained, and take the features of real samples."""
        first = data[self.domains[0]]
        count = self._samples(data)
        if count < self.count:
            print_line(
                f"{self.name}: count is {self.count:,}, and '{self.domains[0]}' has {len(first):,} samples, of which "
                f"half are for real ones to be compared with: {count:,} are taken"
            )
        if len(self.domains) > 1 and self._pairs(data, np.arange(1)) is None:
            raise ConfigError(
                f"domain: nobody knows true pairs of {', '.join(self.domains)}, which the joint distribution is "
                "compared with: their data are of different sources; name one domain"
            )
        self._networks = {domain: open_features(self.features, data[domain], self.widest) for domain in self.domains}
        order = np.random.default_rng(derive_seed(seed, "real samples", first.dataset.source)).permutation(len(first))
        self._scales = {}
        reference = self.features_of(self._real(data, np.sort(order[:count])))
        if self.scaled:
            self._scales = {
                domain: (made.mean(0), made.var(0).mean().sqrt().clamp(min=1e-12))
                for domain, made in zip(self.domains, reference, strict=True)
                if self._networks[domain].scaled
            }
        self._reference = self._rescaled(reference)
        other = self._rescaled(self.features_of(self._real(data, np.sort(order[count : 2 * count]))))
        self._beside = self._named(self.compare(self._reference, other), "/real")

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """The value, that of real samples, and with several domains that of unrelated pairs."""
        if not self._networks:
            self.prepare(evaluation.data, evaluation.seed)
        count = self._samples(evaluation.data)
        z = evaluation.model.latent(count, derive_seed(evaluation.seed, "distribution"))
        portions = (evaluation.model.generate(part, self.domains) for part in z.split(_PORTION))
        drawn = self._rescaled(self.features_of(portions))
        values = self._named(self.compare(self._reference, drawn), "")
        if len(self.domains) > 1:
            moved = list(drawn)
            for number in range(1, len(moved)):
                moved[number] = moved[number].roll(number, 0)
            values |= self._named(self.compare(self._reference, moved), "/unrelated")
        evaluation.note(
            samples=count,
            reference=f"{count} of the domain's own samples"
            if len(self.domains) == 1
            else f"true pairs of {count} samples of '{self.domains[0]}'",
            features={
                domain: {**network.record, "scaled": domain in self._scales}
                for domain, network in self._networks.items()
            },
        )
        return values | self._beside

    @abstractmethod
    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """Values by what follows the metric's name ("" for the metric itself), from features of each domain."""

    def features_of(self, portions: Iterator[Portion]) -> list[Tensor]:
        """Features of corresponding samples, (n, size) for each domain."""
        made: dict[str, list[Tensor]] = {domain: [] for domain in self.domains}
        for portion in portions:
            for domain in self.domains:
                made[domain].append(self.reduced(domain, self._networks[domain].extract(portion[domain])))
        return [torch.cat(parts) for parts in made.values()]

    def reduced(self, domain: str, features: Tensor) -> Tensor:
        """What is kept of a portion's features."""
        return features

    def _rescaled(self, features: Sequence[Tensor]) -> list[Tensor]:
        moved = []
        for domain, made in zip(self.domains, features, strict=True):
            middle, scale = self._scales.get(domain, (0.0, 1.0))
            moved.append((made - middle) / scale)
        return moved

    def _samples(self, data: Mapping[str, DomainData]) -> int:
        return min(self.count, len(data[self.domains[0]]) // 2)

    def _named(self, values: Mapping[str, float], suffix: str) -> dict[str, float]:
        return {f"{self.name}{key}{suffix}": value for key, value in values.items()}

    def _pairs(self, data: Mapping[str, DomainData], numbers: Numbers) -> Portion | None:
        """Real samples of the first domain, and what they are in the others; None where nobody knows."""
        first, *others = self.domains
        portion: Portion = {first: data[first].read(numbers)}
        for domain in others:
            pairs = true_pairs(data[first], data[domain], numbers)
            if pairs is None:
                return None
            portion[domain] = pairs[1]
        return portion

    def _real(self, data: Mapping[str, DomainData], numbers: Numbers) -> Iterator[Portion]:
        for start in range(0, len(numbers), _PORTION):
            portion = self._pairs(data, numbers[start : start + _PORTION])
            assert portion is not None  # else prepare had refused it
            yield portion


class FrechetDistance(OfDistribution):
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
        return {"": distances.frechet(torch.cat(list(reference), 1), torch.cat(list(samples), 1))}


class KernelDistance(OfDistribution):
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
        return {"": distances.kernel(torch.cat(list(reference), 1), torch.cat(list(samples), 1))}


class PrecisionRecall(OfDistribution):
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
        return {"": both, "/precision": precision, "/recall": recall}


class Diversity(OfDistribution):
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
            "": distances.mean_distance(drawn) / spread if spread else 0.0,
            "/duplicates": (distances.neighbour_distances(drawn) <= near).double().mean().item(),
        }


class SlicedWasserstein(OfDistribution):
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
            "": distances.sliced_wasserstein(torch.stack(list(reference)).sum(0), torch.stack(list(samples)).sum(0))
        }

    def reduced(self, domain: str, features: Tensor) -> Tensor:
        """Projections of a portion's features, (B, directions)."""
        if domain not in self._drawn:
            self._draw()
        return features.float() @ self._drawn[domain]

    def _draw(self) -> None:
        sizes = [int(network.record["size"]) for network in self._networks.values()]
        drawn = distances.directions(sum(sizes), self.directions, torch_generator(0, "directions", *sizes))
        self._drawn = dict(zip(self._networks, drawn.split(sizes), strict=True))
