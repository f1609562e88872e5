"""The generators' exponential moving average."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class MovingAverage:
    """theta_ema <- decay * theta_ema + (1 - decay) * theta, after every step.

    Early on the decay is smaller, (1 + step) / (10 + step), so that the first weights are forgotten
    within few steps. Running statistics are averaged with the same decay, so that they belong to
    the averaged weights; what cannot be averaged (a counter, a mask) is copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._floats = [_tensors(net, floats=True) for net in (self.network, network)]
        self._others = [_tensors(net, floats=False) for net in (self.network, network)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights of ``step`` (from 0)."""
        average, live = self._floats
        torch._foreach_lerp_(average, live, 1.0 - min(self.decay, (1 + step) / (10 + step)))
        for copied, current in zip(*self._others, strict=True):
            copied.copy_(current)


def _tensors(network: nn.Module, *, floats: bool) -> list[Tensor]:
    tensors = [*network.parameters(), *network.buffers()]
    return [t.detach() for t in tensors if t.is_floating_point() is floats]
