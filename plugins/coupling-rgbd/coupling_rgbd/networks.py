"""The paper's networks for pairs of colour and depth (supplement, Tables 13 and 14)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.layers import Deconvolution, PReLU, output_activation, scaled


class Rgbd:
    """Colour and depth at 64 or 128 pixels: 7 generator layers, 8 discriminator layers.

    The paper shares generator layers 1-5 and discriminator layers 3-8. Objects (64 x 64,
    Table 13) and indoor scenes (128 x 128, Table 14) differ in generator layer 6, which doubles
    the picture at 128. Any number of channels; the output's activation follows the domain's range.
    """

    def __init__(
        self,
        *,
        width: Annotated[
            float, Field(gt=0, le=8, description="factor on the paper's channels, but for input and output")
        ] = 1.0,
    ) -> None:
        self.width = width

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        r"""Layers from (B, latent) to (B, \\*domain.shape) within the domain's range."""
        channels, size = _picture(domain)
        c1024, c512, c256, c128, c64, c32 = (scaled(c, self.width) for c in (1024, 512, 256, 128, 64, 32))
        return [
            nn.Sequential(nn.Unflatten(1, (latent, 1, 1)), _deconvolution(latent, c1024, 4, 1, 0)),
            _deconvolution(c1024, c512, 4, 2, 1),
            _deconvolution(c512, c256, 4, 2, 1),
            _deconvolution(c256, c128, 4, 2, 1),
            _deconvolution(c128, c64, 4, 2, 1),
            _deconvolution(c64, c32, 3, 1, 1) if size == 64 else _deconvolution(c64, c32, 4, 2, 1),
            nn.Sequential(Deconvolution(c32, channels, 3, padding=1), output_activation(domain)),
        ]

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        r"""Layers from (B, \\*domain.shape) to logits (B, outputs)."""
        channels, size = _picture(domain)
        c32, c64, c128, c256, c512, c1024, c2048 = (scaled(c, self.width) for c in (32, 64, 128, 256, 512, 1024, 2048))
        last = size // 64
        return [
            _convolution(channels, c32, 5),
            _convolution(c32, c64, 5),
            _convolution(c64, c128, 5),
            _convolution(c128, c256, 3),
            _convolution(c256, c512, 3),
            _convolution(c512, c1024, 3),
            nn.Sequential(
                nn.Flatten(),
                nn.Linear(c1024 * last * last, c2048, bias=False),
                nn.BatchNorm1d(c2048),
                PReLU(),
            ),
            nn.Linear(c2048, outputs),
        ]


def _picture(domain: Domain) -> tuple[int, int]:
    """Channels and size of the domain's pictures."""
    if len(domain.shape) != 3 or domain.shape[1:] not in ((64, 64), (128, 128)):
        raise ConfigError(
            f"domain '{domain.name}': architecture 'rgbd' draws (channels, 64, 64) or (channels, 128, 128), "
            f"not {domain.shape}"
        )
    return domain.shape[0], domain.shape[1]


# Without a bias before normalisation, which would take it away again.


def _deconvolution(before: int, after: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        Deconvolution(before, after, kernel, stride, padding, bias=False), nn.BatchNorm2d(after), PReLU()
    )


def _convolution(before: int, after: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        PReLU(),
    )
