"""The contents of a model file: named tensors, and the description that rebuilds the networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from coupling.config.config import Config
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.runs.model_file import TensorInfo, hash_tensor
from coupling.sharing.graph import SharingGraph, TeamName


def fingerprint(*networks: nn.Module) -> str:
    """SHA-256 of all parameters and buffers with their names, types and shapes, in hexadecimal."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in network.state_dict().items():
            hash_tensor(digest, name, tensor)
    return digest.hexdigest()


_LISTED = 8
"""Largest number of tensors in a message."""


def named_networks(
    generator: nn.Module, discriminator: nn.Module, losses: Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """The networks of a model by the prefix of their tensors in its file."""
    named = {f"loss.{name}": loss for name, loss in losses.items()}
    return {"generator": generator, "discriminator": discriminator, **named}


def average_prefix(prefix: str) -> str:
    """The prefix of a network's moving average: ema, ema_discriminator, ema_loss.<name>."""
    return "ema" if prefix == "generator" else f"ema_{prefix}"


def named_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of several networks by name, {"<prefix>.<name>": tensor}; ``modules``: the networks by prefix."""
    return {f"{prefix}.{name}": t for prefix, module in modules.items() for name, t in module.state_dict().items()}


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Copy the tensors of ``prefix`` into ``module``; raises :class:`InputError` that lists the differences."""
    own = {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}
    check_tensors(module, {name: TensorInfo.of(tensor) for name, tensor in own.items()}, prefix, path)
    module.load_state_dict(own)


def check_tensors(module: nn.Module, found: Mapping[str, TensorInfo], prefix: str, path: Path) -> None:
    """Compare the names, shapes and types of a module's tensors with those in a file.

    ``found``: the tensors of ``prefix`` in the file, by the rest of their names.

    Raises:
        InputError: they differ; the message lists the differences.
    """
    expected = {name: TensorInfo.of(tensor) for name, tensor in module.state_dict().items()}
    differences = []
    for name in dict.fromkeys([*expected, *found]):
        here, there = expected.get(name), found.get(name)
        if here is None or there is None:
            differences.append(f"'{prefix}.{name}' is in the {'file' if here is None else 'network'} alone")
        elif here.shape != there.shape:
            differences.append(f"'{prefix}.{name}' has shape {there.shape} in the file, {here.shape} in the network")
        elif here.dtype != there.dtype:
            differences.append(f"'{prefix}.{name}' has type {there.dtype} in the file, {here.dtype} in the network")
    if differences:
        more = [f"and {len(differences) - _LISTED} more"] if len(differences) > _LISTED else []
        raise InputError("\n  ".join([f"{path}: does not fit its configuration:", *differences[:_LISTED], *more]))


def description(
    config: Config, domains: Mapping[str, Domain], graphs: Mapping[TeamName, SharingGraph], step: int
) -> dict[str, Any]:
    """The values that rebuild the networks without the data: configuration, domains, sharing graphs, step."""
    return {
        "config": config.plain(),
        "domains": {
            name: {"shape": d.shape, "range": d.range}
            | ({"drawn_by": d.drawn_by} if d.drawn_by else {})
            | ({"columns": [[c.name, c.centre, c.scale] for c in d.columns]} if d.columns else {})
            for name, d in domains.items()
        },
        "sharing": {team: graph.plain() for team, graph in graphs.items()},
        "step": step,
    }
