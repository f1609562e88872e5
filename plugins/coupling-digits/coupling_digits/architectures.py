"""The paper's digit networks: convolutional (Table 11) and, for rotation, fully connected (Table 2); larger ones.

One entry of a returned list is one of the paper's layers, so rules such as ``first: 4`` mean what
they mean in its tables.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import nn

from coupling import (
    ConfigError,
    Deconvolution,
    Domain,
    PReLU,
    UpsampledConvolution,
    deconvolution_layer,
    output_activation,
    scale_channels,
)

SIDE = 28
"""Height and width of the images, in pixels: the kernels are chosen for it."""


class Digits:
    """Networks for 28x28 digits (Table 11): five deconvolutions; two convolutions, two dense layers."""

    def __init__(
        self,
        *,
        width: Annotated[
            float,
            Field(gt=0, le=8, description="factor on the channels of every hidden layer; 1 is the paper's"),
        ] = 1.0,
        dropout: Annotated[
            float,
            Field(ge=0, lt=1, description="probability of dropout before the discriminator's last layer"),
        ] = 0.0,
    ) -> None:
        self.width = width
        self.dropout = dropout

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """Five layers: (B, latent) -> 4, 7, 13, 25 pixels a side -> (B, channels, 28, 28) in the range.

        Raises ConfigError where the domain is not (channels, 28, 28).
        """
        channels = _channels(domain)
        wide = [scale_channels(count, self.width) for count in (1024, 512, 256, 128)]
        return [
            nn.Sequential(nn.Unflatten(1, (latent, 1, 1)), deconvolution_layer(latent, wide[0], 4)),
            deconvolution_layer(wide[0], wide[1], 3, stride=2, padding=1),
            deconvolution_layer(wide[1], wide[2], 3, stride=2, padding=1),
            deconvolution_layer(wide[2], wide[3], 3, stride=2, padding=1),
            nn.Sequential(Deconvolution(wide[3], channels, 6, padding=1), output_activation(domain)),
        ]

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """Four layers: (B, channels, 28, 28) -> 12, then 4 pixels a side -> features -> logits (B, outputs).

        Raises ConfigError where the domain is not (channels, 28, 28).
        """
        channels = _channels(domain)
        # A few channels at the least: one or two cannot tell digits apart at any depth.
        first, second, hidden = (max(4, scale_channels(count, self.width)) for count in (20, 50, 500))
        last = nn.Linear(hidden, outputs)
        return [
            nn.Sequential(nn.Conv2d(channels, first, 5), nn.MaxPool2d(2)),
            nn.Sequential(nn.Conv2d(first, second, 5), nn.MaxPool2d(2)),
            nn.Sequential(nn.Flatten(), nn.Linear(second * 4 * 4, hidden), PReLU()),
            nn.Sequential(nn.Dropout(self.dropout), last) if self.dropout else last,
        ]


class FullyConnectedDigits(Digits):
    """Networks for 28x28 digits in any orientation (Table 2): dense generator, Table 11's discriminator.

    A convolution's weights mean something else in a turned image, so no deconvolution could be shared.
    """

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """Five layers: (B, latent) -> four times 1024 features -> (B, channels, 28, 28) in the range.

        Raises ConfigError where the domain is not (channels, 28, 28).
        """
        _channels(domain)
        hidden = scale_channels(1024, self.width)
        return [
            *(_dense(inputs, hidden) for inputs in (latent, hidden, hidden, hidden)),
            nn.Sequential(nn.Linear(hidden, domain.size), nn.Unflatten(1, domain.shape), output_activation(domain)),
        ]


class Digits32:
    """Networks for 32x32 images, such as MNIST-M: upsampling; four strided convolutions and a dense layer.

    Made for a least-squares loss and discriminators that share their FIRST layers, which see strokes and textures, and
    keep last layers of their own, which judge what is real in their domain.

    ======  ==============================================  ===========================================
    layer   generator                                       discriminator
    ======  ==============================================  ===========================================
    1       FC to 128 channels of 8x8, BN                   3x3 convolution, 16 of 16x16, LReLU, dropout
    2       up, 3x3 convolution, 128 of 16x16, BN, LReLU    the same, 32 of 8x8, BN
    3       up, 3x3 convolution, 64 of 32x32, BN, LReLU     the same, 64 of 4x4, BN
    4       3x3 convolution, output activation              the same, 128 of 2x2, BN
    5                                                       FC to the logits
    ======  ==============================================  ===========================================

    "Up" is nearest upsampling by two, BN batch normalisation, LReLU leaky ReLU of slope 0.2; the
    discriminator's convolutions have stride 2, and its dropout is of whole channels.
    """

    def __init__(
        self,
        *,
        width: Annotated[float, Field(gt=0, le=8, description="factor on the channels of every hidden layer")] = 1.0,
        dropout: Annotated[
            float, Field(ge=0, lt=1, description="probability of dropping a channel, in the discriminator")
        ] = 0.25,
    ) -> None:
        self.width = width
        self.dropout = dropout

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """Four layers: (B, latent) -> 8, 16, 32 pixels a side -> (B, channels, 32, 32) in the range.

        Raises ConfigError where the domain is not (channels, 32, 32).
        """
        channels = _channels(domain, 32)
        first, second = scale_channels(128, self.width), scale_channels(64, self.width)
        return [
            nn.Sequential(
                nn.Linear(latent, first * 8 * 8, bias=False), nn.Unflatten(1, (first, 8, 8)), nn.BatchNorm2d(first)
            ),
            *(
                nn.Sequential(UpsampledConvolution(a, b, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2))
                for a, b in ((first, first), (first, second))
            ),
            nn.Sequential(nn.Conv2d(second, channels, 3, padding=1), output_activation(domain)),
        ]

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """Five layers: (B, channels, 32, 32) -> 16, 8, 4, 2 pixels a side -> logits (B, outputs).

        Raises ConfigError where the domain is not (channels, 32, 32).
        """
        wide = [_channels(domain, 32), *(scale_channels(count, self.width) for count in (16, 32, 64, 128))]
        return [
            *(self._halving(a, b, normalised=number > 0) for number, (a, b) in enumerate(pairwise(wide))),
            nn.Sequential(nn.Flatten(), nn.Linear(wide[-1] * 2 * 2, outputs)),
        ]

    def _halving(self, inputs: int, outputs: int, *, normalised: bool) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=not normalised)]
        if normalised:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.LeakyReLU(0.2))
        if self.dropout:
            layers.append(nn.Dropout2d(self.dropout))
        return nn.Sequential(*layers)


def _channels(domain: Domain, side: int = SIDE) -> int:
    """The domain's number of channels; ConfigError where its samples are not images of ``side`` pixels a side."""
    if len(domain.shape) != 3 or domain.shape[1:] != (side, side):
        raise ConfigError(
            f"domain '{domain.name}': these digit networks draw images of shape (channels, {side}, {side}), "
            f"but its samples have shape {domain.shape}; resize them or take another architecture"
        )
    return domain.shape[0]


def _dense(inputs: int, outputs: int) -> nn.Sequential:
    """One hidden layer. Batch normalisation would subtract a bias again, so there is none."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), PReLU())
