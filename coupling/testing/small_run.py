"""A small configuration of a component, and a few steps of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupling.config.config import Config, build_config
from coupling.data.batches import Batches
from coupling.data.domain_data import DomainData, open_domains
from coupling.errors import ConfigError
from coupling.networks.build import Networks, assemble
from coupling.networks.latent import LatentBatches
from coupling.system.seeds import seed_all, torch_generator
from coupling.testing.check import Check
from coupling.training.algorithm import Losses
from coupling.training.setup import make_algorithm, moving_average

BATCH = 8


STEPS = 2


LATENT = 10


def configured(check: Check, **changed: Any) -> Config:
    """A small configuration over the check's domains, with ``changed`` keys."""
    small = {"architecture": {"name": "mlp", "hidden": 16, "layers": 2}}
    values = {
        "name": "conformance",
        "latent": {"size": LATENT},
        "domains": copy.deepcopy(dict(check.domains)),
        "generator": small,
        "discriminator": small,
        "sharing": {"generator": [{"first": 1}], "discriminator": [{"last": 1}]},
        "training": {"batch_size": BATCH, "steps": STEPS, "ema_discriminators": True},
        **changed,
    }
    if len(values["domains"]) < 2:
        values["sharing"] = {}
    try:
        return build_config(values, check.plugins.registry)
    except ConfigError as error:
        raise AssertionError(f"its configuration is not valid: {error}") from error


def opened(check: Check, domains: Mapping[str, Any]) -> dict[str, DomainData]:
    """The data of domains, as in a configuration."""
    config = configured(check, domains=dict(domains), sharing={})
    return open_domains(config, check.plugins.registry)


def assembled(config: Config, check: Check, data: Mapping[str, DomainData]) -> Networks:
    """The networks of a configuration over these data."""
    return assemble(config, {name: domain.domain for name, domain in data.items()}, check.plugins.registry)


def trained(
    config: Config, check: Check, data: Mapping[str, DomainData], networks: Networks | None = None
) -> tuple[Networks, list[dict[str, float]]]:
    """Some steps of Algorithm 1 as the trainer does them; the losses of each."""
    networks = networks or assembled(config, check, data)
    for domain in data.values():
        domain.prepare()
    names = list(data)
    labelled = {name for loss in networks.losses.values() for name in loss.labels(names)}
    for loss in networks.losses.values():
        loss.check_labels({name: data[name].labels(np.arange(len(data[name]))) for name in loss.labels(names)})
    streams = {name: Batches(domain, config.seed, config.training.batch_size) for name, domain in data.items()}
    latents = LatentBatches(config.latent, config.seed, config.training.batch_size)

    def uniform(step: int, purpose: str, numbers: int) -> Tensor:
        return torch.rand(BATCH, numbers, generator=torch_generator(config.seed, "loss", purpose, step))

    average = moving_average(config, networks)
    algorithm = make_algorithm(config, networks, uniform, torch.device("cpu"), average=average)
    record: list[dict[str, float]] = []
    for step in range(STEPS):
        seed_all(step)
        real = {name: stream.batch(step) for name, stream in streams.items()}
        labels = {name: streams[name].labels(step) for name in labelled}
        losses: Losses = algorithm.step(step, latents.batch(step), real, labels=labels)
        if average is not None:
            average.update(step)
        record.append({name: value.item() for name, value in losses.items()})
    return networks, record
