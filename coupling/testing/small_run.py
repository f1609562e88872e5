"""A small configuration of a component, and a few steps of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from coupling.batch import Batch
from coupling.config.config import Config, build_config
from coupling.data.batches import Batches
from coupling.data.domain_data import DomainData, open_domains
from coupling.errors import ConfigError
from coupling.losses.loss import labelled_domains
from coupling.networks.build import Networks, assemble
from coupling.testing.check import Check
from coupling.training.build import make_algorithm, moving_average
from coupling.training.inputs import StepInputs

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
    for loss in networks.losses.values():
        loss.check_labels({name: data[name].labels(np.arange(len(data[name]))) for name in loss.labels(list(data))})
    batch = Batch(config.training.batch_size)
    samples = {name: Batches(domain, config.seed, batch) for name, domain in data.items()}
    labelled = labelled_domains(networks.losses.values(), list(data))
    inputs = StepInputs(config, samples, labelled, batch, torch.device("cpu"))
    average = moving_average(config, networks)
    algorithm = make_algorithm(config, networks, inputs.uniform, inputs.device, average=average)
    record: list[dict[str, float]] = []
    for step in range(STEPS):
        losses = inputs.take_step(step, algorithm, average)
        record.append({name: value.item() for name, value in losses.items()})
    return networks, record
