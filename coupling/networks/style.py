"""Style codes: numbers of z that one domain alone reads, in the layers that are its own.

The input x of every private layer becomes ``x * (1 + A s) + B s``, channel by channel, where s is the domain's style
code and A and B are learned matrices (conditional gains and shifts, as in Huang & Belongie 2017). They begin at zero:
at the start, the domains draw what they would draw without style codes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupling.config.sections import LatentConfig
from coupling.errors import ConfigError
from coupling.networks.coupled import CoupledGenerator
from coupling.networks.trial import input_shapes


class StyleInput(nn.Module):
    """Gains and shifts of a private layer's input, linear in the style code."""

    def __init__(self, style: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2 * channels, style))

    def forward(self, input: Tensor, style: Tensor) -> Tensor:
        """(B, channels, ...) and (B, style) to (B, channels, ...)."""
        gain, shift = F.linear(style, self.weight).view(*style.shape[:1], -1, *[1] * (input.dim() - 2)).chunk(2, 1)
        return torch.addcmul(shift, input, 1 + gain)


def add_styles(generator: CoupledGenerator, latent: LatentConfig) -> None:
    """Let every private layer read its domain's style code.

    Raises:
        ConfigError: a domain has no private layer, or the layers do not fit each other.
    """
    shapes = input_shapes(generator, latent.size)
    generator.style = latent.style
    for domain in generator.graph.domains:
        private = [group for group in generator.graph.groups if group.domains == (domain,)]
        if not private:
            raise ConfigError(
                f"latent.style: {latent.style}: domain '{domain}' has no private generator layer that could read its "
                "style code; leave a layer out of sharing.generator, or set latent.style: 0"
            )
        for group in private:
            generator.styles[group.key] = StyleInput(latent.style, shapes[group.members[0]][0])
