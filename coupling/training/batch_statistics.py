"""The samples over which batch normalisation takes its statistics, and whether they are enough."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from coupling.batch import Batch
from coupling.errors import ConfigError
from coupling.networks.normalisation import DomainBatchNorm

JOINT = (
    "batch_statistics: joint: normalisation mixes the domains' samples, so a domain's gradient depends on the other "
    "domains' samples too"
)
"""Printed for a run with joint batch statistics."""


_FEW = 16
"""Statistics of fewer samples are noisy."""


def set_statistics(
    networks: Sequence[nn.Module], batch: Batch, *, synchronised: bool, averaged: nn.Module | None = None
) -> str | None:
    """Set over whose samples batch statistics are taken: those of all processes if ``synchronised``, else each one's.

    Returns a warning if they are few. ``averaged``: the network whose moving average the training itself reads.

    Raises:
        ConfigError: statistics would be of a single sample, or the average would differ between processes.
    """
    found = [norm for network in networks for norm in _normalised(network)]
    synchronised = synchronised and batch.processes > 1
    for norm in found:
        norm.synchronised = synchronised
    if averaged is not None and batch.processes > 1 and not synchronised and _normalised(averaged):
        raise ConfigError(
            "training.sync_batch_norm: false leaves every process its own running statistics, so the averaged "
            "discriminators, which a loss reads, would differ from process to process and change on resuming; set true"
        )
    if not found:
        return None
    samples, owner = batch.normalised_together(synchronised=synchronised)
    if owner == "step" or samples >= _FEW:
        return None
    fix = (
        "training.sync_batch_norm: true takes them over all processes, as one process would"
        if owner == "process"
        else f"raise training.batch_size, or lower training.accumulate ({batch.accumulate})"
    )
    return f"batch normalisation is over the {samples} samples a domain of one {owner}: these are few and noisy; {fix}"


def _normalised(network: nn.Module) -> list[DomainBatchNorm]:
    return [module for module in network.modules() if isinstance(module, DomainBatchNorm)]
