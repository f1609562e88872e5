"""The contract of an architecture, and the layers that it makes for each domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import nn

from coupling.domain import Domain
from coupling.errors import PluginError
from coupling.sharing.graph import TeamName
from coupling.system.seeds import derive_seed


class Architecture(Protocol):
    """Makes one domain's layers, in order.

    One entry of a list is one of the paper's layers: convolution, normalisation and activation together. Each call
    makes new modules; the sharing rules decide which layers the domains share.

    A module that mixes the samples of a batch has an attribute ``mixes_samples = True``. Its layer then gets the real
    or the generated samples of one domain at a time. Batch normalisation needs no such attribute.

    A module with a method ``after_step()`` gets this call after each step of the optimizer, to follow its weights. What
    it keeps must be in its state dict and depend on the weights alone.

    A model file is loaded into layers that were built on torch's meta device, where tensors have no numbers. Layers
    that compute with numbers in their constructors, or keep tensors that are in no state dict, are built a second time
    in the ordinary way. Do not keep a tensor for later calls (``functools.cache``): it could be one without numbers.
    """

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        """Make the layers from (B, latent) to (B, *domain.shape) within domain.range.

        Args:
            domain: the domain whose samples are drawn.
            latent: number of coordinates of a code.

        Raises:
            ConfigError: the architecture cannot draw such samples.
        """

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        """Make the layers from (B, *domain.shape) to logits (B, outputs).

        Args:
            domain: the domain whose samples are judged.
            outputs: number of logits.

        Raises:
            ConfigError: the architecture cannot take such samples.
        """


def layer_lists(
    team: TeamName, architecture: Architecture, domains: Sequence[Domain], size: int, seed: int
) -> dict[str, list[nn.Module]]:
    """Every domain's own layers before sharing, {domain: layers}; ``size``: of a code, or the number of logits.

    A domain's initial weights depend on the seed, the team and the domain's position alone.

    Raises:
        PluginError: the architecture answers something other than a list of modules.
    """
    lists = {}
    for position, domain in enumerate(domains):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights", team, position))
            layers = getattr(architecture, team)(domain, size)
        if not layers or not all(isinstance(layer, nn.Module) for layer in layers):
            raise PluginError(
                f"gives {layers!r:.80} for domain '{domain.name}'; return a list of nn.Module, one for each layer"
            )
        lists[domain.name] = list(layers)
    return lists


def after_step_calls(network: nn.Module) -> list[Callable[[], object]]:
    """The methods ``after_step()`` of a network's modules, which are called after each step of its optimizer.

    Modules whose parameters are all frozen have none: their weights do not change.
    """
    methods = (getattr(module, "after_step", None) for module in network.modules() if not _is_frozen(module))
    return [method for method in methods if callable(method)]


def _is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them is trained."""
    flags = [parameter.requires_grad for parameter in module.parameters()]
    return bool(flags) and not any(flags)
