"""Measures that need nothing but the model and the domains' own data."""

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
from coupling.system.seeds import derive_seed


class PixelAgreement(Metric):
    """Share of pixels on which T(g_from(z)) and g_to(z) agree after rounding to binary (section 4).

    T is the operator that made the images of ``to``: its data set's ``transform``. Two floors stand
    beside every value, since neither is near 0: ``unrelated``, T of real images of ``from`` against
    real images of ``to``; ``constant``, the best single image against real images of ``to``. For each of
    ``tolerances`` there is ``/within-<tolerance>``: the share of values that are as near, unrounded.
    """

    def __init__(
        self,
        *,
        from_: Annotated[str, Field(description="domain whose samples are transformed")],
        to: Annotated[str, Field(description="domain whose transform is applied, and whose samples are compared")],
        count: Annotated[int, Field(ge=1, description="number of pairs")] = 10_000,
        tolerances: Annotated[
            list[Annotated[float, Field(gt=0, lt=1)]],
            Field(description="besides, without rounding: values that differ by at most this share of the range"),
        ] = [],  # noqa: B006  (read only)
    ) -> None:
        self.source = from_
        self.target = to
        self.count = count
        self.tolerances = tolerances
        self._floors: dict[str, float] = {}

    @property
    def name(self) -> str:
        """Flat name of the value."""
        return f"pixel-agreement/{self.source}/{self.target}"

    def flat_name(self) -> str:
        """``pixel-agreement/FROM/TO``."""
        return self.name

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

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """Agreement of ``count`` pairs drawn by the evaluation's seed, and the two floors."""
        source, target = evaluation.data[self.source], evaluation.data[self.target]
        if not self._floors:
            self._floors = self._measure_floors(source, target, evaluation.seed)
        z = evaluation.model.latent(self.count, derive_seed(evaluation.seed, "pixel-agreement"))
        sums: dict[str, float] = {}
        for part in z.split(1000):
            drawn = evaluation.model.generate(part, [self.source, self.target])
            expected = self._carry(drawn[self.source], source, target)
            for key, value in self._agreement(expected, drawn[self.target], target.domain).items():
                sums[key] = sums.get(key, 0.0) + value * len(part)
        evaluation.note(pairs=self.count)
        return {key: value / self.count for key, value in sums.items()} | self._floors

    def _agreement(self, one: Tensor, other: Tensor, domain: Domain) -> dict[str, float]:
        """Shares of values of two batches that agree, rounded and within each tolerance, by flat name."""
        low, high = domain.range
        apart = (one - other).abs() / (high - low)
        values = {self.name: (_binary(one, domain) == _binary(other, domain)).float().mean().item()}
        slack = 1e-6  # a step of exactly the tolerance counts, whatever rounding does
        return values | {
            f"{self.name}/within-{tolerance:g}": (apart <= tolerance + slack).float().mean().item()
            for tolerance in self.tolerances
        }

    def _carry(self, samples: Tensor, source: DomainData, target: DomainData) -> Tensor:
        """T: from the range of ``from`` to that of ``to``, then the operator."""
        (a, b), (low, high) = source.domain.range, target.domain.range
        return target.transform((samples - a) / (b - a) * (high - low) + low)

    def _measure_floors(self, source: DomainData, target: DomainData, seed: int) -> dict[str, float]:
        count = min(self.count, len(source), len(target))
        order = np.random.default_rng(derive_seed(seed, "pixel-agreement floors"))
        real = target.read(order.permutation(len(target))[:count])
        raw = source.dataset.batch(source.indices[order.permutation(len(source))[:count]].tolist())
        other = self._carry(source.transform(raw), source, target)
        binary = _binary(real, target.domain)
        constant = binary.float().mean(0) > 0.5
        floors = {f"{key}/unrelated": value for key, value in self._agreement(other, real, target.domain).items()}
        return {**floors, f"{self.name}/constant": (constant == binary).float().mean().item()}


def _binary(samples: Tensor, domain: Domain) -> Tensor:
    """Samples rounded to black and white at the middle of the domain's range."""
    low, high = domain.range
    return samples > (low + high) / 2
