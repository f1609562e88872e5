"""Accuracy and information: metrics of the classifier that the discriminators share."""

from __future__ import annotations

import math
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
from coupling.metrics.metric import Evaluation, Metric, check_finite
from coupling.model.model import CoupledModel
from coupling.runs.measured import Measured
from coupling.system.terminal import print_line

_BATCH = 1000


DomainName = Annotated[
    str | None,
    Field(description="the domain whose samples are classified; null: all, and their mean"),
]


class _ClassifierMetric(Metric):
    """A measure of the shared classifier in one domain, or the mean over several.

    The mean is over the domains whose labels training does not read, if there are any.
    """

    def __init__(self, *, domain: DomainName = None) -> None:
        self.domain = domain
        self.domains = () if domain is None else (domain,)
        self.classes = 0
        """Number of classes of the classifier."""
        self.labelled: list[str] = []
        """Domains whose labels it learns from."""

    def check(self, data: Mapping[str, DomainData]) -> None:
        """The domain must exist."""
        if self.domain is not None:
            check_domain_name("domain", self.domain, data)

    def measure(self, evaluation: Evaluation) -> Measured:
        """The value of the domain; without one, the mean, and the value of each domain."""
        if self.domain is not None:
            return self.measure_domain(self.domain, evaluation)
        each = {domain: self.measure_domain(domain, evaluation) for domain in self.measured_domains(evaluation)}
        targets = [domain for domain in each if domain in _unlabelled(evaluation)] or each
        return Measured(statistics.fmean(each[domain].value for domain in targets), details=each)

    @abstractmethod
    def measured_domains(self, evaluation: Evaluation) -> list[str]:
        """The domains that are measured where none is named."""

    @abstractmethod
    def measure_domain(self, domain: str, evaluation: Evaluation) -> Measured:
        """The value of one domain."""

    def check_losses(self, losses: Mapping[str, Loss]) -> None:
        """There must be a classifier."""
        found = [loss for loss in losses.values() if isinstance(loss, Classification)]
        if not found:
            raise ConfigError("domain: there is no classifier to measure; name a classification loss among losses")
        self.classes, self.labelled = found[0].classes, list(found[0].labelled)


class Accuracy(_ClassifierMetric):
    """Share of samples whose most probable class is their label.

    It is measured on the domain's own samples, which training has seen without their labels: the paper's protocol
    (section 4, Table 1). ``/held-out`` is the share of the samples that the data set's authors set apart, where there
    are some. If the data set's protocol tests on those, they come first, and the domain's own are ``/own``.
    In a domain without labels in training this is for the record alone: a checkpoint selected by it is an oracle's.
    """

    range = (0.0, 1.0)

    @property
    def oracle(self) -> bool:
        """Whether it reads labels that training does not read."""
        return self.domain is None or self.domain not in self.labelled

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """Check that there are labels to compare with; print which of them the classifier cannot answer."""
        for domain in _with_labels(data) if self.domain is None else [self.domain]:
            (labels, *_) = (samples.dataset.labels for samples in _tested(data[domain]).values())
            assert labels is not None  # _tested has rejected others
            if unknown := sorted(set(labels.unique().tolist()) - set(range(self.classes))):
                print_line(
                    f"accuracy/{domain}: samples of class {in_words(unknown)} count as wrong: the classifier knows "
                    f"classes 0 to {self.classes - 1}"
                )

    def measured_domains(self, evaluation: Evaluation) -> list[str]:
        """The domains whose labels are known."""
        return _with_labels(evaluation.data)

    def measure_domain(self, domain: str, evaluation: Evaluation) -> Measured:
        """The accuracy, then that on ``held-out`` or ``own`` samples where there are such."""
        tested = _tested(evaluation.data[domain])
        first, *others = tested.items()
        evaluation.note(tested_on={**evaluation.notes.get("tested_on", {}), domain: first[0]})
        _note_samples(evaluation, domain, {which: len(samples) for which, samples in tested.items()})
        return Measured(
            _accuracy(evaluation.model, first[1]),
            details={which: _accuracy(evaluation.model, samples) for which, samples in others},
        )


class Information(_ClassifierMetric):
    """Mutual information of sample and predicted class, in nats: high for certain and varied predictions.

    H(mean p) - mean H(p) over the domain's samples (Krause et al. 2010). At most log(classes). It reads no label, so a
    checkpoint or a setting can be selected by it where there are no labels: as the first metric, it decides which
    checkpoint is the best.
    """

    range = (0.0, math.inf)

    def measured_domains(self, evaluation: Evaluation) -> list[str]:
        """The domains without labels in training."""
        return _unlabelled(evaluation) or list(evaluation.data)

    def measure_domain(self, domain: str, evaluation: Evaluation) -> Measured:
        """The information in nats."""
        p = _probabilities(evaluation.model, evaluation.data[domain]).double()
        _note_samples(evaluation, domain, len(p))
        return Measured(max((_entropy(p.mean(0)) - _entropy(p).mean()).item(), 0.0))  # rounding may fall below 0


def _note_samples(evaluation: Evaluation, domain: str, count: object) -> None:
    evaluation.note(samples={**evaluation.notes.get("samples", {}), domain: count})


def _unlabelled(evaluation: Evaluation) -> list[str]:
    """The domains whose labels no loss reads."""
    domains = list(evaluation.data)
    read = labelled_domains(evaluation.model.losses.values(), domains)
    return [domain for domain in domains if domain not in read]


def _with_labels(data: Mapping[str, DomainData]) -> list[str]:
    found = [domain for domain, of in data.items() if of.dataset.labels is not None]
    if not found:
        raise ConfigError("domain: no domain has labels to compare the predictions with; leave this metric out")
    return found


def _tested(own: DomainData) -> dict[str, DomainData]:
    """A domain's ``own`` and ``held-out`` samples with labels, first those that the data set's protocol tests on."""
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
    """Class probabilities of all samples: (n, classes)."""
    parts = [data.read(range(start, min(start + _BATCH, len(data)))) for start in range(0, len(data), _BATCH)]
    probabilities = torch.cat([model.classify(part, data.domain.name) for part in parts])
    check_finite(probabilities, f"class probabilities of '{data.domain.name}'")
    return probabilities


def _accuracy(model: CoupledModel, data: DomainData) -> float:
    guessed = _probabilities(model, data).argmax(1)
    return (guessed == data.labels(range(len(data)))).float().mean().item()


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-300).log()).sum(-1)
