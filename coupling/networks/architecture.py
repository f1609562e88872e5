"""What an architecture answers: one domain's layers, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from coupling.domain import Domain
from coupling.errors import PluginError
from coupling.sharing.graph import TeamName
from coupling.system.seeds import derive


class Architecture(Protocol):
    """What a registered architecture answers: one domain's layers, in order.

    An entry is one of the paper's layers: convolution, normalisation and activation are ONE.
    A module that mixes the samples of a batch (other than by batch normalisation, which is taken
    care of) says so by an attribute ``mixes_samples = True``; its layer then sees the real or the
    generated samples of one domain at a time. Each layer is made anew: what domains share, the
    sharing rules say.
    """

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """Layers from (B, latent) to (B, *domain.shape) within domain.range."""

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """Layers from (B, *domain.shape) to logits (B, outputs)."""


def layer_lists(
    team: TeamName, architecture: Architecture, domains: Sequence[Domain], size: int, seed: int
) -> dict[str, list[nn.Module]]:
    """Every domain's own layers, before sharing; ``size`` is the latent size or the outputs.

    Each domain's initial weights depend on (seed, team, its position) alone.
    """
    lists = {}
    for position, domain in enumerate(domains):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights", team, position))
            layers = getattr(architecture, team)(domain, size)
        if not layers or not all(isinstance(layer, nn.Module) for layer in layers):
            raise PluginError(f"gives no list of nn.Module, one a layer, for domain '{domain.name}': {layers!r:.80}")
        lists[domain.name] = list(layers)
    return lists
