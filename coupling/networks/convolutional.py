"""The paper's networks for images of 64x64 or 128x128 pixels (Tables 12 to 14), as a base for plugins.

One entry of a returned list is one of the paper's layers: a rule such as ``first: 5`` counts as the tables do.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.layers import Deconvolution, PReLU, deconvolution_layer, output_activation, scale_channels

SIDES = (64, 128)
"""Sides of the images that the networks can draw, in pixels."""


class Convolutional:
    """The paper's networks for colour images and for pairs of colour and depth (Tables 12 to 14).

    Generators have 7 deconvolutions; discriminators have 6 convolutions and 2 dense layers. They draw images of 128x128
    (Tables 12, 14) or 64x64 pixels (Table 13) with any number of channels. For 64x64 the generator's sixth layer is 3x3
    with stride 1; all others stay. The output activation follows the domain's range. The paper shares generator layers
    1 to 5 and discriminator layers 3 to 8.
    """

    def __init__(
        self,
        *,
        width: Annotated[
            float,
            Field(gt=0, le=8, description="factor on the channels of every hidden layer; 1: as in the paper"),
        ] = 1.0,
    ) -> None:
        self.width = width

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """Make seven layers: (B, latent) -> sides of 4, 8, 16, 32, 64, then 64 or 128 pixels -> (B, *domain.shape).

        Args:
            domain: the domain whose samples are drawn.
            latent: number of coordinates of a code.

        Raises:
            ConfigError: the samples are not images of 64x64 or 128x128 pixels.
        """
        channels, side = _channels_and_side(domain)
        wide = [scale_channels(count, self.width) for count in (1024, 512, 256, 128, 64, 32)]
        double, keep = (4, 2, 1), (3, 1, 1)  # kernel size, stride, padding
        steps = [double, double, double, double, double if side == 128 else keep]
        return [
            nn.Sequential(nn.Unflatten(1, (latent, 1, 1)), *deconvolution_layer(latent, wide[0], 4)),
            *(
                deconvolution_layer(inputs, outputs, *step)
                for (inputs, outputs), step in zip(pairwise(wide), steps, strict=True)
            ),
            nn.Sequential(Deconvolution(wide[5], channels, 3, padding=1), output_activation(domain)),
        ]

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """Make eight layers: (B, *domain.shape) -> the side halved six times -> features -> logits (B, outputs).

        Args:
            domain: the domain whose samples are judged.
            outputs: number of logits.

        Raises:
            ConfigError: the samples are not images of 64x64 or 128x128 pixels.
        """
        channels, side = _channels_and_side(domain)
        wide = [channels, *(scale_channels(count, self.width) for count in (32, 64, 128, 256, 512, 1024))]
        hidden = scale_channels(2048, self.width)
        kernels = (5, 5, 5, 3, 3, 3)
        return [
            *(
                _downsampling(inputs, outputs, kernel)
                for (inputs, outputs), kernel in zip(pairwise(wide), kernels, strict=True)
            ),
            nn.Sequential(
                nn.Flatten(),
                nn.Linear(wide[-1] * (side // 64) ** 2, hidden, bias=False),
                nn.BatchNorm1d(hidden),
                PReLU(),
            ),
            nn.Linear(hidden, outputs),
        ]


def _channels_and_side(domain: Domain) -> tuple[int, int]:
    if len(domain.shape) != 3 or domain.shape[1] != domain.shape[2] or domain.shape[1] not in SIDES:
        raise ConfigError(
            f"domain '{domain.name}': these networks draw images of shape (channels, 64, 64) or (channels, 128, 128), "
            f"but its samples have shape {domain.shape}; resize them or choose another architecture"
        )
    return domain.shape[0], domain.shape[1]


def _downsampling(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """One layer that halves the side. Batch normalisation would subtract a bias again, so there is none."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        PReLU(),
    )
