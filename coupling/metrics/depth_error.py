"""Depth error: generated depth against the depth that an estimator finds in the generated colour image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.data.held_out import split
from coupling.errors import ConfigError
from coupling.metrics.depth_estimator import DepthEstimator, share_of_range
from coupling.metrics.metric import Evaluation
from coupling.metrics.pairs import SAME_IMAGE, WAY, PairMetric, ProbeData, share_of_way
from coupling.runs.measured import Measured, Undefined
from coupling.system.seeds import derive_seed

_PORTION = 250


_NEAREST = 1e-3
"""Least depth that errors are divided by, as a share of ``far``."""


_MOST = 2000
"""Maximum number of real pairs that the ceiling is measured on."""


class DepthError(PairMetric):
    """Root mean square error of generated depth against an estimate from the generated colour image.

    The estimator is trained on real pairs, colour and depth of one view, that no domain trains on. Errors are
    shares of the depth domain's range; with ``near`` and ``far`` they are in metres. Pixels whose depth is missing do
    not count. ``/unrelated``, the floor: the same for pairs of different codes. ``/real``, the ceiling: the estimator
    on real colour against true depth that it has not learned from; no model can be expected to do better.
    ``/way``: share of the way from floor to ceiling. ``/same-image``, the blur ceiling: the difference between the
    estimates of two estimators with different seeds from the same generated colour image.
    ``/absolute`` is the mean absolute error, ``/relative`` (in metres only) that divided by the depth, ``/compared``
    the share of pixels that count. Without such pixels the errors are undefined, and so is ``/relative`` if one of them
    is nearer than a thousandth of ``far``.
    """

    kind = "depth-error"
    better = "lower"
    range = (0.0, math.inf)

    def __init__(
        self,
        *,
        from_: Annotated[str, Field(description="domain of colour images")],
        to: Annotated[str, Field(description="domain of depth images, one channel, of the same size")],
        count: Annotated[int, Field(ge=2, description="number of generated pairs")] = 2000,
        missing: Annotated[
            float, Field(ge=0, lt=1, description="depth below this share of the range is missing; 0: no depth is")
        ] = 0.01,
        near: Annotated[float | None, Field(ge=0, description="metres at the lowest value of the range")] = None,
        far: Annotated[float | None, Field(gt=0, description="metres at the highest value of the range")] = None,
        probe: ProbeData = None,
    ) -> None:
        super().__init__(from_, to, count, probe)
        if (near is None) != (far is None) or (near is not None and far is not None and near >= far):
            raise ConfigError("near and far: give both, near less than far, or neither")
        self.missing = missing
        self.near, self.far = near, far
        self._probe: DepthEstimator | None = None
        self._second: DepthEstimator | None = None
        self._real: dict[str, float] = {}
        """Errors of the estimator on real pairs, as :meth:`Errors.values` answers them."""

    def check(self, data: Mapping[str, DomainData]) -> None:
        """The domains must be colour and depth images of one size, with held-out true pairs."""
        super().check(data)
        colour, depth = (data[domain].domain for domain in self.pair)
        if (
            len(colour.shape) != 3
            or len(depth.shape) != 3
            or depth.shape[0] != 1
            or colour.shape[1:] != depth.shape[1:]
        ):
            raise ConfigError(
                f"to: depth images are of shape (1, height, width), colour images of the same size; '{colour.name}' "
                f"is of {colour.shape}, '{depth.name}' of {depth.shape}"
            )
        one, other = (self.pools[domain] for domain in self.pair)
        if one.dataset.source != other.dataset.source:
            raise ConfigError(
                f"probe: no true pairs to learn from: held-out samples of '{colour.name}' are of {one.dataset.source}, "
                f"of '{depth.name}' of {other.dataset.source}; give data sets that view one source"
            )
        common = np.intersect1d(one.indices, other.indices)
        self.pools = {domain: pool.within(common) for domain, pool in self.pools.items()}

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:
        """Train two estimators, or read them if they are saved, and measure the ceiling."""
        for pool in self.pools.values():
            pool.prepare()
        colour, depth = (self.pools[domain] for domain in self.pair)
        self._probe = DepthEstimator(colour, depth, self.missing)
        self._second = self._probe.second()
        self._probe.load_or_train()
        self._second.load_or_train()
        errors = Errors(self)
        tested = split(colour)[1][:_MOST]
        for start in range(0, len(tested), _PORTION):
            chosen = tested[start : start + _PORTION]
            errors.add(share_of_range(depth, depth.read(chosen)), self._probe(colour.read(chosen)))
        self._real = errors.values()

    def measure(self, evaluation: Evaluation) -> Measured:
        """The error, with floor and ceiling."""
        if self._probe is None:
            self.prepare(evaluation.data, evaluation.seed)
        assert self._probe is not None
        assert self._second is not None
        related, unrelated, same = Errors(self), Errors(self), Errors(self)
        z = evaluation.model.latent(self.count, derive_seed(evaluation.seed, self.kind))
        depth = self.pools[self.pair[1]]
        for part in z.tensor_split(-(-self.count // _PORTION)):  # of nearly one size: none holds a single code
            drawn = evaluation.generate(part, self.pair)
            estimated, given = self._probe(drawn[self.pair[0]]), share_of_range(depth, drawn[self.pair[1]])
            related.add(given, estimated)
            unrelated.add(given, estimated.roll(1, 0))
            same.add(self._second(drawn[self.pair[0]]), estimated)
        evaluation.note(
            pairs=self.count,
            unit="metres" if self.far else "share of the range",
            probe=self._probe.record,
            second_probe=self._second.record,
        )
        return self._compared(related.values(), unrelated.values(), same.values())

    def _compared(
        self, values: Mapping[str, float], floors: Mapping[str, float], same: Mapping[str, float]
    ) -> Measured:
        """The error, with floor and ceilings; the other values, each with its own, are details."""
        found: dict[str, Measured] = {}
        for key, value in values.items():
            real = self._real[key]
            if key == "compared":  # the same pixels whatever they are compared with
                found[key] = Measured(value, ceilings={"real": real})
            else:
                way = share_of_way(value, floors[key], real, "lower")
                found[key] = Measured(
                    value, {"unrelated": floors[key]}, {"real": real, SAME_IMAGE: same[key]}, {WAY: way}
                )
        error = found.pop("error")
        return replace(error, details={**error.details, **found})


class Errors:
    """Errors of depth, summed over portions."""

    def __init__(self, metric: DepthError) -> None:
        self.metric = metric
        self.sums = torch.zeros(5, dtype=torch.float64)
        self.nearest = math.inf
        """Least depth that counts."""

    def add(self, given: Tensor, estimated: Tensor) -> None:
        """Add a portion: depths (B, 1, H, W) as shares of the range."""
        known = given >= self.metric.missing
        one, other = (self._scaled(depth[known].double()) for depth in (given, estimated))
        difference = (one - other).abs()
        relative = (difference / one).nan_to_num(0.0, 0.0).sum()  # values() sorts out depths near 0
        self.nearest = min(self.nearest, one.min().item() if one.numel() else math.inf)
        counts = known.sum(), torch.tensor(known.numel())
        self.sums += torch.stack([difference.square().sum(), difference.sum(), relative, *counts])

    def values(self) -> dict[str, float]:
        """``error`` (the root mean square), ``absolute``, ``relative`` in metres only, and ``compared``."""
        squares, absolute, relative, known, all_ = self.sums.tolist()
        missing = Undefined("the depth of every pixel is missing")
        values: dict[str, float] = {
            "error": (squares / known) ** 0.5 if known else missing,
            "absolute": absolute / known if known else missing,
        }
        far = self.metric.far
        if far and known and self.nearest < _NEAREST * far:
            values["relative"] = Undefined(f"a depth of {self.nearest:.3g} m is too small to divide by")
        elif far:
            values["relative"] = relative / known if known else missing
        return values | {"compared": known / max(all_, 1.0)}

    def _scaled(self, depth: Tensor) -> Tensor:
        near, far = self.metric.near, self.metric.far
        return depth if near is None or far is None else near + depth * (far - near)
