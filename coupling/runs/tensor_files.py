"""Safetensors files with one entry of metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from coupling.errors import InputError

METADATA = "coupling"
"""The only metadata key of a file: several would be written in no fixed order."""


def read_metadata(path: Path) -> dict[str, Any]:
    """Metadata of a model file; raises :class:`InputError` if coupling has not written it."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        values: dict[str, Any] = json.loads(metadata[METADATA])
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {error}") from None
    except (KeyError, ValueError):
        raise InputError(f"{path}: a safetensors file, but not a model that coupling wrote") from None
    return values


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {error}") from None
    return tensors


def plain_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors keeps no strides, and rejects tensors that share memory."""
    return {
        name: tensor.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, tensor in tensors.items()
    }
