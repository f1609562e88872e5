"""Unsupervised domain adaptation: losses on a shared classifier, and how well it does."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.data.held_out import set_apart
from coupling.errors import ConfigError, check_domain_name
from coupling.losses.classification import Classification, in_words
from coupling.losses.loss import Loss, labelled_domains
from coupling.metrics.metric import Evaluation, Metric
from coupling.model.model import CoupledModel
from coupling.system.terminal import print_line

_BATCH = 1000


DomainName = Annotated[
    str | None,
    Field(description="the domain whose samples are classified; null: each, after the mean over those without labels"),
]


class _OfClassifier(Metric):
    """Of one domain; or of several, and first the mean over those whose labels training does not read."""

    name: str

    def __init__(self, *, domain: DomainName = None) -> None:
        self.domain = domain
        self.classes = 0
        """That the classifier tells."""
        self.labelled: list[str] = []
        """Domains whose labels it learns from."""

    def check(self, data: Mapping[str, DomainData]) -> None:
        """The domain must exist."""
        if self.domain is not None:
            check_domain_name("domain", self.domain, data)

    def flat_name(self) -> str:
        """``<metric>/<domain>``, or ``<metric>`` where it is a mean."""
        return self.name if self.domain is None else f"{self.name}/{self.domain}"

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """``<metric>/<domain>`` and what stands beside it; before those of several domains, their mean ``<metric>``."""
        if self.domain is not None:
            return self.of(self.domain, evaluation)
        each = {domain: self.of(domain, evaluation) for domain in self.domains(evaluation)}
        targets = [domain for domain in each if domain in _unlabelled(evaluation)] or each
        mean = statistics.fmean(each[domain][f"{self.name}/{domain}"] for domain in targets)
        return {self.name: mean} | {name: value for values in each.values() for name, value in values.items()}

    @abstractmethod
    def domains(self, evaluation: Evaluation) -> list[str]:
        """Which domains are measured where none is named."""

    @abstractmethod
    def of(self, domain: str, evaluation: Evaluation) -> dict[str, float]:
        """Of one domain: ``<metric>/<domain>``, then what stands beside it."""

    def check_losses(self, losses: Mapping[str, Loss]) -> None:
        """There must be a classifier."""
        found = [loss for loss in losses.values() if isinstance(loss, Classification)]
        if not found:
            raise ConfigError("domain: there is no classifier to ask; name a classification loss among losses")
        self.classes, self.labelled = found[0].classes, list(found[0].labelled)


class Accuracy(_OfClassifier):
    """Share of samples whose most probable class is their label.

    Of the domain's own samples, which the training has seen without their labels: the paper's protocol (section 4,
    Table 1). ``/held-out`` beside it is of the samples that the data set's authors set apart, where it has such. Where
    the data set's protocol is to be tested on those, they come first, and ``/own`` is beside it.
    In a domain without labels in training this is for the record alone: what is selected by it is an oracle's.
    """

    name = "accuracy"

    @property
    def oracle(self) -> bool:
        """Where it reads labels that training does not."""
        return self.domain is None or self.domain not in self.labelled

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """There must be labels to hold the predictions against; those that the classifier cannot give are told."""
        for domain in _with_labels(data) if self.domain is None else [self.domain]:
            (labels, *_) = (samples.dataset.labels for samples in _tested(data[domain]).values())
            assert labels is not None  # else it had been refused
            if unknown := sorted(set(labels.unique().tolist()) - set(range(self.classes))):
                print_line(
                    f"accuracy/{domain}: samples of class {in_words(unknown)} count as wrong: the classifier tells "
                    f"classes 0 to {self.classes - 1}"
                )

    def domains(self, evaluation: Evaluation) -> list[str]:
        """Those whose labels are known."""
        return _with_labels(evaluation.data)

    def of(self, domain: str, evaluation: Evaluation) -> dict[str, float]:
        """``accuracy/<domain>``, then ``accuracy/<domain>/held-out`` or ``/own`` where there are such samples."""
        tested = _tested(evaluation.data[domain])
        first, *others = tested.items()
        evaluation.note(tested_on={**evaluation.notes.get("tested_on", {}), domain: first[0]})
        _note_samples(evaluation, domain, {which: len(samples) for which, samples in tested.items()})
        name = f"{self.name}/{domain}"
        values = {name: _accuracy(evaluation.model, first[1])}
        return values | {f"{name}/{which}": _accuracy(evaluation.model, samples) for which, samples in others}


class Information(_OfClassifier):
    """Mutual information of sample and predicted class, in nats: sure and varied predictions. Reads no label.

    H(mean p) - mean H(p) over the domain's samples (Krause et al. 2010). At most log(classes). For choosing a step
    or a setting where labels are not to be had: as the first metric, it decides which checkpoint is the best.
    """

    name = "information"

    def domains(self, evaluation: Evaluation) -> list[str]:
        """Those without labels in training."""
        return _unlabelled(evaluation) or list(evaluation.data)

    def of(self, domain: str, evaluation: Evaluation) -> dict[str, float]:
        """``information/<domain>``."""
        p = _probabilities(evaluation.model, evaluation.data[domain]).double()
        _note_samples(evaluation, domain, len(p))
        return {f"{self.name}/{domain}": (_entropy(p.mean(0)) - _entropy(p).mean()).item()}


def _note_samples(evaluation: Evaluation, domain: str, count: object) -> None:
    evaluation.note(samples={**evaluation.notes.get("samples", {}), domain: count})


def _unlabelled(evaluation: Evaluation) -> list[str]:
    """The domains whose labels no loss has read."""
    domains = list(evaluation.data)
    read = labelled_domains(evaluation.model.losses.values(), domains)
    return [domain for domain in domains if domain not in read]


def _with_labels(data: Mapping[str, DomainData]) -> list[str]:
    found = [domain for domain, of in data.items() if of.dataset.labels is not None]
    if not found:
        raise ConfigError("domain: no domain has labels to hold the predictions against; leave this metric out")
    return found


def _tested(own: DomainData) -> dict[str, DomainData]:
    """A domain's ``own`` and ``held-out`` samples with labels, first those that its data set's protocol tests on."""
    apart = set_apart(own)
    pools = {"own": own} | ({} if apart is None else {"held-out": apart})
    with_labels = {which: samples for which, samples in pools.items() if samples.dataset.labels is not None}
    first = own.dataset.tested_on
    if first not in with_labels:
        raise ConfigError(
            f"domain: '{own.domain.name}' is tested on its {first} samples, of which there are none with "
            "labels; leave this metric out, or name a domain with labels"
        )
    return {first: with_labels.pop(first)} | with_labels


def _probabilities(model: CoupledModel, data: DomainData) -> Tensor:
    """Of every sample of ``data``: (n, classes)."""
    parts = [data.read(range(start, min(start + _BATCH, len(data)))) for start in range(0, len(data), _BATCH)]
    return torch.cat([model.classify(part, data.domain.name) for part in parts])


def _accuracy(model: CoupledModel, data: DomainData) -> float:
    guessed = _probabilities(model, data).argmax(1)
    return (guessed == data.labels(range(len(data)))).float().mean().item()


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-300).log()).sum(-1)
