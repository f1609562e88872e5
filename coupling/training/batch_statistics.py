"""Over which samples batch normalisation is taken, and whether they are enough."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from coupling.config.sections import TrainingConfig
from coupling.errors import ConfigError
from coupling.networks.normalisation import DomainBatchNorm

JOINT = (
    "batch_statistics: joint: normalisation mixes the domains' samples, so a domain's gradient depends on the other "
    "domains' samples too"
)
"""What users are told who choose it."""


_FEW = 16
"""Samples of which statistics are noisy."""


def set_statistics(
    networks: Sequence[nn.Module], settings: TrainingConfig, processes: int, *, averaged: nn.Module | None = None
) -> str | None:
    """Take batch statistics over all processes, or over each one's own samples; returns a warning, if there is one.

    ``averaged``: the network whose moving average the training itself reads.

    Raises:
        ConfigError: statistics would be of a single sample, or the average another in each process.
    """
    found = [norm for network in networks for norm in _normalised(network)]
    synchronised = settings.sync_batch_norm and processes > 1
    parts = settings.accumulate * (1 if synchronised else processes)
    samples = settings.batch_size // parts
    for norm in found:
        norm.synchronised = synchronised
    owner = "process" if not synchronised and processes > 1 else "micro-batch" if parts > 1 else "step"
    if found and samples < 2:
        raise ConfigError(
            f"training.batch_size: {settings.batch_size} leaves one sample a {owner}, and batch normalisation "
            f"needs more; choose {2 * parts} or more" + (", or sync_batch_norm: true" if owner == "process" else "")
        )
    if averaged is not None and processes > 1 and not synchronised and _normalised(averaged):
        raise ConfigError(
            "training.sync_batch_norm: false leaves every process its own running statistics, so the averaged "
            "discriminators, which a loss reads, would differ from process to process and change on resuming; set true"
        )
    if not found or parts == 1 or samples >= _FEW:
        return None
    return (
        f"batch normalisation is over the {samples} samples a domain of one {owner}: statistics of so few are noisy; "
        + (
            "training.sync_batch_norm: true takes them over all processes, as one process would"
            if owner == "process"
            else f"raise training.batch_size, or lower training.accumulate ({settings.accumulate})"
        )
    )


def _normalised(network: nn.Module) -> list[DomainBatchNorm]:
    return [module for module in network.modules() if isinstance(module, DomainBatchNorm)]
