"""An architecture for sequences: convolutions along one axis, such as time."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.layers import PReLU, initialised, output_activation, scale_channels


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError(f"{kernel} is even; give an odd number")
    return kernel


class Upsampling1d:
    """Convolutional networks for sequences: generator layers double the length, discriminator layers halve it.

    A sequence is (channels, length), with any number of channels: a waveform (1, 512), a spectrogram with 32
    frequencies (32, 64). The length must halve evenly k times, until it is 4 to 7.

    The generator has k + 2 layers, the discriminator k + 1. For a length of 64 (k = 4) and width 1:

    ======  ========================================  ====================================
    layer   generator                                 discriminator
    ======  ========================================  ====================================
    1       FC to 128 channels of 4, BN, PReLU        convolution, stride 2, 32 of 32, LReLU
    2       up, convolution, 128 of 8, BN, PReLU      the same, 64 of 16, LReLU
    3       the same, 64 of 16                        the same, 128 of 8, LReLU
    4       the same, 48 of 32                        the same, 256 of 4, LReLU
    5       the same, 32 of 64                        FC to the logits
    6       convolution, output activation
    ======  ========================================  ====================================

    "Up" is nearest-neighbour upsampling by two, BN batch normalisation, LReLU leaky ReLU; every convolution has
    ``kernel`` taps. The channels are those of ``upsampling``: they depend on the distance from the generator's first
    and from the discriminator's last layer. So sequences of different lengths can share ``first`` and ``last`` layers,
    which see the same part of the time.
    """

    def __init__(
        self,
        *,
        width: Annotated[float, Field(gt=0, le=16, description="factor on the channels of every hidden layer")] = 1.0,
        kernel: Annotated[
            int, Field(ge=3, le=101, description="taps of each convolution; an odd number"), AfterValidator(_odd)
        ] = 5,
        slope: Annotated[
            float, Field(ge=0, le=1, description="slope of the discriminator's leaky ReLU below zero")
        ] = 0.2,
    ) -> None:
        self.width = width
        self.kernel = kernel
        self.slope = slope

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """(B, latent) -> (B, *domain.shape) within domain.range, in k + 2 layers.

        Raises:
            ConfigError: the samples are not sequences, or their length does not halve evenly.
        """
        halvings, start = _halvings(domain)
        channels = self._scaled([128, 128, 64, 48, 32, 24], beyond=16, count=halvings + 1)
        first = nn.Sequential(
            nn.Linear(latent, channels[0] * start, bias=False),
            nn.Unflatten(1, (channels[0], start)),
            nn.BatchNorm1d(channels[0]),
            PReLU(),
        )
        blocks = [
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                nn.Conv1d(before, after, self.kernel, padding=self.kernel // 2, bias=False),
                nn.BatchNorm1d(after),
                PReLU(),
            )
            for before, after in pairwise(channels)
        ]
        last = nn.Sequential(
            nn.Conv1d(channels[-1], domain.shape[0], self.kernel, padding=self.kernel // 2), output_activation(domain)
        )
        return initialised([first, *blocks, last], slope=0.25)

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """(B, *domain.shape) -> logits (B, outputs), in k + 1 layers.

        Raises:
            ConfigError: the samples are not sequences, or their length does not halve evenly.
        """
        halvings, start = _halvings(domain)
        channels = self._scaled([256, 128, 64], beyond=32, count=halvings)[::-1]
        blocks = [
            nn.Sequential(
                nn.Conv1d(before, after, self.kernel, stride=2, padding=self.kernel // 2), nn.LeakyReLU(self.slope)
            )
            for before, after in pairwise([domain.shape[0], *channels])
        ]
        last = nn.Sequential(nn.Flatten(), nn.Linear(channels[-1] * start, outputs))
        return initialised([*blocks, last], slope=self.slope)

    def _scaled(self, channels: list[int], *, beyond: int, count: int) -> list[int]:
        return [scale_channels(number, self.width) for number in (channels + [beyond] * count)[:count]]


def _halvings(domain: Domain) -> tuple[int, int]:
    """How many times the domain's sequences halve evenly, and their length after that."""
    fits = "sequences (channels, length) whose length halves evenly down to 4 to 7: 28, 32, 64, 96, 512, ..."
    problem = f"domain '{domain.name}' has samples of shape {domain.shape}; architecture 'upsampling-1d' takes {fits}"
    if len(domain.shape) != 2 or domain.size < 1:
        raise ConfigError(problem)
    length = domain.shape[1]
    halvings = (length // 4).bit_length() - 1
    if halvings < 1:
        raise ConfigError(f"{problem}; give a length of 8 or more")
    unit = 2**halvings
    if length % unit:
        raise ConfigError(f"{problem}; {length // unit * unit} would fit: cut or resample to it")
    return halvings, length // unit
