"""What a step costs: floating-point operations, counted on one real step of two samples."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from coupling.algorithm import Algorithm1, Team
from coupling.assembly import assemble, make_optimizer
from coupling.config import Config, SharingConfig
from coupling.domain import Domain
from coupling.registry import Registry

_SAMPLES = 2  # the fewest that batch normalisation takes
_STEP = 1  # not step 0, on which terms that are taken every few steps are always taken


def step_cost(config: Config, domains: Mapping[str, Domain], registry: Registry) -> int:
    """Operations of one step of Algorithm 1 for one sample a domain, both halves, forward and backward.

    A multiply-add counts as two. Matrix products and convolutions are counted, as these are nearly
    everything; terms that a loss takes only every few steps are not.
    """
    networks = assemble(config, domains, registry)
    generators, discriminators = (
        Team(network, networks.losses, partial(make_optimizer, config.team_optimizer(network.graph.team)))
        for network in (networks.generator, networks.discriminator)
    )
    algorithm = Algorithm1(
        list(domains.values()),
        generators,
        discriminators,
        networks.losses,
        autocast=contextlib.nullcontext,
        uniform=lambda step, purpose, numbers: torch.full((_SAMPLES, numbers), 0.5),
    )
    z = torch.randn(_SAMPLES, config.latent.size)
    real = {name: torch.rand(_SAMPLES, *domain.shape) for name, domain in domains.items()}
    fresh = torch.randn_like(z) if config.training.fresh_latent else None
    with FlopCounterMode(display=False) as counter:
        algorithm.step(_STEP, z, real, fresh)
    return int(counter.get_total_flops()) // _SAMPLES


def separate(config: Config) -> Config:
    """The same configuration as N separate GANs: nothing shared."""
    return config.model_copy(update={"sharing": SharingConfig()})
