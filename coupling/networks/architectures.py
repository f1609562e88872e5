"""Architectures that need no plugin: for samples of any shape, and for images of any channels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.layers import PReLU, UpsampledConvolution, initialised, output_activation, scale_channels


class MLP:
    """Fully connected networks, for samples of any shape.

    With h = ``layers`` hidden layers:

    ==============  ====================================  =====================================
    layer           generator                             discriminator
    ==============  ====================================  =====================================
    1 to h          FC ``hidden``, batch normalisation    FC ``hidden``, ``activation`` (the
                    (``normalised``), ``activation``      first one flattens the sample)
    h + 1 (last)    FC to the sample's shape, output      FC to the logits
                    activation
    ==============  ====================================  =====================================

    The defaults give the generator of the paper's rotation task (Table 2), which shares ``first: 4``.
    Domains of different shapes can share every layer except the generator's last and the
    discriminator's first.
    """

    def __init__(
        self,
        *,
        hidden: Annotated[int, Field(ge=1, description="units of each hidden layer")] = 1024,
        layers: Annotated[int, Field(ge=1, le=1000, description="hidden layers, without the output layer")] = 4,
        normalised: Annotated[bool, Field(description="normalise the generator's hidden layers by batch")] = True,
        activation: Annotated[Literal["prelu", "relu"], Field(description="activation of the hidden layers")] = "prelu",
    ) -> None:
        self.hidden = hidden
        self.layers = layers
        self.normalised = normalised
        self.activation: Callable[[], nn.Module] = PReLU if activation == "prelu" else nn.ReLU
        self.slope = 0.25 if activation == "prelu" else 0.0

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """(B, latent) -> (B, *domain.shape) within domain.range, in ``layers + 1`` layers.

        Raises:
            ConfigError: the domain's samples are empty.
        """
        _check_not_empty(domain)
        inputs = [latent] + [self.hidden] * (self.layers - 1)
        hidden = [nn.Sequential(*self._normalised(size), self.activation()) for size in inputs]
        last = nn.Sequential(
            nn.Linear(self.hidden, domain.size), nn.Unflatten(1, domain.shape), output_activation(domain)
        )
        return initialised([*hidden, last], slope=self.slope)

    def _normalised(self, inputs: int) -> list[nn.Module]:
        if not self.normalised:
            return [nn.Linear(inputs, self.hidden)]
        return [nn.Linear(inputs, self.hidden, bias=False), nn.BatchNorm1d(self.hidden)]

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """(B, *domain.shape) -> logits (B, outputs), in ``layers + 1`` layers.

        Raises:
            ConfigError: the domain's samples are empty.
        """
        _check_not_empty(domain)
        first = nn.Sequential(nn.Flatten(), nn.Linear(domain.size, self.hidden), self.activation())
        more = [nn.Sequential(nn.Linear(self.hidden, self.hidden), self.activation()) for _ in range(self.layers - 1)]
        return initialised([first, *more, nn.Linear(self.hidden, outputs)], slope=self.slope)


class Upsampling:
    """Convolutional networks for images: generator layers double the sides, discriminator layers halve them.

    An image is (channels, height, width), with any number of channels. Both sides must halve
    evenly k times, until the shorter one has 4 to 7 pixels: 28, 32, 48, 64, 96, 128, ...

    The generator has k + 2 layers, the discriminator k + 1. For 64x64 images (k = 4) and width 1:

    ======  ========================================  ====================================
    layer   generator                                 discriminator
    ======  ========================================  ====================================
    1       FC to 128 channels of 4x4, BN, PReLU      4x4 convolution, 32 of 32x32, LReLU
    2       up, 3x3 convolution, 128 of 8x8, BN,      4x4 convolution, 64 of 16x16, LReLU
            PReLU
    3       the same, 64 of 16x16                     4x4 convolution, 128 of 8x8, LReLU
    4       the same, 48 of 32x32                     4x4 convolution, 256 of 4x4, LReLU
    5       the same, 32 of 64x64                     FC to the logits
    6       3x3 convolution, output activation
    ======  ========================================  ====================================

    "Up" is nearest-neighbour upsampling by two, BN batch normalisation, LReLU leaky ReLU. The
    discriminator's convolutions have stride 2; the discriminator has no normalisation. The rule
    ``first: 4`` shares the generator's layers up to half the resolution, and ``last: 3`` shares the
    discriminator's layers from a quarter of the resolution on.

    The channels of a layer depend on its distance from the generator's first and from the
    discriminator's last layer: for larger images the generator continues with 24, 16, 16, ...
    channels, and the discriminator begins with more layers of 32. Domains of different sizes can
    therefore share ``first`` and ``last`` layers, too.
    """

    def __init__(
        self,
        *,
        width: Annotated[float, Field(gt=0, le=16, description="factor on the channels of every hidden layer")] = 1.0,
        slope: Annotated[
            float, Field(ge=0, le=1, description="slope of the discriminator's leaky ReLU below zero")
        ] = 0.2,
    ) -> None:
        self.width = width
        self.slope = slope

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """(B, latent) -> (B, *domain.shape) within domain.range, in k + 2 layers.

        Raises:
            ConfigError: the samples are not images, or their sides do not halve evenly.
        """
        halvings, height, width = _halvings(domain)
        channels = self._scaled([128, 128, 64, 48, 32, 24], beyond=16, count=halvings + 1)
        start = nn.Sequential(
            nn.Linear(latent, channels[0] * height * width, bias=False),
            nn.Unflatten(1, (channels[0], height, width)),
            nn.BatchNorm2d(channels[0]),
            PReLU(),
        )
        blocks = [
            nn.Sequential(UpsampledConvolution(before, after, bias=False), nn.BatchNorm2d(after), PReLU())
            for before, after in pairwise(channels)
        ]
        last = nn.Sequential(nn.Conv2d(channels[-1], domain.shape[0], 3, padding=1), output_activation(domain))
        return initialised([start, *blocks, last], slope=0.25)

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """(B, *domain.shape) -> logits (B, outputs), in k + 1 layers.

        Raises:
            ConfigError: the samples are not images, or their sides do not halve evenly.
        """
        halvings, height, width = _halvings(domain)
        channels = self._scaled([256, 128, 64], beyond=32, count=halvings)[::-1]
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(self.slope))
            for before, after in pairwise([domain.shape[0], *channels])
        ]
        last = nn.Sequential(nn.Flatten(), nn.Linear(channels[-1] * height * width, outputs))
        return initialised([*blocks, last], slope=self.slope)

    def _scaled(self, channels: list[int], *, beyond: int, count: int) -> list[int]:
        return [scale_channels(number, self.width) for number in (channels + [beyond] * count)[:count]]


def _check_not_empty(domain: Domain) -> None:
    if not domain.shape or domain.size < 1:
        raise ConfigError(
            f"domain '{domain.name}' has samples of shape {domain.shape}; architecture 'mlp' takes any shape "
            "of at least one dimension and one number, such as (1,)"
        )


def _halvings(domain: Domain) -> tuple[int, int, int]:
    """How many times the domain's images halve evenly, and the height and width after that."""
    fits = "images (channels, height, width) whose sides halve evenly down to 4 to 7 pixels: 28, 32, 48, 64, 128, ..."
    problem = f"domain '{domain.name}' has samples of shape {domain.shape}; architecture 'upsampling' takes {fits}"
    if len(domain.shape) != 3 or domain.size < 1:
        raise ConfigError(problem)
    _, height, width = domain.shape
    halvings = (min(height, width) // 4).bit_length() - 1
    if halvings < 1:
        raise ConfigError(f"{problem}; resize to 8x8 or more")
    unit = 2**halvings
    if height % unit or width % unit:
        raise ConfigError(f"{problem}; {height // unit * unit}x{width // unit * unit} would fit: resize or crop to it")
    return halvings, height // unit, width // unit
