"""A probe that estimates the depth of each pixel from a colour image."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from coupling.data.domain_data import DomainData
from coupling.data.held_out import split
from coupling.metrics.probe import BATCH, Probe, identify, in_quotes, rounded
from coupling.metrics.probe_networks import Centred, Hourglass, run_in_portions


class DepthEstimator(Probe):
    """Estimates depth from colour; it learns from held-out true pairs: sample k of both pools is one view."""

    def __init__(self, colour: DomainData, depth: DomainData, missing: float) -> None:
        """An estimator that is not trained yet: see :meth:`load_or_train`.

        ``missing``: share of the depth's range below which the depth of a pixel is unknown.
        """
        pools = {colour.domain.name: colour, depth.domain.name: depth}
        super().__init__(pools, f"depth probe of {in_quotes(pools)}", [colour])
        self.colour, self.depth = colour, depth
        self.missing = missing
        self._learned, self._tested = split(colour)

    def __call__(self, samples: Tensor) -> Tensor:
        """Colour (B, C, H, W) in its domain's range to depth (B, 1, H, W), a share of the depth domain's range."""
        return run_in_portions(self.network, samples).sigmoid()

    @property
    def record(self) -> dict[str, object]:
        """The record of its training: the samples and its mean absolute error."""
        return {**super().record, **rounded(self.tested)}

    def key(self) -> dict[str, Any]:
        """Samples of both domains, and which depths are unknown."""
        data = [identify(self.colour, {}), identify(self.depth, {})]
        return {"kind": "depth", "missing": self.missing, "data": data}

    def make_network(self) -> nn.Module:
        """An hourglass."""
        return nn.Sequential(Centred(*self.colour.domain.range), Hourglass(self.colour.domain.shape[0]))

    def loss(self, random: np.random.Generator) -> Tensor:
        """Mean absolute error over pixels whose depth is known."""
        chosen = random.choice(self._learned, BATCH // 2)
        return self._error(self.network(self.colour.read(chosen)).sigmoid(), self.depth.read(chosen))

    def test(self) -> dict[str, float]:
        """Mean absolute error, as a share of the range."""
        error = self._error(self(self.colour.read(self._tested)), self.depth.read(self._tested))
        return {"absolute error": float(error)}

    def _error(self, estimated: Tensor, samples: Tensor) -> Tensor:
        true = share_of_range(self.depth, samples)
        known = true >= self.missing
        return ((estimated - true).abs() * known).sum() / known.sum().clamp(min=1)


def share_of_range(data: DomainData, samples: Tensor) -> Tensor:
    """Samples as shares of their domain's range, from 0 to 1."""
    low, high = data.domain.range
    return ((samples - low) / (high - low)).clamp(0, 1)
