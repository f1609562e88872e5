"""Feature networks: samples are compared by their features instead of their pixels.

A distance between sets of samples means nothing without the features that it was computed on, so each network has a
description (:attr:`Features.record`), which is written into the record of every score.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupling.data.domain_data import DomainData
from coupling.errors import ConfigError, cause
from coupling.metrics.classifier import Classes, Classifier, known_classes
from coupling.metrics.inception import check_inception, open_inception
from coupling.metrics.probe_networks import Centred, run_in_portions
from coupling.networks.weights import fingerprint
from coupling.system.checksums import digest
from coupling.system.file_names import expand_home
from coupling.system.seeds import derive_seed

WIDEST = 4096
"""Maximum size of a feature vector where its covariance must fit in memory."""


@dataclass(frozen=True)
class Features:
    """A feature network for one domain."""

    extract: Callable[[Tensor], Tensor]
    """Samples (B, *shape) in the domain's range to (B, size), on the CPU."""
    record: Mapping[str, Any]
    """What the network is, as JSON values."""
    scaled: bool = True
    """Whether its outputs may be rescaled: the package's own networks. Those of others are compared as they are."""


def check_features(chosen: str, data: DomainData) -> None:
    """Raise :class:`ConfigError` if ``chosen`` cannot be a feature network of the domain; opens no data."""
    if chosen == "inception":
        check_inception(data.domain)
    if chosen in _NAMES or ":" in chosen:
        return
    if not chosen.endswith(".onnx"):
        raise ConfigError(
            f"features: '{chosen}' is unknown; give one of {', '.join(_NAMES)}, an .onnx file, or module:attribute of "
            "installed code"
        )
    if not expand_home(chosen).is_file():
        raise ConfigError(f"features: {chosen}: no such file; give the path of an ONNX network")
    if len(data.domain.shape) != 3:
        raise ConfigError(f"features: {chosen} takes images; samples of '{data.domain.name}' are {data.domain.shape}")


def open_features(chosen: str, data: DomainData, widest: int = WIDEST) -> Features:
    """The feature network of a domain whose data are ready; ``widest``: maximum size of a feature vector.

    ``auto``: classes where the data set has labels or attributes, else random. ``classes``: the last hidden layer
    of a classifier trained on the domain's own labelled samples. ``random``: a convolutional network with fixed random
    weights. ``pixels``: none. ``inception``: that of FID. Otherwise an ONNX file, which holds only numbers and
    operations and executes no other code, or ``module:attribute``, a torch module of installed code.
    """
    if chosen == "auto":
        chosen = "classes" if _varied_classes(data) else "random"
    if chosen in _BUILT_IN:
        features = _BUILT_IN[chosen](data)
    elif chosen.endswith(".onnx"):
        features = _from_file(expand_home(chosen), data)
    else:
        features = _from_code(chosen, data)
    return _try_out(features, chosen, data, widest)


def _try_out(features: Features, chosen: str, data: DomainData, widest: int) -> Features:
    """Run two samples through the network; answers it with its size recorded."""
    try:
        made = features.extract(data.read([0, min(1, len(data) - 1)]))
    except ConfigError:
        raise
    except Exception as error:  # a network of others may fail in any way
        raise ConfigError(
            f"features: {chosen} does not take samples of '{data.domain.name}': {cause(error)}"
        ) from error
    size = made.shape[1] if made.dim() == 2 else 0
    if not 1 <= size <= widest or len(made) != 2:
        raise ConfigError(
            f"features: {chosen} makes {tuple(made.shape)} of two samples of '{data.domain.name}'; it must make "
            f"(2, size) with a size of at most {widest:,}"
        )
    return Features(features.extract, {"resizer": "none", **features.record, "size": size}, features.scaled)


def _varied_classes(data: DomainData) -> Classes:
    """Labels or attributes of all samples that are not the same for all of the domain's own."""
    indices = torch.from_numpy(data.indices)
    return {name: values for name, values in known_classes(data).items() if values[indices].unique().numel() > 1}


def _classes(data: DomainData) -> Features:
    classes = _varied_classes(data)
    if not classes:
        raise ConfigError(
            f"features: classes: samples of '{data.domain.name}' have neither labels nor attributes; use random"
        )
    name = data.domain.name
    probe = Classifier({name: data}, {name: classes})
    probe.load_or_train()
    return Features(probe.features, {"network": "classifier of the domain's own samples", **probe.record})


def _random(data: DomainData) -> Features:
    """Means of random convolutions: of the last one over each quarter of the image, of the others over all of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "random features"))
        network = RandomFeatures(data)
    network.eval().requires_grad_(False)
    return Features(
        lambda samples: run_in_portions(network, samples),
        {"network": "random convolutions", "sha256": _digest(network)},
    )


def _pixels(data: DomainData) -> Features:
    low, high = data.domain.range
    return Features(lambda samples: (samples.flatten(1).float() - low) / (high - low), {"network": "none, pixels"})


def _inception(data: DomainData) -> Features:
    extract, record = open_inception(data.domain)
    return Features(extract, record, scaled=False)


_BUILT_IN: Mapping[str, Callable[[DomainData], Features]] = {
    "classes": _classes,
    "random": _random,
    "pixels": _pixels,
    "inception": _inception,
}


_NAMES = ("auto", *_BUILT_IN)


class RandomFeatures(nn.Module):
    """Three strided convolutions with random weights; two linear layers where samples are not images."""

    def __init__(self, data: DomainData) -> None:
        super().__init__()
        shape = data.domain.shape
        self.centred = Centred(*data.domain.range)
        self.images = len(shape) == 3
        if self.images:
            sizes = [shape[0], 32, 64, 128]
            layers: list[nn.Module] = [nn.Conv2d(a, b, 5, stride=2, padding=2) for a, b in pairwise(sizes)]
        else:
            layers = [nn.Linear(math.prod(shape), 256), nn.Linear(256, 256)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.normal_(layer.bias, std=0.1)  # type: ignore[arg-type]
        self.layers = nn.ModuleList(layers)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, *shape) to (B, size)."""
        x = self.centred(samples)
        if not self.images:
            x = x.flatten(1)
        outputs = []
        for layer in self.layers:
            x = F.relu(layer(x))
            outputs.append(x.mean((2, 3)) if self.images else x)
        if self.images:
            outputs[-1] = F.adaptive_avg_pool2d(x, 2).flatten(1)
        return torch.cat(outputs, 1)


def _digest(network: nn.Module) -> str:
    return fingerprint(network)[:12]


def _from_code(chosen: str, data: DomainData) -> Features:
    """``module:attribute`` of installed code, or of a ``--plugin``: a torch module, or a class of one."""
    module, _, attribute = chosen.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        if isinstance(found, type) and issubclass(found, nn.Module):
            found = found()
    except Exception as error:  # a module of others may fail in any way
        raise ConfigError(f"features: {chosen} cannot be imported: {cause(error)}") from error
    if not isinstance(found, nn.Module):  # a configuration must not be able to call any installed function
        raise ConfigError(f"features: {chosen} is a {type(found).__name__}; it must be a torch.nn.Module or its class")
    network = found.eval()

    def extract(samples: Tensor) -> Tensor:
        made = run_in_portions(network, samples)
        return made.flatten(2).mean(2) if made.dim() > 2 else made

    return Features(extract, {"network": chosen, "sha256": _digest(network)}, scaled=False)


def _from_file(path: Path, data: DomainData) -> Features:
    """An ONNX network that takes (B, 1 or 3, height, width) in [0, 1]; samples are resized to its size."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(f"features: {path} needs onnxruntime: pip install 'coupling-gan[onnx]'") from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common kind
        raise ConfigError(f"features: {path} cannot be read as ONNX: {cause(error)}") from error
    entry, low, high = session.get_inputs()[0], *data.domain.range
    wanted = list(entry.shape)
    if len(wanted) != 4 or wanted[1] not in (1, 3):
        raise ConfigError(f"features: {path} takes {wanted}; it must take images, (batch, 1 or 3, height, width)")
    size = [n if isinstance(n, int) else own for n, own in zip(wanted[2:], data.domain.shape[1:], strict=True)]
    resized = size != list(data.domain.shape[1:])
    fixed = wanted[0] if isinstance(wanted[0], int) else None

    def extract(samples: Tensor) -> Tensor:
        x = ((samples.float() - low) / (high - low)).clamp(0, 1)
        if resized:
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        if x.shape[1] != wanted[1]:
            x = x.mean(1, keepdim=True).expand(-1, wanted[1], -1, -1)
        parts = x.split(fixed or 100)
        made = torch.cat([_run(session, entry.name, part, fixed) for part in parts])
        return made.flatten(2).mean(2) if made.dim() > 2 else made

    height, width = data.domain.shape[1:]
    resizer = f"bilinear, antialiased, {height}x{width} to {size[0]}x{size[1]}" if resized else "none"
    record = {"network": path.name, "sha256": digest(path)[:12], "resizer": resizer}
    return Features(extract, record, scaled=False)


def _run(session: Any, name: str, part: Tensor, fixed: int | None) -> Tensor:
    """Run one batch through an ONNX network; a smaller batch than its fixed size is filled up with copies."""
    count = len(part)
    if fixed is not None and count < fixed:
        part = torch.cat([part, part[-1:].expand(fixed - count, -1, -1, -1)])
    return torch.from_numpy(session.run(None, {name: part.contiguous().numpy()})[0])[:count]
