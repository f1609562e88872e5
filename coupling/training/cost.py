"""The cost of a step: floating-point operations, counted on one real step of two samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.config.sections import SharingConfig
from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.loss import Loss
from coupling.networks.build import assemble
from coupling.training.blank_step import blank_step

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
    step = blank_step(config, networks, batch)
    with Operations() as operations:  # type: ignore[no-untyped-call]  # torch leaves it untyped
        step(_STEP)
    return int(operations.total) // batch.size


def _samples(config: Config, losses: Mapping[str, Loss]) -> int:
    """How many samples a micro-batch has: as few as all losses accept."""
    try:
        for loss in losses.values():
            loss.check_batch(_SAMPLES)
    except ConfigError:
        return config.training.batch_size // config.training.accumulate
    return _SAMPLES


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
