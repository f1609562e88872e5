"""From a path to its model: a run, a checkpoint, a file, a folder, or a repository on the hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from coupling.config.config import build_config
from coupling.config.registry import Registry
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.model.model import CoupledModel
from coupling.networks.build import assemble
from coupling.networks.weights import average_prefix, load_tensors
from coupling.runs.locations import locate
from coupling.runs.provenance import training_record
from coupling.runs.tensor_files import read_metadata, read_tensors
from coupling.system.terminal import print_line


def read_model(
    path: str | Path,
    registry: Registry,
    *,
    device: str | torch.device = "cpu",
    live: bool = False,
    token: str | None = None,
) -> CoupledModel:
    """The model of a run directory, a checkpoint in it, a model file, or a model on the hub, ``hf://USER/MODEL``.

    Averaged (EMA) weights where the run kept them, unless ``live``. Needs the plugins of the
    architectures and losses, not those of the data. Raises :class:`InputError` saying what is wrong.
    """
    file = locate(path, token)
    values, domains, step, record = _described(file)
    domains = {name: _with_drawing(domain, registry) for name, domain in domains.items()}
    try:
        config = build_config(values, registry, data=False)
        networks = assemble(config, domains, registry, trial=False)
    except InputError as error:
        raise type(error)(f"{file}: {error}") from None
    tensors = read_tensors(file)
    for room, module in networks.named_networks.items():
        averaged = not live and any(name.startswith(f"{average_prefix(room)}.") for name in tensors)
        load_tensors(module, tensors, average_prefix(room) if averaged else room, file)
        module.eval().requires_grad_(False)
    record = record or training_record(file, step)
    model = CoupledModel(config, domains, networks.generator, networks.discriminator, step, networks.losses, record)
    return model.to(device)


def _with_drawing(domain: Domain, registry: Registry) -> Domain:
    """The domain with what draws it; the model is as good where a plugin that only draws is not installed."""
    if not domain.drawn_by:
        return domain
    try:
        drawing = registry.build("transform", domain.drawn_by, {}, f"domain '{domain.name}': drawn_by")
    except InputError as error:
        print_line(f"{error}; its samples are drawn {'as they are' if domain.is_image else 'in no picture'}")
        return domain
    return replace(domain, drawing=drawing)


def _described(file: Path) -> tuple[dict[str, Any], dict[str, Domain], int, dict[str, Any]]:
    """Configuration, domains, step and record of a model file, from its metadata."""
    described = read_metadata(file)
    try:
        domains = {
            name: Domain(
                name, tuple(d["shape"]), (float(d["range"][0]), float(d["range"][1])), str(d.get("drawn_by", ""))
            )
            for name, d in described["domains"].items()
        }
        return described["config"], domains, int(described["step"]), dict(described.get("record", {}))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise InputError(f"{file}: a safetensors file, but not a model that coupling wrote") from None
