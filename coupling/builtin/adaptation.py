"""Unsupervised domain adaptation: losses on a shared classifier, and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.classification import Classification, Consistency, Entropy, FeatureMatching
from coupling.errors import refuse_unknown_domain
from coupling.held_out import set_apart
from coupling.hookspecs import Register, hookimpl
from coupling.metric import Evaluation, Metric
from coupling.model import CoupledModel
from coupling.parts import DomainData

_BATCH = 1000

DomainName = Annotated[str, Field(description="the domain whose samples are classified")]


class _OfClassifier(Metric):
    def __init__(self, domain: str) -> None:
        self.domain = domain

    def check(self, data: Mapping[str, DomainData]) -> None:
        """The domain must exist."""
        refuse_unknown_domain("domain", self.domain, data)


class Accuracy(_OfClassifier):
    """Share of samples whose most probable class is their label.

    Of the domain's own samples, which the training has seen without their labels: the paper's protocol (section 4,
    Table 1). ``/held-out`` beside it is of the samples that the data set's authors set apart, where it has such.
    In a domain without labels in training this is for the record alone: what is selected by it is an oracle's.
    """

    def __init__(self, *, domain: DomainName) -> None:
        super().__init__(domain)

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """``accuracy/<domain>``, and ``accuracy/<domain>/held-out`` where there are such samples."""
        own = evaluation.data[self.domain]
        name = f"accuracy/{self.domain}"
        values = {name: _accuracy(evaluation.model, own)}
        apart = set_apart(own)
        if apart is not None and apart.dataset.labels is not None:
            values[f"{name}/held-out"] = _accuracy(evaluation.model, apart)
        return values


class Information(_OfClassifier):
    """Mutual information of sample and predicted class, in nats: sure and varied predictions. Reads no label.

    H(mean p) - mean H(p) over the domain's samples (Krause et al. 2010). At most log(classes). For choosing a step
    or a setting where labels are not to be had: as the first metric, it decides which checkpoint is the best.
    """

    def __init__(self, *, domain: DomainName) -> None:
        super().__init__(domain)

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """``information/<domain>``."""
        p = _probabilities(evaluation.model, evaluation.data[self.domain]).double()
        return {f"information/{self.domain}": (_entropy(p.mean(0)) - _entropy(p).mean()).item()}


def _probabilities(model: CoupledModel, data: DomainData) -> Tensor:
    """Of every sample of ``data``: (n, classes)."""
    parts = [data.read(range(start, min(start + _BATCH, len(data)))) for start in range(0, len(data), _BATCH)]
    return torch.cat([model.classify(part, data.domain.name) for part in parts])


def _accuracy(model: CoupledModel, data: DomainData) -> float:
    guessed = _probabilities(model, data).argmax(1)
    return (guessed == data.labels(range(len(data)))).float().mean().item()


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-300).log()).sum(-1)


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
