"""From a path to its model: a run, a checkpoint, a file, a folder, or a repository on the hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from coupling import checkpoint
from coupling.assembly import assemble
from coupling.config import parse_config
from coupling.domain import Domain
from coupling.errors import InputError, nearest
from coupling.hub_address import hub_address
from coupling.model import CoupledModel
from coupling.plugins import Plugins, installed
from coupling.record import training_record
from coupling.rooms import averaged_room, load_tensors
from coupling.terminal import remark


def locate(path: str | Path) -> Path:
    """The model file that RUN means: of a run's newest whole checkpoint, of a checkpoint, a folder, or on the hub.

    Raises :class:`InputError` where it is none of them, or cannot be read.
    """
    address = hub_address(path)
    if address is not None:
        from coupling.model_hub import download

        return download(address)
    path = Path(path)
    try:
        return _located(path)
    except OSError as error:  # a folder that may not be entered
        raise InputError(f"{path}: cannot be read: {error.strerror or error}; mend its permissions") from None


def _located(path: Path) -> Path:
    if (path / "manifest.json").is_file():
        return checkpoint.verified(path).path / "model.safetensors"
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if path.is_file() and path.suffix == ".onnx":
        raise InputError(
            f"{path}: an ONNX graph, which onnxruntime loads; coupling takes the run, or coupling export --format "
            "safetensors"
        )
    if (path / "model.safetensors").is_file():  # a copy of a repository on the hub
        return path / "model.safetensors"
    if (path / "checkpoints").is_dir():
        found, complaints = checkpoint.newest(path / "checkpoints")
        if found is not None:
            for complaint in complaints:
                remark(f"skipped: {complaint}")
            return found.path / "model.safetensors"
        detail = "; ".join(complaints) or "train it longer, or wait for the first"
        raise InputError(f"{path}: this run has no whole checkpoint yet: {detail}")
    if not path.exists():
        beside = path.parent.iterdir() if path.parent.is_dir() else []
        loadable = [str(p) for p in beside if (p / "checkpoints").is_dir() or p.suffix == ".safetensors"]
        raise InputError(f"{path}: no such run; {nearest(str(path), loadable)}")
    raise InputError(f"{path}: neither a run directory, nor a checkpoint, nor a .safetensors model")


def load_model(
    path: str | Path, *, device: str | torch.device = "cpu", plugins: Plugins | None = None, live: bool = False
) -> CoupledModel:
    """The model of a run directory, a checkpoint in it, a model file, or a model on the hub, ``hf://USER/MODEL``.

    Averaged (EMA) weights where the run kept them, unless ``live``. Needs the plugins of the
    architectures and losses, not those of the data. Raises :class:`InputError` saying what is wrong.
    """
    file = locate(path)
    plugins = plugins or installed()
    values, domains, step, record = _described(file)
    domains = {name: _with_drawing(domain, plugins) for name, domain in domains.items()}
    try:
        config = parse_config(values, plugins, data=False)
        networks = assemble(config, domains, plugins.registry)
    except InputError as error:
        raise type(error)(f"{file}: {error}") from None
    tensors = checkpoint.read_tensors(file)
    for room, module in networks.rooms.items():
        averaged = not live and any(name.startswith(f"{averaged_room(room)}.") for name in tensors)
        load_tensors(module, tensors, averaged_room(room) if averaged else room, file)
        module.eval().requires_grad_(False)
    record = record or training_record(file, step)
    model = CoupledModel(config, domains, networks.generator, networks.discriminator, step, networks.losses, record)
    return model.to(device)


def _with_drawing(domain: Domain, plugins: Plugins) -> Domain:
    """The domain with what draws it; the model is as good where a plugin that only draws is not installed."""
    if not domain.drawn_by:
        return domain
    try:
        drawing = plugins.registry.build("transform", domain.drawn_by, {}, f"domain '{domain.name}': drawn_by")
    except InputError as error:
        remark(f"{error}; its samples are drawn {'as they are' if domain.is_image else 'in no picture'}")
        return domain
    return replace(domain, drawing=drawing)


def _described(file: Path) -> tuple[dict[str, Any], dict[str, Domain], int, dict[str, Any]]:
    """Configuration, domains, step and record of a model file, from its metadata."""
    described = checkpoint.read_metadata(file)
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
