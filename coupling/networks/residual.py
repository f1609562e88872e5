"""The architecture ``residual``: images of any size by blocks with a skip path."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.blocks import (
    AddedBranch,
    ChannelGains,
    MinibatchDeviation,
    Resampling,
    down_block,
    initialise,
    up_block,
)
from coupling.networks.layers import PReLU, output_activation, scale_channels
from coupling.networks.spectral import SpectralLayer

_SMALLEST = 7
"""Largest shorter side, in pixels, that is not halved again."""


class Residual:
    """Residual networks for images of any size: generator layers double the sides, discriminator layers halve them.

    An image is (channels, height, width), with any number of channels. The sides are halved k times, rounded up, until
    the shorter one has at most 7 pixels: 60x80 gives 30x40, 15x20, 8x10, 4x5, so k is 4. Generators and discriminators
    have k + 2 layers each. For 64x64 images (k = 4) and width 1:

    ======  ========================================  ====================================
    layer   generator                                 discriminator
    ======  ========================================  ====================================
    1       FC to 128 channels of 4x4, BN, PReLU      3x3 convolution, 16 of 64x64, LReLU
    2       block, 128 of 8x8                         block, 32 of 32x32
    3       block, 64 of 16x16                        block, 64 of 16x16
    4       block, 48 of 32x32                        block, 128 of 8x8
    5       block, 32 of 64x64                        block, 256 of 4x4
    6       PReLU, 3x3 convolution, output            LReLU, FC to the logits
            activation
    ======  ========================================  ====================================

    A block adds a branch (two 3x3 convolutions with an activation between them) to a skip path, interpolated or
    averaged, with a 1x1 convolution where the number of channels changes. LReLU is the leaky ReLU, BN batch
    normalisation, which is in the branches of the generator's blocks too.

    With ``between`` there is one more layer behind each layer but the last, with an even number: the gains and shifts
    of the channels, or a small branch. All of them begin as the identity. The rules ``first: 7`` and ``layers: [9,
    11]`` then share everything but layers 8 and 10.

    With ``minibatch_deviation``, several processes or micro-batches compute what one batch does if each of them holds
    whole groups.

    The channels depend on the distance from the generator's first and from the discriminator's last layer, as in
    ``upsampling``.
    """

    def __init__(
        self,
        *,
        width: Annotated[float, Field(gt=0, le=16, description="factor on the channels of every hidden layer")] = 1.0,
        resampling: Annotated[
            Resampling,
            Field(description="of the branches: bilinear: between the convolutions; nearest: as a part of one, faster"),
        ] = "nearest",
        normalised: Annotated[bool, Field(description="normalise the generator's hidden layers by batch")] = True,
        spectral: Annotated[
            bool, Field(description="spectral normalisation of all weights; needs fixup: false")
        ] = False,
        fixup: Annotated[
            bool, Field(description="begin the last convolution of every block at zero, so that only its skip counts")
        ] = True,
        minibatch_deviation: Annotated[
            int | None,
            Field(
                ge=2,
                description="discriminator: one more channel before the last layer, the standard deviation within "
                "groups of so many samples (usually 4), then a 3x3 convolution; null: none",
            ),
        ] = None,
        between: Annotated[
            Literal["gains", "branches"] | None,
            Field(
                description="one more layer behind each but the last, to be kept private: gains and shifts of the "
                "channels, or branches, which are added and begin at zero; null: none"
            ),
        ] = None,
        slope: Annotated[
            float, Field(ge=0, le=1, description="slope of the discriminator's leaky ReLU below zero")
        ] = 0.2,
    ) -> None:
        if spectral and fixup:
            raise ConfigError("spectral: true cannot scale weights that are zero; set fixup: false")
        self.width = width
        self.resampling: Resampling = resampling
        self.normalised = normalised
        self.spectral = spectral
        self.fixup = fixup
        self.minibatch_deviation = minibatch_deviation
        self.between = between
        self.slope = slope

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """(B, latent) -> (B, *domain.shape) within domain.range, in k + 2 layers.

        Raises:
            ConfigError: the samples are not images.
        """
        sides = _sides(domain)[::-1]
        channels = self._scaled([128, 128, 64, 48, 32, 24], beyond=16, count=len(sides))
        height, width = sides[0]
        dense = nn.Linear(latent, channels[0] * height * width, bias=not self.normalised)
        initialise(dense, 0.25)
        norm = [nn.BatchNorm2d(channels[0])] if self.normalised else []
        start = nn.Sequential(dense, nn.Unflatten(1, (channels[0], height, width)), *norm, PReLU())
        blocks = [
            up_block(
                *step,
                (2 * small[0] - large[0], 2 * small[1] - large[1]),
                resampling=self.resampling,
                normalised=self.normalised,
                last=self._last(len(sides) - 1),
            )
            for step, (small, large) in zip(pairwise(channels), pairwise(sides), strict=True)
        ]
        to_image = nn.Conv2d(channels[-1], domain.shape[0], 3, padding=1)
        initialise(to_image, 0.25)
        last = nn.Sequential(PReLU(), to_image, output_activation(domain))
        return self._completed([start, *blocks], channels, last)

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """(B, *domain.shape) -> logits (B, outputs), in k + 2 layers.

        Raises:
            ConfigError: the samples are not images.
        """
        sides = _sides(domain)
        channels = self._scaled([256, 128, 64, 32], beyond=16, count=len(sides))[::-1]
        from_image = nn.Conv2d(domain.shape[0], channels[0], 3, padding=1)
        initialise(from_image, self.slope)
        start = nn.Sequential(from_image, nn.LeakyReLU(self.slope))
        blocks = [
            down_block(*step, resampling=self.resampling, slope=self.slope, last=self._last(len(sides) - 1))
            for step in pairwise(channels)
        ]
        height, width = sides[-1]
        dense = nn.Linear(channels[-1] * height * width, outputs)
        initialise(dense, 1.0)
        last = nn.Sequential(*self._deviation(channels[-1]), nn.LeakyReLU(self.slope), nn.Flatten(), dense)
        return self._completed([start, *blocks], channels, last)

    def _deviation(self, channels: int) -> list[nn.Module]:
        if self.minibatch_deviation is None:
            return []
        mixing = nn.Conv2d(channels + 1, channels, 3, padding=1)
        initialise(mixing, self.slope)
        return [MinibatchDeviation(self.minibatch_deviation), mixing]

    def _last(self, blocks: int) -> float:
        """The factor on each block's last convolution: with 1 / sqrt(blocks) the signal grows by sqrt(e) at most."""
        return 0.0 if self.fixup else blocks**-0.5

    def _completed(self, layers: Sequence[nn.Module], channels: Sequence[int], last: nn.Module) -> list[nn.Module]:
        """The layers with those between them, and with spectral normalisation; ``channels``: of each layer's output."""
        found = []
        for layer, count in zip(layers, channels, strict=True):
            found.append(SpectralLayer(layer) if self.spectral else layer)
            if self.between == "gains":
                found.append(ChannelGains(count))
            elif self.between == "branches":
                found.append(AddedBranch(count, max(1, count // 4)))
        return [*found, SpectralLayer(last) if self.spectral else last]

    def _scaled(self, channels: list[int], *, beyond: int, count: int) -> list[int]:
        return [scale_channels(number, self.width) for number in (channels + [beyond] * count)[:count]]


def _sides(domain: Domain) -> list[tuple[int, int]]:
    """Heights and widths from the domain's images to the smallest, each half of the one before, rounded up."""
    if len(domain.shape) != 3 or domain.size < 1:
        raise ConfigError(
            f"domain '{domain.name}' has samples of shape {domain.shape}; architecture 'residual' takes images "
            "(channels, height, width); architecture 'mlp' takes samples of any shape"
        )
    _, height, width = domain.shape
    sides = [(height, width)]
    while min(sides[-1]) > _SMALLEST:
        height, width = sides[-1]
        sides.append((-(-height // 2), -(-width // 2)))
    return sides
