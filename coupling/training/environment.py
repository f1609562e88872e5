"""The versions, machine and data that a run was computed with, as environment.json holds them."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from accelerate import Accelerator

from coupling.config.config import Config
from coupling.data.domain_data import DomainData
from coupling.plugins import Plugins
from coupling.runs.provenance import BEFORE
from coupling.system.resources import available_cores
from coupling.version import __version__

_COMPARED = ("versions", "plugins", "device", "num_processes")


_PACKAGES = ("torch", "accelerate", "safetensors", "numpy", "pydantic", "pluggy", "pillow")


def describe_environment(
    config: Config, accelerator: Accelerator, data: Mapping[str, DomainData], plugins: Plugins
) -> dict[str, Any]:
    """Versions, device, processes, precision, data fingerprints."""
    device = accelerator.device
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"coupling": __version__, "python": platform.python_version(), **versions},
        "plugins": plugins.versions(),
        "machine": {"system": platform.platform(), "cores": available_cores(), "threads": torch.get_num_threads()},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_processes": accelerator.num_processes,
        "precision": config.training.precision,
        "data": {name: domain.fingerprint for name, domain in data.items()},
    }


def environment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Changes since the run's last session, one line each: ``versions.torch: 2.6.0 -> 2.13.0``."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return [f"{key}: {old[key]} -> {new.get(key)}" for key in old if old[key] != new.get(key)]


def _flat(environment: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _COMPARED:
        value = environment.get(key)
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", version) for name, version in value.items())
        elif value is not None:
            yield key, value


def continued(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The environment of a run's new session, with those of the earlier ones."""
    if not before:
        return dict(now)
    earlier = [*before.get(BEFORE, []), {key: value for key, value in before.items() if key != BEFORE}]
    return {**now, BEFORE: earlier}
