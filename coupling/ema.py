"""The generators' exponential moving average."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class MovingAverage:
    """theta_ema <- decay * theta_ema + (1 - decay) * theta, after every step.

    Early on the decay is smaller, (1 + step) / (10 + step), so that the first weights are forgotten
    within few steps. Running statistics are averaged with the same decay, so that they belong to the averaged weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._pairs = self._floats(self.network), self._floats(network)

    @staticmethod
    def _floats(network: nn.Module) -> list[Tensor]:
        tensors = [*network.parameters(), *network.buffers()]
        return [t.detach() for t in tensors if t.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights of ``step`` (from 0)."""
        average, live = self._pairs
        torch._foreach_lerp_(average, live, 1.0 - min(self.decay, (1 + step) / (10 + step)))
