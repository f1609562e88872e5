"""Label and attribute agreement: whether corresponding samples show the same, by classifiers of held-out samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.data.held_out import split
from coupling.errors import ConfigError, nearest
from coupling.losses.classification import in_words
from coupling.metrics.classifier import Classes, Classifier, classify_pool, known_classes
from coupling.metrics.metric import Evaluation
from coupling.metrics.pairs import SAME_IMAGE, WAY, PairMetric, ProbeData, share_of_way
from coupling.runs.measured import Detail, Measured
from coupling.system.seeds import derive_seed
from coupling.system.terminal import print_line

From = Annotated[str, Field(description="one domain")]


To = Annotated[str, Field(description="another domain")]


Count = Annotated[int, Field(ge=2, description="number of generated pairs")]


_PORTION = 500


class LabelAgreement(PairMetric):
    """Share of generated pairs whose two samples are classified alike, by a classifier of each domain.

    Each classifier is trained on labelled real samples of its domain that no domain trains on. ``/unrelated``, the
    floor: the same share if the pairs were made at random. ``/true-pairs``, the ceiling: the share of real pairs;
    the classifiers have seen neither sample of them. Where there are no real pairs, no pair can be expected to do
    better than the classifiers: see ``/accuracy/<domain>``. ``/way``: share of the way from floor to ceiling.
    ``/same-image``, the blur ceiling: share of generated samples that a second classifier with another seed classifies
    like the first.
    """

    kind = "label-agreement"
    range = (0.0, 1.0)

    def __init__(self, *, from_: From, to: To, count: Count = 10_000, probe: ProbeData = None) -> None:
        super().__init__(from_, to, count, probe)
        self._probes: dict[str, Classifier] = {}
        self._seconds: dict[str, Classifier] = {}
        self._ceilings: dict[str, float] = {}

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """Train two classifiers of each domain, or read them if they are saved, and measure the ceiling."""
        labels: dict[str, Tensor] = {}
        for domain, pool in self.pools.items():
            pool.prepare()
            if pool.dataset.labels is None:
                raise ConfigError(
                    f"probe: samples of {pool.dataset.source} have no labels; give a data set that has them"
                )
            labels[domain] = pool.dataset.labels
        self._compare_classes({d: set(labels[d][torch.from_numpy(p.indices)].tolist()) for d, p in self.pools.items()})
        self._probes = {d: Classifier({d: pool}, {d: {"class": labels[d]}}) for d, pool in self.pools.items()}
        self._seconds = {domain: probe.second() for domain, probe in self._probes.items()}
        for probe in (*self._probes.values(), *self._seconds.values()):
            probe.load_or_train()
        pairs = self.true_pairs()
        if pairs is not None:
            one, other = (
                self._probes[domain](samples)["class"] for domain, samples in zip(self.pair, pairs[1:], strict=True)
            )
            self._ceilings = {"true-pairs": share(one == other)}

    def _compare_classes(self, seen: Mapping[str, set[int]]) -> None:
        """Reject domains without a common class; print which classes one of the classifiers has never seen."""
        one, other = seen.values()
        if not one & other:
            raise ConfigError(
                f"to: '{self.pair[0]}' and '{self.pair[1]}' have no class in common: {in_words(sorted(one))}, and "
                f"{in_words(sorted(other))}"
            )
        for domain, classes in seen.items():
            if missing := sorted((one | other) - classes):
                print_line(
                    f"{self.name}: no held-out sample of '{domain}' is of class {in_words(missing)}, so its "
                    "classifier never answers that class"
                )

    def measure(self, evaluation: Evaluation) -> Measured:
        """The share, with floor, ceiling and the classifiers' accuracy."""
        if not self._probes:
            self.prepare(evaluation.data, evaluation.seed)
        classes, again = classify_generated(evaluation, (self._probes, self._seconds), self.count, self.kind)
        one, other = (classes[domain]["class"] for domain in self.pair)
        evaluation.note(pairs=self.count, **records(self._probes, self._seconds))
        return agreement(
            share(one == other),
            agreement_by_chance(one, other),
            self._ceilings,
            share_alike(classes, again, "class"),
            {"accuracy": {d: probe.accuracy[d]["class"] for d, probe in self._probes.items()}},
        )


class AttributeAgreement(PairMetric):
    """Share of generated pairs that agree in an attribute, as the mean over all attributes but the domains' own.

    A domain's own attribute is one that none of the other domain's real samples has (glasses; no glasses). The others
    (hair, skin, clothes ...) should be the same in both samples of a pair. A classifier with one output for each
    attribute decides; it is trained on real samples of both domains that no domain trains on. ``/unrelated`` and
    ``/true-pairs`` are floor and ceiling as in label-agreement, and so are ``/way`` and ``/same-image``; each attribute
    has its own values.
    ``/belongs/<domain>``: share of the domain's generated samples that have its own attributes, and ``/real`` of real
    ones.
    """

    kind = "attribute-agreement"
    range = (0.0, 1.0)

    def __init__(
        self,
        *,
        from_: From,
        to: To,
        attributes: Annotated[
            list[str] | None, Field(min_length=1, description="the attributes that count; default: all")
        ] = None,
        count: Count = 10_000,
        probe: ProbeData = None,
    ) -> None:
        super().__init__(from_, to, count, probe)
        self.attributes = attributes
        self._probes: dict[str, Classifier] = {}
        self._seconds: dict[str, Classifier] = {}
        self._own: dict[str, dict[str, Tensor]] = {}
        """Attributes that set each domain apart, with the domain's values of them."""
        self._common: list[str] = []
        self._true_pairs: dict[str, float] = {}
        """Share of true pairs that agree in each common attribute; empty if no true pairs are known."""
        self._belongs: dict[str, float] = {}
        """Share of each domain's real samples that have its own attributes, if it has any."""

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """Find the attributes that set the domains apart, train the classifiers, and measure the ceiling."""
        for pool in self.pools.values():
            pool.prepare()
        known = {domain: known_classes(pool) for domain, pool in self.pools.items()}
        self._sort_attributes(known)
        kinds = {(pool.domain.shape, pool.domain.range) for pool in self.pools.values()}
        if len(kinds) == 1:
            names = [*self._common, *self._own[self.pair[0]]]
            probe = Classifier(self.pools, {d: {name: values[name] for name in names} for d, values in known.items()})
            self._probes = dict.fromkeys(self.pair, probe)
        else:  # samples of different shapes differ without a probe
            self._own = {domain: {} for domain in self.pair}
            for domain, pool in self.pools.items():
                common = {name: known[domain][name] for name in self._common}
                self._probes[domain] = Classifier({domain: pool}, {domain: common})
        seconds = {probe: probe.second() for probe in dict.fromkeys(self._probes.values())}
        self._seconds = {domain: seconds[probe] for domain, probe in self._probes.items()}
        for probe in (*seconds, *seconds.values()):
            probe.load_or_train()
        pairs = self.true_pairs()
        if pairs is not None:
            one, other = (self._probes[domain](samples) for domain, samples in zip(self.pair, pairs[1:], strict=True))
            self._true_pairs = {name: share(one[name] == other[name]) for name in self._common}
        self._belongs = {}
        for domain, own in self._own.items():
            if own:
                pool = self.pools[domain]
                self._belongs[domain] = share_belonging(classify_pool(self._probes[domain], pool, split(pool)[1]), own)

    def measure(self, evaluation: Evaluation) -> Measured:
        """The mean share, with floor and ceiling, and the same for each attribute."""
        if not self._probes:
            self.prepare(evaluation.data, evaluation.seed)
        classes, again = classify_generated(evaluation, (self._probes, self._seconds), self.count, self.kind)
        one, other = (classes[domain] for domain in self.pair)
        agree = {name: share(one[name] == other[name]) for name in self._common}
        chance = {name: agreement_by_chance(one[name], other[name]) for name in self._common}
        alike = {name: share_alike(classes, again, name) for name in self._common}
        evaluation.note(
            pairs=self.count,
            attributes=self._common,
            apart={domain: sorted(own) for domain, own in self._own.items()},
            **records(self._probes, self._seconds),
        )
        details: dict[str, Detail] = {
            name: agreement(
                agree[name],
                chance[name],
                {"true-pairs": self._true_pairs[name]} if self._true_pairs else {},
                alike[name],
                {"accuracy": {domain: self._probes[domain].accuracy[domain][name] for domain in self.pair}},
            )
            for name in self._common
        }
        if self._belongs:
            details["belongs"] = {
                domain: Measured(share_belonging(classes[domain], self._own[domain]), ceilings={"real": real})
                for domain, real in self._belongs.items()
            }
        ceilings = {"true-pairs": mean(self._true_pairs)} if self._true_pairs else {}
        return agreement(mean(agree), mean(chance), ceilings, mean(alike), details)

    def _sort_attributes(self, known: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Find the attributes that set the domains apart, and those in which pairs should agree."""
        one, other = (known[domain] for domain in self.pair)
        shared = [name for name in one if name in other]
        if not shared:
            raise ConfigError(
                f"to: the data sets of '{self.pair[0]}' and '{self.pair[1]}' have no attribute in common; known are "
                f"{', '.join(one) or 'none'}, and {', '.join(other) or 'none'}"
            )
        for name in self.attributes or ():
            if name not in shared:
                raise ConfigError(f"attributes: the domains have no attribute '{name}'; {nearest(name, shared)}")
        self._common, self._own = [], {domain: {} for domain in self.pair}
        for name in shared:
            values = {
                domain: known[domain][name][torch.from_numpy(self.pools[domain].indices)].unique()
                for domain in self.pair
            }
            apart = not torch.isin(*values.values()).any()
            if apart:
                for domain in self.pair:
                    self._own[domain][name] = values[domain]
            elif torch.cat(list(values.values())).unique().numel() > 1 and name in (self.attributes or shared):
                self._common.append(name)
        if not self._common:
            raise ConfigError(
                f"to: '{self.pair[0]}' and '{self.pair[1]}' have no attribute in which pairs could agree or not: each "
                "is constant, or sets the domains apart"
            )


def agreement(
    value: float, chance: float, ceilings: Mapping[str, float], alike: float, details: Mapping[str, Detail]
) -> Measured:
    """An agreement with its floor ``chance``, its ceilings, the blur ceiling ``alike``, and the share of the way.

    ``ceilings``: that of true pairs; empty if they are unknown.
    """
    way = {} if not ceilings else {WAY: share_of_way(value, chance, ceilings["true-pairs"], "higher")}
    return Measured(value, {"unrelated": chance}, {**ceilings, SAME_IMAGE: alike}, {**way, **details})


def records(probes: Mapping[str, Classifier], seconds: Mapping[str, Classifier]) -> dict[str, object]:
    """The records of the probes of each domain, for the record of a score."""
    return {
        "probes": {domain: probe.record for domain, probe in probes.items()},
        "second_probes": {domain: probe.record for domain, probe in seconds.items()},
    }


def classify_generated(
    evaluation: Evaluation, probes: Sequence[Mapping[str, Classifier]], count: int, purpose: str
) -> list[dict[str, Classes]]:
    """Classes of each domain's samples of ``count`` common codes, by each of its probes.

    ``purpose``: with the evaluation's seed, what the codes are drawn by. Returns {domain: {head: (count,) int64}} for
    each of ``probes``.
    """
    z = evaluation.model.latent(count, derive_seed(evaluation.seed, purpose))
    domains = list(probes[0])
    found: list[dict[str, list[Classes]]] = [{domain: [] for domain in domains} for _ in probes]
    for part in z.split(_PORTION):
        for domain, samples in evaluation.generate(part, domains).items():
            for own, by_domain in zip(found, probes, strict=True):
                own[domain].append(by_domain[domain](samples))
    return [
        {
            domain: {head: torch.cat([part[head] for part in parts]) for head in parts[0]}
            for domain, parts in own.items()
        }
        for own in found
    ]


def share_alike(classes: Mapping[str, Classes], again: Mapping[str, Classes], head: str) -> float:
    """Share of samples, the mean over domains, that two probes classify alike: the blur ceiling."""
    return mean({domain: share(found[head] == again[domain][head]) for domain, found in classes.items()})


def agreement_by_chance(one: Tensor, other: Tensor) -> float:
    """Share of all pairs of an entry of ``one`` with an entry of ``other``, (n,) int64 each, that are equal."""
    classes = 1 + int(torch.stack([one.max(), other.max()]).max())
    p, q = (torch.bincount(part, minlength=classes).double() / len(part) for part in (one, other))
    return min(float((p * q).sum()), 1.0)  # rounding may exceed 1


def share_belonging(classes: Classes, own: Mapping[str, Tensor]) -> float:
    """Share of samples whose attributes all have values of ``own``."""
    return share(torch.stack([torch.isin(classes[name], values) for name, values in own.items()]).all(0))


def share(true: Tensor) -> float:
    """Share of an array of truth values that is true."""
    return true.double().mean().item()


def mean(values: Mapping[str, float]) -> float:
    """The mean of the values."""
    return sum(values.values()) / len(values)
