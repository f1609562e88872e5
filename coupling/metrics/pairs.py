"""Metrics of corresponding samples of two domains, computed by probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.data.held_out import Numbers, held_out, split, true_pairs
from coupling.errors import ConfigError, check_domain_name
from coupling.metrics.metric import Metric
from coupling.runs.measured import Undefined, reason_undefined
from coupling.runs.metrics_log import MetricName

ProbeData = Annotated[
    dict[str, Any] | str | None,
    Field(
        description="data that the probes learn from: a data set with its options, or one for each domain "
        "{domain: data set}; default: samples of the domains' own data that no domain trains on"
    ),
]


_MOST_PAIRS = 2000
"""Maximum number of true pairs that the ceiling is measured on: some have to be drawn first."""


SAME_IMAGE = "same-image"
"""Name of the blur ceiling: two probes with different seeds on the same generated image, in place of one on a pair.

Where it is low, samples are too blurred to show what the probes look for, and better correspondence cannot be measured.
"""


WAY = "way"
"""Name of the share of the way from the floor to the ceiling."""


def share_of_way(value: float, floor: float, ceiling: float, better: Literal["higher", "lower"]) -> float:
    """(value - floor) / (ceiling - floor): 0 for unrelated pairs, 1 for true pairs.

    :class:`Undefined` if a value is not finite, or if the ceiling is not better than the floor. The latter happens when
    generators have collapsed: unrelated samples are then the same, too.
    """
    for given in (value, floor, ceiling):
        if (reason := reason_undefined(given)) is not None:
            return Undefined(reason)
    way = ceiling - floor
    if (way if better == "higher" else -way) <= 0:
        return Undefined("unrelated generated samples are as alike as true pairs")
    return (value - floor) / way


class PairMetric(Metric):
    """A measure of corresponding samples of two domains, by probes."""

    kind: str
    """Name under which the metric is registered."""

    def __init__(self, from_: str, to: str, count: int, probe: dict[str, Any] | str | None) -> None:
        self.domains = self.pair = (from_, to)
        self.count = count
        self.probe = probe
        self.pools: dict[str, DomainData] = {}
        """Held-out samples of each domain."""

    @property
    def name(self) -> str:
        """Flat name of the value."""
        return str(MetricName(self.kind, self.pair))

    def check(self, data: Mapping[str, DomainData]) -> None:
        """Both domains must exist, with real samples that neither trains on."""
        for key, domain in zip(("from", "to"), self.pair, strict=True):
            check_domain_name(key, domain, data)
        if self.pair[0] == self.pair[1]:
            raise ConfigError(f"to: is '{self.pair[1]}' like from; name two domains")
        self.pools = {domain: held_out(data, domain, self.probe) for domain in self.pair}

    def true_pairs(self) -> tuple[Numbers, Tensor, Tensor] | None:
        """Held-out true pairs that no probe learned from, after their numbers in the first domain's pool.

        None if no true pairs are known.
        """
        one, other = (self.pools[domain] for domain in self.pair)
        numbers = split(one)[1][:_MOST_PAIRS]
        pairs = true_pairs(one, other, numbers)
        return None if pairs is None else (numbers, *pairs)
