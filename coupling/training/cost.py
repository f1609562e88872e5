"""What a step costs: floating-point operations, counted on one real step of two samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.config.sections import SharingConfig
from coupling.domain import Domain
from coupling.losses.loss import labelled_domains
from coupling.networks.build import assemble
from coupling.training.setup import make_algorithm, moving_average

_SAMPLES = 2  # the fewest that batch normalisation takes


_STEP = 1  # not step 0, on which terms that are taken every few steps are always taken


def step_cost(config: Config, domains: Mapping[str, Domain], registry: Registry) -> int:
    """Operations of one step of Algorithm 1 for one sample a domain, both halves, forward and backward.

    A multiply-add counts as two. Matrix products and convolutions are counted, as these are nearly
    everything; terms that a loss takes only every few steps are not.
    """
    settings = config.training
    plain = settings.model_copy(update={"precision": "fp32", "compile": False})  # the same operations
    networks = assemble(config, domains, registry)
    samples = _SAMPLES * settings.accumulate
    algorithm = make_algorithm(
        config.model_copy(update={"training": plain}),
        networks,
        lambda step, purpose, numbers: torch.full((samples, numbers), 0.5),
        torch.device("cpu"),
        average=moving_average(config, networks),
    )
    z = torch.randn(samples, config.latent.size)
    real = {name: torch.rand(samples, *domain.shape) for name, domain in domains.items()}
    fresh = torch.randn_like(z) if settings.fresh_latent else None
    labelled = labelled_domains(networks.losses.values(), list(domains))
    labels = {name: torch.zeros(samples, dtype=torch.int64) for name in labelled}
    with _Operations() as operations:  # type: ignore[no-untyped-call]  # torch leaves it untyped
        algorithm.step(_STEP, z, real, fresh, labels)
    return int(operations.total) // samples


class _Operations(TorchDispatchMode):
    """Counts what passes. Torch's FlopCounterMode follows modules too, which fails on gradients of gradients (R1)."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=result))
        return result


def separate(config: Config) -> Config:
    """The same configuration as N separate GANs: nothing shared."""
    return config.model_copy(update={"sharing": SharingConfig()})
