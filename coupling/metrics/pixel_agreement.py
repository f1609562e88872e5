"""Pixel agreement: how well generated pairs follow the operator that made one domain from the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.domain import Domain
from coupling.errors import ConfigError, check_domain_name
from coupling.metrics.metric import Evaluation, Metric
from coupling.runs.measured import Measured
from coupling.system.seeds import derive_seed

_PORTION = 1000
"""Pairs that are drawn at once."""


_ROUNDING = 1e-6
"""Added to each tolerance: a difference of exactly the tolerance counts as within it."""


class PixelAgreement(Metric):
    """Share of pixels on which T(g_from(z)) and g_to(z) agree after rounding to binary (section 4).

    T is the operator that made the images of ``to``: the ``transform`` of its data set. Every value has two floors,
    since neither is near 0: ``unrelated``, T of real images of ``from`` against real images of ``to``; ``constant``,
    the best single image against real images of ``to``. For each of ``tolerances``, ``/within-<tolerance>`` is the
    share of values that differ by at most that, without rounding.
    """

    range = (0.0, 1.0)

    def __init__(
        self,
        *,
        from_: Annotated[str, Field(description="domain whose samples are transformed")],
        to: Annotated[str, Field(description="domain whose transform is applied, and whose samples are compared")],
        count: Annotated[int, Field(ge=1, description="number of pairs")] = 10_000,
        tolerances: Annotated[
            list[Annotated[float, Field(gt=0, lt=1)]],
            Field(description="also, without rounding: values that differ by at most this share of the range"),
        ] = [],  # noqa: B006  (read only)
    ) -> None:
        self.domains = (from_, to)
        self.source, self.target = from_, to
        self.count = count
        self.tolerances = {f"within-{tolerance:g}": tolerance for tolerance in tolerances}
        self._unrelated: dict[str, float] = {}
        """Agreement of unrelated real samples, as :meth:`_agreement` answers it."""
        self._constant = 0.0

    def check(self, data: Mapping[str, DomainData]) -> None:
        """Both domains must exist, of one shape; ``from`` must hold untransformed samples."""
        for key, domain in (("from", self.source), ("to", self.target)):
            check_domain_name(key, domain, data)
        if data[self.source].transforms:
            raise ConfigError(f"from: '{self.source}' is transformed itself; name the domain of the originals")
        shapes = data[self.source].dataset.shape, data[self.target].dataset.shape
        if shapes[0] != shapes[1]:
            raise ConfigError(
                f"to: samples of '{self.target}' are made from {shapes[1]}, of '{self.source}' {shapes[0]}"
            )

    def measure(self, evaluation: Evaluation) -> Measured:
        """Agreement of ``count`` pairs drawn by the evaluation's seed, and the two floors."""
        source, target = evaluation.data[self.source], evaluation.data[self.target]
        if not self._unrelated:
            self._measure_floors(source, target, evaluation.seed)
        z = evaluation.model.latent(self.count, derive_seed(evaluation.seed, "pixel-agreement"))
        sums: dict[str, float] = {}
        for part in z.split(_PORTION):
            drawn = evaluation.generate(part, self.domains)
            expected = self._transform(drawn[self.source], source, target)
            for key, value in self._agreement(expected, drawn[self.target], target.domain).items():
                sums[key] = sums.get(key, 0.0) + value * len(part)
        evaluation.note(pairs=self.count)
        shares = {key: value / self.count for key, value in sums.items()}
        return Measured(
            shares["rounded"],
            floors={"unrelated": self._unrelated["rounded"], "constant": self._constant},
            details={key: Measured(shares[key], floors={"unrelated": self._unrelated[key]}) for key in self.tolerances},
        )

    def _agreement(self, one: Tensor, other: Tensor, domain: Domain) -> dict[str, float]:
        """Shares of values of two batches that agree, ``rounded`` and within each tolerance."""
        low, high = domain.range
        apart = (one - other).abs() / (high - low)
        rounded = (_binary(one, domain) == _binary(other, domain)).float().mean().item()
        within = {
            key: (apart <= tolerance + _ROUNDING).float().mean().item() for key, tolerance in self.tolerances.items()
        }
        return {"rounded": rounded, **within}

    def _transform(self, samples: Tensor, source: DomainData, target: DomainData) -> Tensor:
        """T: from the range of ``from`` to that of ``to``, then the operator."""
        (a, b), (low, high) = source.domain.range, target.domain.range
        return target.transform((samples - a) / (b - a) * (high - low) + low)

    def _measure_floors(self, source: DomainData, target: DomainData, seed: int) -> None:
        count = min(self.count, len(source), len(target))
        order = np.random.default_rng(derive_seed(seed, "pixel-agreement floors"))
        real = target.read(order.permutation(len(target))[:count])
        raw = source.dataset.batch(source.indices[order.permutation(len(source))[:count]].tolist())
        other = self._transform(source.transform(raw), source, target)
        self._unrelated = self._agreement(other, real, target.domain)
        binary = _binary(real, target.domain)
        constant = binary.float().mean(0) > 0.5
        self._constant = (constant == binary).float().mean().item()


def _binary(samples: Tensor, domain: Domain) -> Tensor:
    """Samples rounded to black and white at the middle of the domain's range."""
    low, high = domain.range
    return samples > (low + high) / 2
