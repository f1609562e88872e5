"""The contents of a model file: named tensors, and the description that rebuilds the networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coupling.config.config import Config
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.sharing.graph import SharingGraph, TeamName


def fingerprint(*networks: nn.Module) -> str:
    """SHA-256 of all parameters and buffers with their names, types and shapes, in hexadecimal."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in network.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
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
    expected = module.state_dict()
    misfits = []
    for name in dict.fromkeys([*expected, *own]):
        here, there = expected.get(name), own.get(name)
        if here is None or there is None:
            misfits.append(f"'{prefix}.{name}' is in the {'file' if here is None else 'network'} alone")
        elif here.shape != there.shape:
            misfits.append(
                f"'{prefix}.{name}' has shape {tuple(there.shape)} in the file, {tuple(here.shape)} in the network"
            )
    if misfits:
        more = [f"and {len(misfits) - _LISTED} more"] if len(misfits) > _LISTED else []
        raise InputError("\n  ".join([f"{path}: does not fit its configuration:", *misfits[:_LISTED], *more]))
    module.load_state_dict(own)


def description(
    config: Config, domains: Mapping[str, Domain], graphs: Mapping[TeamName, SharingGraph], step: int
) -> dict[str, Any]:
    """The values that rebuild the networks without the data: configuration, domains, sharing graphs, step."""
    return {
        "config": config.plain(),
        "domains": {
            name: {"shape": d.shape, "range": d.range} | ({"drawn_by": d.drawn_by} if d.drawn_by else {})
            for name, d in domains.items()
        },
        "sharing": {team: graph.plain() for team, graph in graphs.items()},
        "step": step,
    }
