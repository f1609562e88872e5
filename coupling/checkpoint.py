"""Checkpoints: safetensors and a manifest, written whole or not at all, verified when read.

No pickle: loading a checkpoint from a stranger can execute nothing. ``model.safetensors`` holds
what users need (generators: live and averaged; discriminators; losses), and its metadata all that
rebuilds the networks; ``state.safetensors`` what only going on needs (optimizers, random states).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from coupling.errors import InputError, RunError

VERSION = 1
_FILES = ("model.safetensors", "state.safetensors")
_KEY = "coupling"  # one metadata key: several would be written in no fixed order


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk."""

    path: Path
    step: int

    def model(self) -> dict[str, Tensor]:
        """Tensors of the networks and losses."""
        return read_tensors(self.path / "model.safetensors")

    def state(self) -> dict[str, Tensor]:
        """Tensors that only going on needs."""
        return read_tensors(self.path / "state.safetensors")

    def metadata(self) -> dict[str, Any]:
        """What rebuilds the networks: configuration, domains, sharing graphs."""
        return read_metadata(self.path / "model.safetensors")


def save(
    folder: Path, step: int, model: Mapping[str, Tensor], state: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> Path:
    """Write ``folder/step-NNNNNNN`` through a temporary directory; returns its path.

    Raises :class:`RunError` where it cannot be written; earlier checkpoints are untouched.
    """
    final = folder / f"step-{step:07d}"
    temporary = folder / f".step-{step:07d}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        described: dict[str, Any] = {}
        for name, tensors in zip(_FILES, (model, state), strict=True):
            extra = {_KEY: json.dumps(metadata, sort_keys=True)} if name == _FILES[0] else None
            path = temporary / name
            safetensors.torch.save_file(_plain(tensors), path, extra)
            path.chmod(0o644)
            _sync(path)
            described[name] = {"bytes": path.stat().st_size, "sha256": digest(path)}
        manifest = temporary / "manifest.json"
        manifest.write_text(json.dumps({"version": VERSION, "step": step, "files": described}, indent=2) + "\n")
        _sync(manifest)
        _sync(temporary)
        if final.exists():  # left by a run that was resumed from before it
            shutil.rmtree(final)
        temporary.rename(final)
        _sync(folder)
    except (OSError, safetensors.SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(
            f"{final}: the checkpoint cannot be written: {error}; earlier checkpoints are whole: make room or mend "
            "the permissions, then go on with --resume"
        ) from None
    return final


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints, and what interrupted writing left."""
    for stale in folder.glob(".step-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of a run, and what is wrong with the newer ones that are not."""
    complaints: list[str] = []
    for path in _newest_first(folder):
        try:
            return verified(path), complaints
        except InputError as error:
            complaints.append(str(error))
    return None, complaints


def verified(path: Path) -> Checkpoint:
    """The checkpoint at ``path``; raises :class:`InputError` saying what is missing or altered."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        version, step, files = manifest["version"], int(manifest["step"]), dict(manifest["files"])
    except FileNotFoundError:
        raise InputError(f"{path}: no checkpoint: manifest.json is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: manifest.json is damaged: {error}") from None
    if version != VERSION:
        raise InputError(f"{path}: written in checkpoint format {version}; this version of coupling reads {VERSION}")
    for name in _FILES:
        file = path / name
        if name not in files or not file.is_file():
            raise InputError(f"{path}: {name} is missing")
        size = file.stat().st_size
        if size != files[name]["bytes"]:
            raise InputError(f"{path}: {name} has {size} bytes, written were {files[name]['bytes']}")
        if digest(file) != files[name]["sha256"]:
            raise InputError(f"{path}: {name} was altered: its SHA-256 is not the one that was written")
    return Checkpoint(path, step)


def read_metadata(path: Path) -> dict[str, Any]:
    """Metadata of a model file; raises :class:`InputError` where it is none of ours."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        values: dict[str, Any] = json.loads(metadata[_KEY])
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


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors keeps no strides."""
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("step-*") if p.is_dir()), reverse=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors: ``<parameter number>.<name>``."""
    flat = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                flat[f"{number}.{name}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` gave, with each parameter's own strides.

    Fused Adam computes wrong updates, silently, on moments whose strides are not the parameter's.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
