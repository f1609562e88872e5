"""Whether corresponding samples show the same: by classifiers trained on real samples that no domain trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.data.held_out import Numbers, held_out, split, true_pairs
from coupling.errors import ConfigError, check_domain_name, nearest
from coupling.losses.classification import in_words
from coupling.metrics.metric import Evaluation, Metric
from coupling.metrics.probe import Classes, Classifier, classes_of, classifier, known
from coupling.system.seeds import derive_seed
from coupling.system.terminal import print_line

From = Annotated[str, Field(description="one domain")]


To = Annotated[str, Field(description="another domain")]


Count = Annotated[int, Field(ge=2, description="number of generated pairs")]


ProbeData = Annotated[
    dict[str, Any] | str | None,
    Field(
        description="data that the probes learn from: a data set with its options, or one for each domain "
        "{domain: data set}; default: samples of the domains' own data that no domain trains on"
    ),
]


_PORTION = 500


_MOST_PAIRS = 2000
"""True pairs that the ceiling is measured on, at most: some have to be drawn first."""


class OfPair(Metric):
    """A measure of corresponding samples of two domains, by probes."""

    kind: str
    """Name under which the metric is registered."""

    def __init__(self, from_: str, to: str, count: int, probe: dict[str, Any] | str | None) -> None:
        self.pair = (from_, to)
        self.count = count
        self.probe = probe
        self.pools: dict[str, DomainData] = {}
        """Held-out samples of each domain."""

    @property
    def name(self) -> str:
        """Flat name of the value."""
        return f"{self.kind}/" + "/".join(self.pair)

    def flat_name(self) -> str:
        """``METRIC/FROM/TO``."""
        return self.name

    def check(self, data: Mapping[str, DomainData]) -> None:
        """Both domains must exist, and real samples that neither trains on."""
        for key, domain in zip(("from", "to"), self.pair, strict=True):
            check_domain_name(key, domain, data)
        if self.pair[0] == self.pair[1]:
            raise ConfigError(f"to: is '{self.pair[1]}' like from; name two domains")
        self.pools = {domain: held_out(data, domain, self.probe) for domain in self.pair}

    def true_pairs(self) -> tuple[Numbers, Tensor, Tensor] | None:
        """Held-out true pairs that no probe learned from, with their numbers in the first domain's pool."""
        one, other = (self.pools[domain] for domain in self.pair)
        numbers = split(one)[1][:_MOST_PAIRS]
        pairs = true_pairs(one, other, numbers)
        return None if pairs is None else (numbers, *pairs)


class LabelAgreement(OfPair):
    """Share of generated pairs whose two samples a classifier of each domain takes for the same class.

    Each classifier is trained on labelled real samples of its domain that no domain trains on. ``/unrelated``, the
    floor: the same share if the pairs were made at random. ``/true-pairs``, the ceiling: the share of real pairs, of
    which the classifiers have seen neither half; where there are no real pairs, no pair can be expected to do better
    than the classifiers, whose ``/accuracy/<domain>`` stands beside it.
    """

    kind = "label-agreement"

    def __init__(self, *, from_: From, to: To, count: Count = 10_000, probe: ProbeData = None) -> None:
        super().__init__(from_, to, count, probe)
        self._probes: dict[str, Classifier] = {}
        self._beside: dict[str, float] = {}

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """Train the two classifiers, or read what was learned before, and measure the ceiling."""
        told: dict[str, Tensor] = {}
        for domain, pool in self.pools.items():
            pool.prepare()
            labels = pool.dataset.labels
            if labels is None:
                raise ConfigError(
                    f"probe: samples of {pool.dataset.source} have no labels; give a data set that has them"
                )
            told[domain] = labels
        self._compare_classes({d: set(told[d][torch.from_numpy(p.indices)].tolist()) for d, p in self.pools.items()})
        self._probes = {d: classifier({d: pool}, {d: {"class": told[d]}}) for d, pool in self.pools.items()}
        pairs = self.true_pairs()
        if pairs is not None:
            one, other = (
                self._probes[domain](samples)["class"] for domain, samples in zip(self.pair, pairs[1:], strict=True)
            )
            self._beside[f"{self.name}/true-pairs"] = share(one == other)
        for domain, probe in self._probes.items():
            self._beside[f"{self.name}/accuracy/{domain}"] = probe.accuracy[f"{domain}/class"]

    def _compare_classes(self, seen: Mapping[str, set[int]]) -> None:
        """Refuse domains without a common class; tell which classes one of the classifiers has never seen."""
        one, other = seen.values()
        if not one & other:
            raise ConfigError(
                f"to: '{self.pair[0]}' and '{self.pair[1]}' have no class in common: {in_words(sorted(one))}, and "
                f"{in_words(sorted(other))}"
            )
        for domain, classes in seen.items():
            if missing := sorted((one | other) - classes):
                print_line(
                    f"{self.name}: no held-out sample of '{domain}' is of class {in_words(missing)}, which its "
                    "classifier then never tells"
                )

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """The share, and beside it floor, ceiling and the classifiers' accuracy."""
        if not self._probes:
            self.prepare(evaluation.data, evaluation.seed)
        told = tell(evaluation, self._probes, self.count, self.kind)
        one, other = (told[domain]["class"] for domain in self.pair)
        evaluation.note(pairs=self.count, probes={d: dict(p.record) for d, p in self._probes.items()})
        return {
            self.name: share(one == other),
            f"{self.name}/unrelated": by_chance(one, other),
            **self._beside,
        }


class AttributeAgreement(OfPair):
    """Share of generated pairs that agree in an attribute, as the mean over all attributes but the domains' own.

    A domain's own attribute is one that none of the other domain's real samples has (glasses; no glasses). The others
    (hair, skin, clothes ...) should be the same in both samples of a pair, which a classifier with one output for each
    attribute tells; it is trained on real samples of both domains that no domain trains on. ``/unrelated`` and
    ``/true-pairs`` are floor and ceiling as in label-agreement; each attribute has its own three values.
    ``/belongs/<domain>``: share of the domain's generated samples that have what sets it apart, and ``/real`` of real
    ones.
    """

    kind = "attribute-agreement"

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
        self._own: dict[str, dict[str, Tensor]] = {}
        """What sets each domain apart: its values of each such attribute."""
        self._common: list[str] = []
        self._beside: dict[str, float] = {}

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """Find out what sets the domains apart, train the classifier, and measure the ceiling."""
        for pool in self.pools.values():
            pool.prepare()
        told = {domain: known(pool) for domain, pool in self.pools.items()}
        self._sort(told)
        names = [*self._common, *self._own[self.pair[0]]]
        told = {domain: {name: values[name] for name in names} for domain, values in told.items()}
        kinds = {(pool.domain.shape, pool.domain.range) for pool in self.pools.values()}
        if len(kinds) == 1:
            probe = classifier(self.pools, told)
            self._probes = dict.fromkeys(self.pair, probe)
        else:  # what sets such domains apart is plain, and no probe's to tell
            told = {domain: {name: values[name] for name in self._common} for domain, values in told.items()}
            self._own = {domain: {} for domain in self.pair}
            self._probes = {domain: classifier({domain: self.pools[domain]}, {domain: told[domain]}) for domain in told}
        self._measure_real()

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """The mean share, and beside it floor, ceiling, and all of it for each attribute."""
        if not self._probes:
            self.prepare(evaluation.data, evaluation.seed)
        told = tell(evaluation, self._probes, self.count, self.kind)
        one, other = (told[domain] for domain in self.pair)
        agree = {name: share(one[name] == other[name]) for name in self._common}
        chance = {name: by_chance(one[name], other[name]) for name in self._common}
        values = {self.name: mean(agree), f"{self.name}/unrelated": mean(chance)}
        for name in self._common:
            values |= {f"{self.name}/{name}": agree[name], f"{self.name}/{name}/unrelated": chance[name]}
        for domain, own in self._own.items():
            if own:
                values[f"{self.name}/belongs/{domain}"] = belonging(told[domain], own)
        evaluation.note(
            pairs=self.count,
            attributes=self._common,
            apart={domain: sorted(own) for domain, own in self._own.items()},
            probes={domain: dict(probe.record) for domain, probe in self._probes.items()},
        )
        return values | self._beside

    def _sort(self, told: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Which attributes set the domains apart, and which should agree."""
        one, other = (told[domain] for domain in self.pair)
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
                domain: told[domain][name][torch.from_numpy(self.pools[domain].indices)].unique()
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
                f"to: no attribute of '{self.pair[0]}' and '{self.pair[1]}' could agree or not: each is constant, or "
                "sets the domains apart"
            )

    def _measure_real(self) -> None:
        """The ceiling: real pairs, and how well the probes tell real samples."""
        pairs = self.true_pairs()
        if pairs is not None:
            one, other = (self._probes[domain](samples) for domain, samples in zip(self.pair, pairs[1:], strict=True))
            agree = {name: share(one[name] == other[name]) for name in self._common}
            self._beside[f"{self.name}/true-pairs"] = mean(agree)
            self._beside |= {f"{self.name}/{name}/true-pairs": value for name, value in agree.items()}
        for name in self._common:
            for domain in self.pair:
                accuracy = self._probes[domain].accuracy[f"{domain}/{name}"]
                self._beside[f"{self.name}/{name}/accuracy/{domain}"] = accuracy
        for domain, own in self._own.items():
            if own:
                pool = self.pools[domain]
                told = classes_of(self._probes[domain], pool, split(pool)[1])
                self._beside[f"{self.name}/belongs/{domain}/real"] = belonging(told, own)


def tell(evaluation: Evaluation, probes: Mapping[str, Classifier], count: int, purpose: str) -> dict[str, Classes]:
    """What each domain's probe takes its samples of ``count`` common codes for: {domain: {head: (count,)}}."""
    z = evaluation.model.latent(count, derive_seed(evaluation.seed, purpose))
    told: dict[str, list[Classes]] = {domain: [] for domain in probes}
    for part in z.split(_PORTION):
        for domain, samples in evaluation.model.generate(part, list(probes)).items():
            told[domain].append(probes[domain](samples))
    return {
        domain: {head: torch.cat([part[head] for part in parts]) for head in parts[0]} for domain, parts in told.items()
    }


def by_chance(one: Tensor, other: Tensor) -> float:
    """Share of all pairs of an entry of ``one`` with an entry of ``other``, (n,) int64 each, that are equal."""
    classes = 1 + int(torch.stack([one.max(), other.max()]).max())
    p, q = (torch.bincount(part, minlength=classes).double() / len(part) for part in (one, other))
    return float((p * q).sum())


def belonging(told: Classes, own: Mapping[str, Tensor]) -> float:
    """Share of samples whose attributes all have values of ``own``."""
    return share(torch.stack([torch.isin(told[name], values) for name, values in own.items()]).all(0))


def share(true: Tensor) -> float:
    """Share of an array of truth values that is true."""
    return true.double().mean().item()


def mean(values: Mapping[str, float]) -> float:
    """The mean of the values."""
    return sum(values.values()) / len(values)
