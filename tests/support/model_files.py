"""Model files for tests: made, read, changed, compared."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from coupling.api import load_model
from coupling.model.model import CoupledModel
from coupling.runs.model_file import SHA256, with_digest
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny

LOSSES = "losses=[non-saturating, {name: classification, domains: [a], classes: 2}, head]"


def load(path: Path) -> CoupledModel:
    return load_model(path, plugins=tiny.plugins())


def trained_file(folder: Path) -> Path:
    """The file of a model with batch normalisation, a classifier and a loss with parameters."""
    config = tiny.config(LOSSES, "generator.architecture={name: linear, batch_norm: true}", "training.steps=3")
    train(config, folder / "run", plugins=tiny.plugins())
    load(folder / "run").save(folder / "model.safetensors")
    return folder / "model.safetensors"


def same(samples: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return list(samples) == list(expected) and all(torch.equal(samples[name], x) for name, x in expected.items())


def contents(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's description without its digest, and its tensors."""
    with safetensors.safe_open(file, "pt") as opened:
        values = json.loads(opened.metadata()["coupling"])
    values.pop(SHA256)
    return values, safetensors.torch.load_file(file)


def write(path: Path, values: Any, tensors: dict[str, Tensor], *, digest: bool = True) -> Path:
    """A file with this description and these tensors, by default with the right digest."""
    values = with_digest(values, tensors) if digest and isinstance(values, dict) else values
    safetensors.torch.save_file(tensors, path, {"coupling": json.dumps(values)})
    return path


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of nested values with one of them changed; ``path``: its keys with dots between them."""
    values = copy.deepcopy(values)
    *parents, last = path.split(".")
    place: Any = values
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return values
