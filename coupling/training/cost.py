"""The cost of a step: floating-point operations, counted on one real step of two samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.config.sections import OptimizerConfig, SharingConfig
from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.loss import Loss, labelled_domains
from coupling.networks.build import assemble
from coupling.training.build import make_algorithm, moving_average
from coupling.training.inputs import StepInputs

_SAMPLES = 2
"""The fewest that batch normalisation takes."""


_STEP = 1  # at step 0, terms that are computed every few steps are always computed


def step_cost(config: Config, domains: Mapping[str, Domain], registry: Registry) -> int:
    """Operations of one step of Algorithm 1 for one sample a domain, both halves, forward and backward.

    A multiply-add counts as two operations. Only matrix products and convolutions are counted, which are nearly
    all; terms that a loss computes only every few steps are left out.
    """
    plain = config.training.model_copy(update={"precision": "fp32", "compile": False})  # the same operations
    config = config.model_copy(update={"training": plain})
    networks = assemble(config, domains, registry)
    batch = Batch(_samples(config, networks.losses) * plain.accumulate, accumulate=plain.accumulate)
    samples = {name: _Blank(domain, batch.size) for name, domain in domains.items()}
    labelled = labelled_domains(networks.losses.values(), list(domains))
    inputs = StepInputs(config, samples, labelled, batch, torch.device("cpu"))
    average = moving_average(config, networks)
    algorithm = make_algorithm(config, networks, inputs.uniform, inputs.device, average=average, optimize=_Still)
    with Operations() as operations:  # type: ignore[no-untyped-call]  # torch leaves it untyped
        inputs.take_step(_STEP, algorithm, average)
    return int(operations.total) // batch.size


def _samples(config: Config, losses: Mapping[str, Loss]) -> int:
    """How many samples a micro-batch has: as few as all losses accept."""
    try:
        for loss in losses.values():
            loss.check_batch(_SAMPLES)
    except ConfigError:
        return config.training.batch_size // config.training.accumulate
    return _SAMPLES


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


class Operations(TorchDispatchMode):
    """Counts operations. Torch's FlopCounterMode also tracks modules, which fails on gradients of gradients (R1)."""

    total = 0
    """Operations so far; a multiply-add counts as two."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's own answer, True, imports its compiler, which takes a second; nothing is compiled here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=result))
        return result


def separate(config: Config) -> Config:
    """The same configuration as N separate GANs: nothing shared."""
    return config.model_copy(update={"sharing": SharingConfig()})
