"""The kernels of a run (``training.kernels: measured``): measured once for a machine, then kept with the run.

Kernels differ in rounding. So the choice is made before the first step, by the main process for all; it is in every
checkpoint and in the run's ``kernels.json``, and a resumed run computes as it began.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.domain import Domain
from coupling.networks.build import assemble
from coupling.networks.coupled import to_device
from coupling.networks.kernels import Kernels, use_kernels
from coupling.system.atomic_files import write_text
from coupling.system.data_directory import data_directory
from coupling.training.blank_step import blank_step

FOLDER = "kernels"
"""Folder of the measurements in the data directory."""


def measure_kernels(config: Config, domains: Mapping[str, Domain], registry: Registry, batch: Batch) -> dict[str, str]:
    """The fastest kernels of a run's convolutions, by one step of this process's size on blank samples.

    What this machine has measured before is read from the data directory, and what is new is written there.
    """
    machine = describe_machine()
    path = _path(machine)
    known = _read(path, machine)
    kernels = Kernels()
    networks = assemble(config, domains, registry, trial=False)
    for network in networks.named_networks.values():
        to_device(network, torch.device("cpu"))
    use_kernels(networks.named_networks.values(), kernels)
    step = blank_step(config, networks, Batch(batch.share, accumulate=batch.accumulate))
    with kernels.measuring(known):
        step(0)  # with the terms that are computed every few steps
    choices: dict[str, str] = dict(kernels.choices)
    if choices.keys() - known.keys():
        content = {"key": machine, "choices": dict(sorted((_read(path, machine) | choices).items()))}
        with suppress(OSError):  # it is measured again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(content, indent=2) + "\n")
    return choices


def describe_machine() -> dict[str, Any]:
    """What decides which kernel is fastest: the processor, torch and its threads."""
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "processor": capabilities.get("cpu_name") or platform.processor() or platform.machine(),
        "units": torch.backends.cpu.get_cpu_capability(),
        "bf16": bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _path(machine: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()
    return data_directory(FOLDER) / f"{digest[:32]}.json"


def _read(path: Path, machine: Mapping[str, Any]) -> dict[str, str]:
    """The choices that a machine has measured; none from a file that cannot be used."""
    try:
        content = json.loads(path.read_text("utf-8"))
        choices = content["choices"] if content["key"] == machine else {}
        return {str(name): str(way) for name, way in choices.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
