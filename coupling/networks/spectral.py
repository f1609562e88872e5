"""Spectral normalisation whose estimate changes once in a step, so that every pass of a step has the same weights.

torch's own improves its estimate in every forward pass in training mode. Then the gradient would depend on the number
of passes in a step: on the domains, the micro-batches and the losses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

_STARTS = 15
"""Power iterations on the initial weights."""


class SpectralLayer(nn.Module):
    """A layer with spectral normalisation of all its convolutions and dense layers (Miyato et al. 2018).

    Every weight is divided by its largest singular value, which is estimated once in a step.

    Args:
        layer: the layer; it is changed in place.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        for module in list(layer.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                register_parametrization(module, "weight", SpectralScale(module.weight))

    def forward(self, input: Tensor) -> Tensor:
        """Compute what the layer computes, with weights whose largest singular value is 1.

        Args:
            input: (B, ...), what the layer takes.

        Returns:
            (B, ...), what the layer gives.
        """
        output: Tensor = self.layer(input)
        return output

    @torch.no_grad()
    def after_step(self) -> None:
        """Follow the weights, which the optimizer has changed, by one power iteration."""
        for module in self.layer.modules():
            if isinstance(module, ParametrizationList):
                for scale in module:
                    if isinstance(scale, SpectralScale):
                        scale.improve(module.original)


class SpectralScale(nn.Module):
    """Divides a weight by its largest singular value, ``|u^T W| / |u|``; u estimates the first left singular vector."""

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        weight = weight.detach()
        self.register_buffer("u", _unit(torch.randn_like(weight.flatten(1)[:, 0])))
        for _ in range(_STARTS):
            self.improve(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """(out, ...) to the same shape."""
        size = (self.u @ weight.flatten(1)).norm() / self.u.norm()  # in a moving average u is no unit vector
        scaled: Tensor = weight / size
        return scaled

    def improve(self, weight: Tensor) -> None:
        """One power iteration on ``weight``."""
        matrix = weight.flatten(1)
        self.u.copy_(_unit(matrix @ _unit(self.u @ matrix)))


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / vector.norm().clamp_min(1e-12)
    return unit
