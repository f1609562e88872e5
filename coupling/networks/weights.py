"""What a model's file holds: the tensors of each room, named after it, and what rebuilds the networks."""

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
    """SHA-256 of all parameters and buffers."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in network.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


_LISTED = 8
"""Tensors in a message, at most."""


def named_networks(
    generator: nn.Module, discriminator: nn.Module, losses: Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """What of a model its file holds, by what its tensors' names begin with."""
    named = {f"loss.{name}": loss for name, loss in losses.items()}
    return {"generator": generator, "discriminator": discriminator, **named}


def average_prefix(room: str) -> str:
    """What the names of a room's averages begin with: ema, ema_discriminator, ema_loss.<name>."""
    return "ema" if room == "generator" else f"ema_{room}"


def named_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of several rooms, by name."""
    return {f"{room}.{name}": t for room, module in modules.items() for name, t in module.state_dict().items()}


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], room: str, path: Path) -> None:
    """Put a room's tensors into ``module``; raises :class:`InputError` naming what differs."""
    own = {k.removeprefix(f"{room}."): v for k, v in tensors.items() if k.startswith(f"{room}.")}
    expected = module.state_dict()
    misfits = []
    for name in dict.fromkeys([*expected, *own]):
        here, there = expected.get(name), own.get(name)
        if here is None or there is None:
            misfits.append(f"'{room}.{name}' is in the {'file' if here is None else 'network'} alone")
        elif here.shape != there.shape:
            misfits.append(
                f"'{room}.{name}' has shape {tuple(there.shape)} in the file, {tuple(here.shape)} in the network"
            )
    if misfits:
        more = [f"and {len(misfits) - _LISTED} more"] if len(misfits) > _LISTED else []
        raise InputError("\n  ".join([f"{path}: does not fit its configuration:", *misfits[:_LISTED], *more]))
    module.load_state_dict(own)


def description(
    config: Config, domains: Mapping[str, Domain], graphs: Mapping[TeamName, SharingGraph], step: int
) -> dict[str, Any]:
    """What rebuilds the networks without the data: configuration, domains, sharing graphs, step."""
    return {
        "config": config.plain(),
        "domains": {
            name: {"shape": d.shape, "range": d.range} | ({"drawn_by": d.drawn_by} if d.drawn_by else {})
            for name, d in domains.items()
        },
        "sharing": {team: graph.plain() for team, graph in graphs.items()},
        "step": step,
    }
