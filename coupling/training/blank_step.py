"""A step of Algorithm 1 on blank samples: for its cost, and for the choice of its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.config.sections import OptimizerConfig
from coupling.domain import Domain
from coupling.losses.loss import labelled_domains
from coupling.networks.build import Networks
from coupling.training.build import make_algorithm, moving_average
from coupling.training.inputs import StepInputs


def blank_step(config: Config, networks: Networks, batch: Batch) -> Callable[[int], object]:
    """A function that takes a step, numbered from 0, with the given networks on a CPU; their weights stay."""
    samples = {name: _Blank(domain, batch.size) for name, domain in networks.domains.items()}
    labelled = labelled_domains(networks.losses.values(), list(networks.domains))
    inputs = StepInputs(config, samples, labelled, batch, torch.device("cpu"))
    average = moving_average(config, networks)
    algorithm = make_algorithm(config, networks, inputs.uniform, inputs.device, average=average, optimize=_Still)
    return lambda step: inputs.take_step(step, algorithm, average)


class _Still(torch.optim.Optimizer):
    """An optimizer that changes nothing. Torch's own import its compiler, which takes a second."""

    def __init__(self, config: OptimizerConfig, parameters: list[nn.Parameter]) -> None:
        self.param_groups = [{"params": parameters}]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch overloads it
        """Change nothing."""


class _Blank:
    """Samples in the middle of a domain's range, all of class 0."""

    def __init__(self, domain: Domain, count: int) -> None:
        self.domain = domain
        self.count = count

    def batch(self, step: int) -> Tensor:
        low, high = self.domain.range
        return torch.full((self.count, *self.domain.shape), (low + high) / 2)

    def labels(self, step: int) -> Tensor:
        return torch.zeros(self.count, dtype=torch.int64)
