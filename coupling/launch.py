"""How a run is launched: device, processes, trackers, all by Accelerate."""

from __future__ import annotations

import os
from collections.abc import Sequence

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from coupling.config import Config
from coupling.errors import ConfigError, RunError, nearest


def launched(config: Config) -> Accelerator:
    """The accelerator of this process; refuses several processes that do not know each other."""
    accelerator = Accelerator(log_with=_trackers(config.trackers), project_dir=".")
    processes = accelerator.num_processes
    _refuse_unconnected(processes)
    batch = config.training.batch_size
    if batch % processes:
        raise ConfigError(
            f"training.batch_size: {batch} cannot be divided among {processes} processes; "
            f"choose a multiple of {processes}"
        )
    return accelerator


def _trackers(names: Sequence[str]) -> list[str] | None:
    available = {str(kind) for kind in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(f"trackers: no tracker is called '{name}'; {nearest(name, LOGGER_TYPE_TO_CLASS)}")
        if name not in available:
            raise ConfigError(f"trackers: '{name}' is not installed; pip install {name}, or leave it out")
    return list(names) or None


def _refuse_unconnected(processes: int) -> None:
    """Launched as several processes that do not know each other, each would train alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != processes:
        raise RunError(
            f"launched as {world} processes, but they are not connected (this one sees {processes}): each would train "
            "alone; on CPUs launch with ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N"
        )
