"""View correlation: how well generated pairs of a waveform and a view of it fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor

from coupling import ConfigError, DomainData, Evaluation, Measured, Metric, derive_seed, nearest
from coupling_signals.sounds import Sounds

_PORTION = 500
"""Pairs that are drawn at once."""


class ViewCorrelation(Metric):
    """Correlation of the view of a generated waveform and the generated view, the mean over pairs.

    1 means that the generated envelope (or spectrogram) is that of the generated waveform but for its scale. The floor
    ``unrelated`` is the correlation of real samples of different sounds; the ceiling ``true-pairs`` is 1. A sample
    without variation correlates with none (0).
    """

    range = (-1.0, 1.0)

    def __init__(
        self,
        *,
        from_: Annotated[str, Field(description="domain of waveforms")],
        to: Annotated[str, Field(description="domain of envelopes or spectrograms")],
        count: Annotated[int, Field(ge=1, description="number of pairs")] = 2000,
    ) -> None:
        self.domains = (from_, to)
        self.source, self.target = from_, to
        self.count = count

    def check(self, data: Mapping[str, DomainData]) -> None:
        """Both domains must be of the data set ``sounds``; ``from`` must hold its waveforms."""
        for key, name in (("from", self.source), ("to", self.target)):
            if name not in data:
                raise ConfigError(f"{key}: no domain is called '{name}'; {nearest(name, data)}")
            if not isinstance(data[name].dataset, Sounds) or data[name].transforms:
                raise ConfigError(f"{key}: '{name}' does not hold samples of the data set sounds as they are")
        if _view(data[self.source]).view != "waveform":
            raise ConfigError(f"from: '{self.source}' holds a view of sounds; name a domain of waveforms")

    def measure(self, evaluation: Evaluation) -> Measured:
        """Mean correlation of ``count`` pairs drawn by the evaluation's seed, its floor and its ceiling."""
        source, target = evaluation.data[self.source], evaluation.data[self.target]
        view = _view(target)
        z = evaluation.model.latent(self.count, derive_seed(evaluation.seed, "view-correlation"))
        total = 0.0
        for part in z.split(_PORTION):
            drawn = evaluation.generate(part, self.domains)
            total += _correlations(view.of(drawn[self.source]), drawn[self.target]).sum().item()
        evaluation.note(pairs=self.count)
        floor = self._floor(source, target, evaluation.seed)
        return Measured(total / self.count, floors={"unrelated": floor}, ceilings={"true-pairs": 1.0})

    def _floor(self, source: DomainData, target: DomainData, seed: int) -> float:
        count = min(self.count, len(source), len(target))
        order = np.random.default_rng(derive_seed(seed, "view-correlation floor"))
        waveforms = source.read(order.permutation(len(source))[:count])
        views = target.read(order.permutation(len(target))[:count])
        return _correlations(_view(target).of(waveforms), views).mean().item()


def _view(data: DomainData) -> Sounds:
    assert isinstance(data.dataset, Sounds)  # as checked
    return data.dataset


def _correlations(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's correlation of each pair of samples, over their values: (B, ...) twice to (B,)."""
    a, b = (x.flatten(1).double() for x in (one, other))
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    scale = a.norm(dim=1) * b.norm(dim=1)
    correlations: Tensor = (a * b).sum(1) / scale.clamp(min=1e-12)
    return correlations
