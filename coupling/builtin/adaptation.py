"""Unsupervised domain adaptation: losses on a shared classifier, and how well it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.classification import Classification, Consistency, Entropy, FeatureMatching
from coupling.errors import ConfigError, nearest
from coupling.hookspecs import Register, hookimpl
from coupling.metric import Evaluation, Metric
from coupling.parts import DomainData

_BATCH = 1000

DomainName = Annotated[str, Field(description="the domain whose samples are classified")]


class _OfClassifier(Metric):
    def __init__(self, domain: str) -> None:
        self.domain = domain

    def check(self, data: Mapping[str, DomainData]) -> None:
        if self.domain not in data:
            raise ConfigError(f"domain: no domain is called '{self.domain}'; {nearest(self.domain, data)}")

    def probabilities(self, evaluation: Evaluation) -> Tensor:
        """Of every sample of the domain: (n, classes)."""
        data = evaluation.data[self.domain]
        parts = [data.read(range(start, min(start + _BATCH, len(data)))) for start in range(0, len(data), _BATCH)]
        return torch.cat([evaluation.model.classify(part, self.domain) for part in parts])


class Accuracy(_OfClassifier):
    """Share of samples whose most probable class is their label.

    Of the domain's own samples, which the training has seen without their labels: the paper's protocol (section 4,
    Table 1). ``/held-out`` beside it is of the samples that the data set's authors set apart, where it has such.
    In a domain without labels in training this is for the record alone: what is selected by it is an oracle's.
    """

    def __init__(self, *, domain: DomainName) -> None:
        super().__init__(domain)

    def check(self, data: Mapping[str, DomainData]) -> None:
        """The domain must exist."""
        super().check(data)

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """``accuracy/<domain>``, and ``accuracy/<domain>/held-out`` where there are such samples."""
        data = evaluation.data[self.domain]
        guessed = self.probabilities(evaluation).argmax(1)
        name = f"accuracy/{self.domain}"
        values = {name: (guessed == data.labels(range(len(data)))).float().mean().item()}
        apart = data.dataset.held_out()
        if apart is not None and apart.labels is not None:
            right = [
                (evaluation.model.classify(data.transform(apart.batch(chosen)), self.domain).argmax(1) == classes)
                for chosen, classes in _chunks(apart.labels)
            ]
            values[f"{name}/held-out"] = torch.cat(right).float().mean().item()
        return values


class Information(_OfClassifier):
    """Mutual information of sample and predicted class, in nats: sure and varied predictions. Reads no label.

    H(mean p) - mean H(p) over the domain's samples (Krause et al. 2010). At most log(classes). For choosing a step
    or a setting where labels are not to be had: as the first metric, it decides which checkpoint is the best.
    """

    def __init__(self, *, domain: DomainName) -> None:
        super().__init__(domain)

    def check(self, data: Mapping[str, DomainData]) -> None:
        """The domain must exist."""
        super().check(data)

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """``information/<domain>``."""
        p = self.probabilities(evaluation).double()
        return {f"information/{self.domain}": (_entropy(p.mean(0)) - _entropy(p).mean()).item()}


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-300).log()).sum(-1)


def _chunks(labels: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    for start in range(0, len(labels), _BATCH):
        chosen = list(range(start, min(start + _BATCH, len(labels))))
        yield chosen, labels[chosen]


@hookimpl
def register_losses(register: Register) -> None:
    """The losses of adaptation."""
    register("classification", Classification)
    register("entropy", Entropy)
    register("consistency", Consistency)
    register("feature-matching", FeatureMatching)


@hookimpl
def register_metrics(register: Register) -> None:
    """The metrics of adaptation."""
    register("accuracy", Accuracy)
    register("information", Information)
