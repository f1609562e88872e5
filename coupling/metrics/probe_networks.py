"""The networks of probes: a convolutional classifier's layers, and an hourglass for images to images."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupling.data.domain_data import DomainData

FEATURES = 128
"""Units of a classifier's last hidden layer."""


PORTION = 500
"""Samples that go through a network at once."""


class Centred(nn.Module):
    """Maps [low, high] to [-1, 1]."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.middle, self.radius = (low + high) / 2, (high - low) / 2

    def forward(self, samples: Tensor) -> Tensor:
        """Samples of any shape."""
        return (samples - self.middle) / self.radius


def trunk(data: DomainData) -> list[nn.Module]:
    """Layers from samples of a domain, in its range, to FEATURES units.

    Strided convolutions halve images down to 4 pixels a side; other samples go through two linear layers.
    """
    shape = data.domain.shape
    layers: list[nn.Module] = [Centred(*data.domain.range)]
    if len(shape) != 3:
        size = math.prod(shape)
        return [*layers, nn.Flatten(), nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, FEATURES), nn.ReLU()]
    channels, side = shape[0], list(shape[1:])
    halvings = max(1, math.ceil(math.log2(max(side) / 4)))
    for number in range(halvings):
        kernel = 5 if number == 0 else 3
        width = max(16, FEATURES >> (halvings - 1 - number))
        layers += [
            nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels, side = width, [(n + 1) // 2 for n in side]
    return [*layers, nn.Flatten(), nn.Linear(channels * math.prod(side), FEATURES), nn.ReLU()]


class Hourglass(nn.Module):
    """(B, C, H, W) to (B, 1, H, W): four halvings, then back, with the features of each size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        down = [channels, 16, 32, 64, 64]
        self.down = nn.ModuleList(
            _block(a, b, stride=2, kernel=5 if number == 0 else 3) for number, (a, b) in enumerate(pairwise(down))
        )
        self.up = nn.ModuleList([_block(64 + 64, 32), _block(32 + 32, 16), _block(16 + 16, 16)])
        self.last = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores before the sigmoid."""
        kept = [images]
        for layer in self.down:
            kept.append(layer(kept[-1]))
        x = kept.pop()
        for layer in self.up:
            skipped = kept.pop()
            x = layer(torch.cat([F.interpolate(x, size=skipped.shape[2:], mode="nearest"), skipped], 1))
        full = F.pixel_shuffle(self.last(x), 2)
        height, width = images.shape[2:]
        return full[:, :, :height, :width]


def _block(channels: int, width: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


@torch.no_grad()
def run_in_portions(network: nn.Module, samples: Tensor) -> Tensor:
    """A network's outputs for many samples, on the CPU, in evaluation mode."""
    network.eval()
    return torch.cat([network(part.float()) for part in samples.split(PORTION)])
