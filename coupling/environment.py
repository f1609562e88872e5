"""What a run was computed with, for its record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from accelerate import Accelerator

from coupling import __version__
from coupling.config import Config
from coupling.parts import DomainData
from coupling.plugins import Plugins

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
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_processes": accelerator.num_processes,
        "precision": config.training.precision,
        "data": {name: domain.fingerprint for name, domain in data.items()},
    }
