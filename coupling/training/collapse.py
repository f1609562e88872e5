"""A warning when the generators collapse: generated batches that hardly vary, compared with real ones.

The diversity of a batch is the root mean square distance of two generated samples, divided by that of two real ones,
both of one step. The root of a ratio of summed variances is the same number, and needs only sums over samples: they add
up over micro-batches and processes, stay on the device, and are read with the losses that are logged at that step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from coupling.runs.metrics_log import BATCH_DIVERSITY

LIMIT = 0.1
"""Diversity below which samples count as collapsed; in healthy training it stays above .2 from the first step on."""


SPAN = 300
"""Steps for which every logged diversity must be below the limit before there is a warning."""


_LINES = 3
"""Minimum number of logged diversities in these steps."""


ADVICE = (
    "stop (Ctrl-C), then start a new run with a gradient penalty among losses ({name: r1, gamma: 0.5, every: 8}) or a "
    "lower optimizer.lr (docs/metrics.md#collapse)"
)


class CollapseWarning:
    """Measures the diversity of the batch in each logged step, and says when it has been too low for too long."""

    def __init__(self, domains: list[str], every: int, across: Callable[[Tensor], Tensor]) -> None:
        """``every``: steps between measurements. ``across``: the mean over processes, which have equal shares."""
        self.domains = domains
        self.every = every
        self._across = across
        self._sums: dict[str, Tensor] = {}
        self._low: dict[str, list[int]] = {}
        """Domains whose last logged diversity is below the limit: the first step and number of such lines in a row."""
        self.collapsed: dict[str, int] = {}
        """Domains that have collapsed, with the step of their warning."""

    @torch.no_grad()
    def add(self, step: int, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> None:
        """Add a micro-batch of ``step`` (from 0), {domain: (B, *shape)} each, if it is a step that is logged."""
        if (step + 1) % self.every:
            return
        for domain in self.domains:
            sums = torch.cat([_moments(samples[domain]) for samples in (real, fake)])
            self._sums[domain] = self._sums[domain] + sums if domain in self._sums else sums

    def take(self) -> dict[str, float]:
        """The diversity of each domain in the step that was added, by flat name; empty if none was.

        It waits for the device. NaN where the real samples of the batch do not differ.
        """
        if not self._sums:
            return {}
        sums = self._across(torch.cat(list(self._sums.values())))
        ratios = [_diversity(own) for own in sums.split([len(own) for own in self._sums.values()])]
        values = torch.stack(ratios).tolist()
        found = {f"{BATCH_DIVERSITY}/{domain}": value for domain, value in zip(self._sums, values, strict=True)}
        self._sums = {}
        return found

    def note(self, step: int, values: Mapping[str, float]) -> list[str]:
        """Note what :meth:`take` gave after ``step`` (from 1); returns a warning for each domain newly collapsed."""
        warnings: list[str] = []
        for domain in self.domains if values else ():
            value = values.get(f"{BATCH_DIVERSITY}/{domain}", math.nan)
            if not value < LIMIT:
                self._low.pop(domain, None)
                self.collapsed.pop(domain, None)
                continue
            first, lines = self._low.get(domain, (step, 0))
            self._low[domain] = [first, lines + 1]
            if domain not in self.collapsed and lines + 1 >= _LINES and step - first >= SPAN:
                self.collapsed[domain] = step
                warnings.append(
                    f"step {step:,}: the generators have collapsed in domain '{domain}': for {step - first:,} steps "
                    f"the samples of a batch have differed less than {LIMIT} times as much as real ones (now "
                    f"{value:.2g} times); {ADVICE}"
                )
        return warnings

    def plain(self) -> dict[str, Any]:
        """What has been noted, for a checkpoint."""
        return {"low": self._low, "collapsed": self.collapsed}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Load what :meth:`plain` returned."""
        self._low = dict(values.get("low", {}))
        self.collapsed = dict(values.get("collapsed", {}))


def _moments(samples: Tensor) -> Tensor:
    """Number of samples, sum of their squares, sum of the samples: (2 + size,)."""
    flat = samples.flatten(1).float()
    return torch.cat([flat.new_full((1,), len(flat)), flat.square().sum().reshape(1), flat.sum(0)])


def _diversity(moments: Tensor) -> Tensor:
    """The root of the generated samples' summed variances over the real samples', from the moments of both."""
    real, fake = (_variance(half) for half in moments.chunk(2))
    return (fake / real).sqrt()


def _variance(moments: Tensor) -> Tensor:
    """The sum over numbers of their variance over samples; rounding may fall below 0."""
    count, squares, sums = moments[0], moments[1], moments[2:]
    return (squares / count - (sums / count).square().sum()).clamp(min=0)
