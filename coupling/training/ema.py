"""The exponential moving average of networks."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coupling.config.schedules import Number, number_at


class MovingAverage:
    """theta_ema <- decay * theta_ema + (1 - decay) * theta, after every step.

    Early on the decay is smaller, (1 + step) / (10 + step), so that the average forgets the first weights
    within few steps. Running statistics are averaged with the same decay, so that they belong to
    the averaged weights; tensors without fractions (a counter, a mask) are copied.
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: Number) -> None:
        self.decay = decay
        self.networks: dict[str, Any] = copy.deepcopy(dict(networks))  # in one call: a loss may refer to another
        """The averages, in evaluation mode, with the names and types of ``networks``."""
        for network in self.networks.values():
            network.eval().requires_grad_(False)
        both = self.networks.values(), networks.values()
        self._floats = [_tensors(several, floats=True) for several in both]
        self._others = [_tensors(several, floats=False) for several in both]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights of ``step`` (from 0)."""
        average, live = self._floats
        torch._foreach_lerp_(average, live, 1.0 - min(number_at(self.decay, step), (1 + step) / (10 + step)))
        for copied, current in zip(*self._others, strict=True):
            copied.copy_(current)


def _tensors(networks: Iterable[nn.Module], *, floats: bool) -> list[Tensor]:
    tensors = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    return [t.detach() for t in tensors if t.is_floating_point() is floats]
