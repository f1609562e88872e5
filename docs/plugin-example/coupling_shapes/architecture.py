"""An architecture."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from coupling import ConfigError, Domain, output_activation


class Small:
    """Three layers each way for 16x16 images of any channels."""

    def __init__(self, *, channels: Annotated[int, Field(ge=1, description="of the hidden layers")] = 32) -> None:
        self.channels = channels

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """(B, latent) -> (B, *domain.shape) within domain.range."""
        c = self.channels
        return [
            nn.Sequential(nn.Linear(latent, c * 16), nn.Unflatten(1, (c, 4, 4)), nn.BatchNorm2d(c), nn.ReLU()),
            nn.Sequential(nn.ConvTranspose2d(c, c, 4, stride=2, padding=1), nn.BatchNorm2d(c), nn.ReLU()),
            nn.Sequential(nn.ConvTranspose2d(c, colours(domain), 4, stride=2, padding=1), output_activation(domain)),
        ]

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """(B, *domain.shape) -> logits (B, outputs)."""
        c = self.channels
        return [
            nn.Sequential(nn.Conv2d(colours(domain), c, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            nn.Sequential(nn.Conv2d(c, c, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            nn.Sequential(nn.Flatten(), nn.Linear(c * 16, outputs)),
        ]


def colours(domain: Domain) -> int:
    """The domain's channels; it must be of 16x16 images."""
    if len(domain.shape) != 3 or domain.shape[1:] != (16, 16):
        raise ConfigError(
            f"domain '{domain.name}' has samples of shape {domain.shape}; 'small' takes (channels, 16, 16)"
        )
    return domain.shape[0]
