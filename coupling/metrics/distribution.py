"""The base of metrics that compare the distribution of generated samples with that of real ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from coupling.metrics.metric import Evaluation, Metric, check_finite
from coupling.runs.measured import Measured, Undefined
from coupling.runs.metrics_log import MetricName
from coupling.system.seeds import derive_seed
from coupling.system.terminal import print_line

Domains = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(
        min_length=1,
        description="a domain, or [several]: the joint distribution of their pairs",
        json_schema_extra={"type": ["string", "array"]},
    ),
]


Count = Annotated[
    int, Field(ge=2, description="generated samples, and as many real ones; at most half of the domain's samples")
]


FeatureName = Annotated[
    str,
    Field(
        description="what samples are compared by: classes (a classifier trained on the domain's own labels or "
        "attributes), random (fixed random convolutions), auto (classes where there are some, else random), pixels, "
        "inception (that of FID, with your file of its weights), an .onnx file, or module:attribute of installed code"
    ),
]


_PORTION = 500


Portion = dict[str, Tensor]
"""Samples by domain, (B, *shape) each, corresponding."""


VALUE = "value"
"""Key of a metric's own value among what :meth:`DistributionMetric.compare` answers."""


class DistributionMetric(Metric):
    """A comparison of generated with real samples.

    As many real samples as generated ones are the reference. As many others stand for a perfect model: compared in the
    same way, they give the value ``/real``. With several domains the features of a pair's samples are one vector, the
    reference is true pairs, and ``/unrelated`` compares generated samples of different codes.

    Features of the package's own networks are shifted and scaled, for each domain, so that the reference has mean 0 and
    mean variance 1: distances that depend on a scale then mean the same for every domain, and no domain outweighs
    another in a pair.
    """

    kind: str
    """Name under which the metric is registered."""
    widest = WIDEST
    """Maximum size of a feature vector."""
    scaled = True
    """Whether features of the package's own networks are scaled."""
    needs_spread = True
    """Whether there is no value if all real samples have the same features."""

    def __init__(self, domain: list[str], count: int, features: str) -> None:
        self.domains = domain
        self.count = count
        self.features = features
        self._networks: dict[str, Features] = {}
        self._reference: list[Tensor] = []
        self._scales: dict[str, tuple[Tensor, Tensor]] = {}
        self._real: dict[str, float] = {}
        """Values of other real samples, as :meth:`compare` answers them."""
        self._undefined: str | None = None
        """Why there is no value for any model: the real samples of a domain do not differ."""

    def check(self, data: Mapping[str, DomainData]) -> None:
        """The domains must exist, with enough samples, and so must the feature network."""
        for domain in self.domains:
            check_domain_name("domain", domain, data)
            check_features(self.features, data[domain])
        if len(set(self.domains)) < len(self.domains):
            raise ConfigError(f"domain: {self.domains} names a domain twice")
        if len(data[self.domains[0]]) < 4:
            raise ConfigError(f"domain: '{self.domains[0]}' has fewer than 4 samples")

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """Open the feature network, which may have to be trained, and compute the features of real samples."""
        first = data[self.domains[0]]
        count = self._samples(data)
        if count < self.count:
            print_line(
                f"{MetricName(self.kind, tuple(self.domains))}: count is {self.count:,}, but '{self.domains[0]}' has "
                f"{len(first):,} samples and half of them are compared with the other half: {count:,} are used"
            )
        if len(self.domains) > 1 and self._pairs(data, np.arange(1)) is None:
            raise ConfigError(
                f"domain: true pairs of {', '.join(self.domains)} are unknown, so there is nothing to compare the "
                "joint distribution with: their data are of different sources; name one domain"
            )
        self._networks = {domain: open_features(self.features, data[domain], self.widest) for domain in self.domains}
        order = np.random.default_rng(derive_seed(seed, "real samples", first.pool.key)).permutation(len(first))
        self._scales = {}
        reference = self.features_of(self._read_real(data, np.sort(order[:count])))
        self._undefined = self._find_undefined(reference)
        if self._undefined is not None:
            return
        if self.scaled:
            self._scales = {
                domain: distances.centre_and_spread(made)
                for domain, made in zip(self.domains, reference, strict=True)
                if self._networks[domain].scaled
            }
        self._reference = self._rescale(reference)
        others = self._rescale(self.features_of(self._read_real(data, np.sort(order[count : 2 * count]))))
        self._real = self.compare(self._reference, others)

    def measure(self, evaluation: Evaluation) -> Measured:
        """The value, with that of real samples, and with several domains that of unrelated pairs."""
        if not self._networks:
            self.prepare(evaluation.data, evaluation.seed)
        count = self._samples(evaluation.data)
        if self._undefined is not None:
            self._note(evaluation, count)
            return Measured(Undefined(self._undefined))
        z = evaluation.model.latent(count, derive_seed(evaluation.seed, "distribution"))
        portions = (evaluation.generate(part, self.domains) for part in z.split(_PORTION))
        drawn = self.features_of(portions)
        for domain, made in zip(self.domains, drawn, strict=True):
            check_finite(made, f"features of generated samples of '{domain}'")
        drawn = self._rescale(drawn)
        values = self.compare(self._reference, drawn)
        unrelated: dict[str, float] = {}
        if len(self.domains) > 1:
            moved = [made.roll(number, 0) for number, made in enumerate(drawn)]
            unrelated = self.compare(self._reference, moved)
        self._note(evaluation, count)
        found = {
            key: Measured(value, {"unrelated": unrelated[key]} if unrelated else {}, {"real": self._real[key]})
            for key, value in values.items()
        }
        return replace(found.pop(VALUE), details=found)

    def _find_undefined(self, reference: Sequence[Tensor]) -> str | None:
        """Why nothing can be compared with real samples of these features; None if it can."""
        for domain, made in zip(self.domains, reference, strict=True):
            if not torch.isfinite(made).all():
                return f"features of real samples of '{domain}' are not finite numbers"
            if self.needs_spread and distances.is_constant(made):
                return f"real samples of '{domain}' do not differ in their features"
        return None

    def _note(self, evaluation: Evaluation, count: int) -> None:
        one = len(self.domains) == 1
        evaluation.note(
            samples=count,
            reference=f"{count} of the domain's own samples"
            if one
            else f"true pairs of {count} samples of '{self.domains[0]}'",
            features={
                domain: {**network.record, "scaled": domain in self._scales}
                for domain, network in self._networks.items()
            },
        )

    @abstractmethod
    def compare(self, reference: Sequence[Tensor], samples: Sequence[Tensor]) -> dict[str, float]:
        """Values from the features of each domain, (n, size) each: the metric's own as VALUE, details by name."""

    def features_of(self, portions: Iterator[Portion]) -> list[Tensor]:
        """Features of corresponding samples, (n, size) for each domain."""
        made: dict[str, list[Tensor]] = {domain: [] for domain in self.domains}
        for portion in portions:
            for domain in self.domains:
                features = self._networks[domain].extract(portion[domain])
                made[domain].append(self.reduce(domain, features))
        return [torch.cat(parts) for parts in made.values()]

    def reduce(self, domain: str, features: Tensor) -> Tensor:
        """The part of a portion's features that is kept; all of them by default."""
        return features

    def _rescale(self, features: Sequence[Tensor]) -> list[Tensor]:
        rescaled = []
        for domain, made in zip(self.domains, features, strict=True):
            if domain in self._scales:
                middle, scale = self._scales[domain]
                made = ((made - middle) / scale).float()
            rescaled.append(made)
        return rescaled

    def _samples(self, data: Mapping[str, DomainData]) -> int:
        return min(self.count, len(data[self.domains[0]]) // 2)

    def _pairs(self, data: Mapping[str, DomainData], numbers: Numbers) -> Portion | None:
        """Real samples of the first domain, and their counterparts in the others; None if they are unknown."""
        first, *others = self.domains
        portion: Portion = {first: data[first].read(numbers)}
        for domain in others:
            pairs = true_pairs(data[first], data[domain], numbers)
            if pairs is None:
                return None
            portion[domain] = pairs[1]
        return portion

    def _read_real(self, data: Mapping[str, DomainData], numbers: Numbers) -> Iterator[Portion]:
        for start in range(0, len(numbers), _PORTION):
            portion = self._pairs(data, numbers[start : start + _PORTION])
            assert portion is not None  # prepare has rejected domains without true pairs
            yield portion
