"""From a configuration to Algorithm 1: optimizers, moving average, teams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from coupling.config.config import Config
from coupling.config.sections import OptimizerConfig
from coupling.networks.build import Networks
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator
from coupling.training.algorithm import Algorithm1, Team, gradient_buffer
from coupling.training.ema import MovingAverage
from coupling.training.precision import LossScale, autocast


def moving_average(config: Config, networks: Networks) -> MovingAverage | None:
    """The moving average that the configuration asks for: of the generators, or of all networks."""
    settings = config.training
    if settings.ema is None:
        return None
    averaged = networks.named_networks if settings.ema_discriminators else {"generator": networks.generator}
    return MovingAverage(averaged, settings.ema)


def with_averages(networks: Networks, average: MovingAverage | None) -> Networks:
    """The networks, each replaced by its moving average where there is one."""
    kept = {} if average is None else average.networks
    return replace(
        networks,
        generator=kept.get("generator", networks.generator),
        discriminator=kept.get("discriminator", networks.discriminator),
        losses={name: kept.get(f"loss.{name}", loss) for name, loss in networks.losses.items()},
    )


def make_algorithm(
    config: Config,
    networks: Networks,
    uniform: Callable[[int, str, int], Tensor],
    device: torch.device,
    processes: int = 1,
    average: MovingAverage | None = None,
) -> Algorithm1:
    """Algorithm 1 over networks that are on ``device``, with the optimizers that the configuration asks for.

    ``uniform(step, purpose, numbers)``: this process's (B, numbers) of noise for losses. ``average``: of the
    :func:`moving_average`, which the caller updates after each step.
    """
    settings = config.training

    def team(network: CoupledGenerator | CoupledDiscriminator) -> Team:
        gradients = gradient_buffer(network, networks.losses, processes)
        optimizer = make_optimizer(config.team_optimizer(network.graph.team), gradients.parameters)
        return Team(network, gradients, optimizer, LossScale(device) if settings.precision == "fp16" else None)

    averaged = None
    if average is not None and settings.ema_discriminators:
        kept = with_averages(networks, average)
        averaged = kept.discriminator, kept.losses
    algorithm = Algorithm1(
        list(networks.domains.values()),
        team(networks.generator),
        team(networks.discriminator),
        networks.losses,
        autocast=partial(autocast, settings.precision, device),
        uniform=uniform,
        accumulate=settings.accumulate,
        averaged=averaged,
    )
    if settings.compile:
        algorithm.g = torch.compile(algorithm.g)  # type: ignore[assignment]
        algorithm.f = torch.compile(algorithm.f)  # type: ignore[assignment]
    return algorithm


def make_optimizer(config: OptimizerConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer, fused where torch has a fused one for the device."""
    if config.name in ("adam", "adamw"):
        kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
        return kind(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.RMSprop(
        parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, foreach=True
    )
