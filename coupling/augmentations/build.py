"""The augmentations of a configuration: built, and tried on each domain."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from coupling.augmentations.augmentation import Augmentation
from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.domain import Domain
from coupling.errors import ConfigError, PluginError, check_domain_name
from coupling.system.foreign_code import guarded

Augmentations = dict[str, list[Augmentation]]
"""The augmentations of each domain, in order."""


def build_augmentations(
    config: Config, domains: Mapping[str, Domain], outputs: int, registry: Registry
) -> Augmentations:
    """The augmentations of each domain; ``outputs``: number of logits that a sample gets.

    Raises:
        ConfigError: one does not suit a domain, names an unknown domain, or cannot adapt to the losses.
        PluginError: a plugin's augmentation fails.
    """
    made: Augmentations = {name: [] for name in domains}
    for number, entry in enumerate(config.augmentation.operations):
        path = f"augmentation.operations[{number}]"
        operation = registry.build("augmentation", entry.name, entry.options, path)
        if not isinstance(operation, Augmentation):
            raise PluginError(
                f"{path} {entry.name}: gives a {type(operation).__name__}; an augmentation is a subclass of "
                "coupling.Augmentation"
            )
        for name in entry.domains or domains:
            check_domain_name(f"{path}.domains", name, domains)
            with guarded(f"{path}: {registry.get('augmentation', entry.name, path)}", f"{path} {entry.name}: "):
                operation.check(domains[name])
                _try(operation, domains[name])
            made[name].append(operation)
    if config.augmentation.adaptive is not None:
        _check_adaptive(made, outputs)
    return made


def _try(operation: Augmentation, domain: Domain) -> None:
    """Change two samples of a domain; raises :class:`PluginError` if the result is not samples of it."""
    low, high = domain.range
    samples = torch.linspace(low, high, 2 * domain.size).view(2, *domain.shape)
    made = operation(samples, torch.full((2, operation.numbers), 0.25), domain)
    if not isinstance(made, Tensor) or made.shape != samples.shape or not made.isfinite().all():
        found = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise PluginError(
            f"from samples of shape {tuple(samples.shape)} of domain '{domain.name}' it makes {found}; return finite "
            "samples of the same shape"
        )


def _check_adaptive(made: Augmentations, outputs: int) -> None:
    if not any(made.values()):
        raise ConfigError(
            "augmentation.adaptive: there are no operations; list some, such as translation, or remove it"
        )
    if outputs != 1:
        raise ConfigError(
            f"augmentation.adaptive: reads the sign of one logit for each sample, but the losses give {outputs}; "
            "remove it, so that augmentation.probability is fixed, or choose another loss"
        )
