"""A probe that classifies samples, by labels or attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupling.data.domain_data import DomainData
from coupling.data.held_out import Numbers, split
from coupling.errors import DataError
from coupling.metrics.probe import BATCH, Probe, identify, in_quotes, rounded
from coupling.metrics.probe_networks import FEATURES, PORTION, run_in_portions, trunk

Classes: TypeAlias = dict[str, Tensor]
"""Class numbers by head (an attribute, or "class" for labels): {head: (n,) int64}."""


class Classifier(Probe):
    """Classifies samples of some domains of one shape; one output layer has a head for each attribute."""

    def __init__(self, pools: Mapping[str, DomainData], classes: Mapping[str, Mapping[str, Tensor]]) -> None:
        """A classifier that is not trained yet: see :meth:`load_or_train`.

        Args:
            pools: held-out samples by domain; the domains are of one shape.
            classes: classes of all samples of each domain's data set: {domain: {head: (len(dataset),) int64}}, the
                same heads for all domains. Class numbers begin at 0.

        Raises:
            DataError: there are fewer than two classes, or a class number is negative.
        """
        super().__init__(pools, f"probe of {in_quotes(pools)}", list(pools.values()))
        self._targets = {
            name: {head: values[torch.from_numpy(pool.indices)] for head, values in classes[name].items()}
            for name, pool in pools.items()
        }
        self.heads = {
            head: 1 + max(int(self._targets[name][head].max()) for name in pools)
            for head in next(iter(self._targets.values()))
        }
        """Number of classes of each head."""
        for head, count in self.heads.items():
            lowest = min(int(self._targets[name][head].min()) for name in pools)
            if count < 2 or lowest < 0:
                raise DataError(
                    f"{head} of {in_quotes(pools)}: class numbers run from {lowest} to {count - 1}; a probe needs two "
                    "classes or more, numbered from 0"
                )
        self._learned = {name: split(pool)[0] for name, pool in pools.items()}

    def __call__(self, samples: Tensor) -> Classes:
        """Samples (B, *shape) in their domain's range to the most probable class of each head."""
        scores = run_in_portions(self.network, samples).split(list(self.heads.values()), dim=1)
        return {head: part.argmax(1) for head, part in zip(self.heads, scores, strict=True)}

    def features(self, samples: Tensor) -> Tensor:
        """Samples (B, *shape) to the outputs of the last hidden layer, (B, FEATURES)."""
        assert isinstance(self.network, nn.Sequential)
        return run_in_portions(self.network[:-1], samples)

    @property
    def accuracy(self) -> dict[str, dict[str, float]]:
        """Share of held-out samples classified correctly that it did not learn from, by domain and head."""
        return {
            name: {head: self.tested[f"{place}/{head}"] for head in self.heads} for place, name in enumerate(self.pools)
        }

    @property
    def record(self) -> dict[str, object]:
        """The record of its training: the samples and its accuracy."""
        accuracy = {f"{name}/{head}": value for name, of in self.accuracy.items() for head, value in of.items()}
        return {**super().record, "accuracy": rounded(accuracy)}

    def key(self) -> dict[str, Any]:
        """Heads, samples and their classes."""
        data = [identify(pool, self._targets[name]) for name, pool in self.pools.items()]
        return {"kind": "classifier", "heads": self.heads, "data": data}

    def make_network(self) -> nn.Module:
        """Convolutions for images, linear layers for other samples."""
        first = next(iter(self.pools.values()))
        return nn.Sequential(*trunk(first), nn.Linear(FEATURES, sum(self.heads.values())))

    def loss(self, random: np.random.Generator) -> Tensor:
        """Cross entropy, the mean over heads, of as many samples of each domain."""
        share = max(1, BATCH // len(self.pools))
        chosen = {name: random.choice(numbers, share) for name, numbers in self._learned.items()}
        samples = torch.cat([self.pools[name].read(numbers) for name, numbers in chosen.items()])
        scores = self.network(_shift(samples, random)).split(list(self.heads.values()), dim=1)
        wanted = [
            torch.cat([self._targets[name][head][numbers] for name, numbers in chosen.items()]) for head in self.heads
        ]
        return torch.stack([F.cross_entropy(s, w) for s, w in zip(scores, wanted, strict=True)]).mean()

    def test(self) -> dict[str, float]:
        """Accuracy by ``<place>/<head>``; domains by number, since a probe does not depend on their names."""
        found = {}
        for place, (name, pool) in enumerate(self.pools.items()):
            numbers = split(pool)[1]
            guesses = classify_pool(self, pool, numbers)
            for head in self.heads:
                right = guesses[head] == self._targets[name][head][numbers]
                found[f"{place}/{head}"] = right.float().mean().item()
        return found


def known_classes(data: DomainData) -> Classes:
    """Attributes of all samples of a domain's data set, or its labels if it has nothing else: (n,) int64 each."""
    known = dict(data.dataset.attributes())
    labels = data.dataset.labels
    if not known and labels is not None:
        known = {"class": labels}
    for name, values in known.items():
        if values.shape != (len(data.dataset),):
            raise DataError(
                f"{data.origin}: attribute '{name}' has shape {tuple(values.shape)} for {len(data.dataset)} samples"
            )
    return known


def classify_pool(classifier: Classifier, pool: DomainData, numbers: Numbers) -> Classes:
    """The most probable classes of samples ``numbers`` of a pool."""
    parts = [classifier(pool.read(numbers[start : start + PORTION])) for start in range(0, len(numbers), PORTION)]
    return {head: torch.cat([part[head] for part in parts]) for head in classifier.heads}


def _shift(samples: Tensor, random: np.random.Generator) -> Tensor:
    """Images shifted by up to a fourteenth of a side, all alike; other samples as they are."""
    if samples.dim() != 4:
        return samples
    height, width = samples.shape[2:]
    most = max(height, width) // 14
    padded = F.pad(samples, (most,) * 4, mode="replicate")
    top, left = random.integers(0, 2 * most + 1, 2).tolist()
    return padded[:, :, top : top + height, left : left + width]
