"""The parts of Algorithm 1 that a configuration names: optimizers, moving average, teams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from coupling.config.config import Config
from coupling.config.schedules import find_schedules, number_at
from coupling.config.sections import OptimizerConfig
from coupling.networks.build import Networks
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator
from coupling.training.algorithm import Algorithm1, Team, gradient_buffer
from coupling.training.augmenter import Adaptation, Augmenter
from coupling.training.ema import MovingAverage
from coupling.training.precision import LossScale, autocast

MakeOptimizer: TypeAlias = Callable[[OptimizerConfig, list[nn.Parameter]], torch.optim.Optimizer]


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
    optimize: MakeOptimizer | None = None,
) -> Algorithm1:
    """Algorithm 1 over networks that are on ``device``, with the optimizers that the configuration asks for.

    ``uniform(step, purpose, numbers)``: this process's (B, numbers) of noise for losses. ``average``: of the
    :func:`moving_average`, which the caller updates after each step. ``optimize``: makes a team's optimizer in place of
    :func:`make_optimizer`.
    """
    settings = config.training

    def team(network: CoupledGenerator | CoupledDiscriminator) -> Team:
        gradients = gradient_buffer(network, networks.losses, processes)
        chosen = config.team_optimizer(network.graph.team)
        optimizer = (optimize or make_optimizer)(chosen, gradients.parameters)
        scale = LossScale(device) if settings.precision == "fp16" else None
        return Team(network, gradients, optimizer, scale, optimizer_schedule(chosen))

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
        augmenter=make_augmenter(config, networks, uniform, device, processes),
    )
    if settings.compile:
        algorithm.g = torch.compile(algorithm.g)  # type: ignore[assignment]
        algorithm.f = torch.compile(algorithm.f)  # type: ignore[assignment]
    return algorithm


def make_augmenter(
    config: Config, networks: Networks, uniform: Callable[[int, str, int], Tensor], device: torch.device, processes: int
) -> Augmenter | None:
    """What changes the samples in front of the discriminators; None without augmentations."""
    settings, domains = config.augmentation, networks.domains
    if not any(networks.augmentations.values()):
        return None
    adaptation = None
    if settings.adaptive is not None:
        adaptation = Adaptation(settings.adaptive, list(domains), config.training.batch_size, device, processes)
    return Augmenter(settings, domains, networks.augmentations, uniform, adaptation)


def make_optimizer(config: OptimizerConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer with the numbers of step 0, fused where torch has a fused one for the device."""
    numbers = optimizer_numbers(config, 0)
    if config.name in ("adam", "adamw"):
        kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
        return kind(parameters, fused=True, **numbers)
    if config.name == "sgd":
        return torch.optim.SGD(parameters, fused=True, **numbers)
    return torch.optim.RMSprop(parameters, foreach=True, **numbers)


def optimizer_numbers(config: OptimizerConfig, step: int) -> dict[str, Any]:
    """The numbers of an optimizer at a step, counted from 0, by torch's names."""
    numbers: dict[str, Any] = {
        "lr": number_at(config.lr, step),
        "weight_decay": number_at(config.weight_decay, step),
    }
    if config.name in ("adam", "adamw"):
        return numbers | {"betas": tuple(number_at(beta, step) for beta in config.betas)}
    return numbers | {"momentum": number_at(config.momentum, step)}


def optimizer_schedule(config: OptimizerConfig) -> Callable[[int], dict[str, Any]] | None:
    """:func:`optimizer_numbers` as a function of the step; None if all are the same in every step."""
    return partial(optimizer_numbers, config) if any(find_schedules(config, "")) else None
