"""Small networks that tell what a sample shows: classifiers and depth estimators, for metrics.

A probe learns from real samples that no domain trains on (:mod:`coupling.data.held_out`), always in the same way:
the same samples give the same probe. What it learned is kept in ``probes/`` in the data directory.
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupling.data.domain_data import DomainData
from coupling.data.held_out import Numbers, split
from coupling.errors import DataError, InputError
from coupling.runs.tensor_files import read_metadata, read_tensors
from coupling.system.data_directory import data_directory
from coupling.system.seeds import derive_seed
from coupling.system.terminal import print_line, progress

STEPS = 1200


BATCH = 64


RATE = 3e-3


FEATURES = 128
"""Units of the last hidden layer."""


_VERSION = 1  # part of every key: raise it when a probe learns in another way


_PORTION = 500  # samples that go through a network at once


Classes: TypeAlias = dict[str, Tensor]
"""Class numbers by what is told: {head: (n,) int64}."""


@dataclass(frozen=True)
class Classifier:
    """Tells classes of samples of some domains."""

    network: nn.Module
    classes: Mapping[str, int]
    """Number of classes of each head."""
    accuracy: Mapping[str, float]
    """Share of held-out samples told rightly that it did not learn from, by ``<domain>/<head>``."""
    record: Mapping[str, object] = field(default_factory=dict)
    """What it learned from, for the record of a measurement."""

    def __call__(self, samples: Tensor) -> Classes:
        """Samples (B, *shape) in their domain's range to the most probable class of each head."""
        scores = in_portions(self.network, samples).split(list(self.classes.values()), dim=1)
        return {head: part.argmax(1) for head, part in zip(self.classes, scores, strict=True)}

    def features(self, samples: Tensor) -> Tensor:
        """Samples (B, *shape) to the outputs of the last hidden layer, (B, FEATURES)."""
        assert isinstance(self.network, nn.Sequential)
        return in_portions(self.network[:-1], samples)


@dataclass(frozen=True)
class DepthEstimator:
    """Tells the depth of each pixel from colour."""

    network: nn.Module
    record: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, samples: Tensor) -> Tensor:
        """Colour (B, C, H, W) in its domain's range to depth (B, 1, H, W), a share of the depth domain's range."""
        return in_portions(self.network, samples).sigmoid()


def classifier(pools: Mapping[str, DomainData], told: Mapping[str, Mapping[str, Tensor]]) -> Classifier:
    """A probe for the domains of ``pools``, which are of one shape, trained on all of them together.

    Args:
        pools: held-out samples by domain.
        told: classes of all samples of each domain's data set: {domain: {head: (len(dataset),) int64}}, the same
            heads for all domains. Class numbers begin at 0.

    Raises:
        DataError: there are fewer than two classes, or a class number is negative.
    """
    first = next(iter(pools.values()))
    targets = {
        name: {head: values[torch.from_numpy(pool.indices)] for head, values in told[name].items()}
        for name, pool in pools.items()
    }
    heads = {head: 1 + max(int(targets[name][head].max()) for name in pools) for head in next(iter(targets.values()))}
    for head, count in heads.items():
        if count < 2 or any(targets[name][head].min() < 0 for name in pools):
            raise DataError(
                f"{head} of {_named(pools)}: class numbers run from "
                f"{min(int(targets[name][head].min()) for name in pools)} to {count - 1}; a probe tells two classes or "
                "more, numbered from 0"
            )
    learned = {name: split(pool)[0] for name, pool in pools.items()}
    share = max(1, BATCH // len(pools))

    def objective(network: nn.Module, random: np.random.Generator) -> Tensor:
        chosen = {name: random.choice(numbers, share) for name, numbers in learned.items()}
        samples = torch.cat([pools[name].read(numbers) for name, numbers in chosen.items()])
        scores = network(_moved(samples, random)).split(list(heads.values()), dim=1)
        wanted = [torch.cat([targets[name][head][numbers] for name, numbers in chosen.items()]) for head in heads]
        return torch.stack([F.cross_entropy(s, w) for s, w in zip(scores, wanted, strict=True)]).mean()

    def accuracy(network: nn.Module) -> dict[str, float]:
        probe = Classifier(network, heads, {})
        found = {}
        for place, (name, pool) in enumerate(pools.items()):  # domains by number: their names are nothing to it
            numbers = split(pool)[1]
            guesses = classes_of(probe, pool, numbers)
            for head in heads:
                found[f"{place}/{head}"] = (guesses[head] == targets[name][head][numbers]).float().mean().item()
        return found

    key = {"kind": "classifier", "heads": heads, "data": [_identity(pool, targets[n]) for n, pool in pools.items()]}
    make = lambda: nn.Sequential(*trunk(first), nn.Linear(FEATURES, sum(heads.values())))  # noqa: E731
    network, tested, record = _learned(key, make, objective, accuracy, f"probe of {_named(pools)}", pools)
    told_rightly = {f"{n}/{head}": tested[f"{place}/{head}"] for place, n in enumerate(pools) for head in heads}
    return Classifier(network, heads, told_rightly, {**record, "accuracy": _rounded(told_rightly)})


def depth_estimator(colour: DomainData, depth: DomainData, missing: float) -> DepthEstimator:
    """A probe of depth, trained on held-out true pairs: sample k of both pools is one view.

    ``missing``: share of the depth's range below which a pixel tells nothing.
    """
    learned, tested = split(colour)

    def objective(network: nn.Module, random: np.random.Generator) -> Tensor:
        chosen = random.choice(learned, BATCH // 2)
        error, seen = _compared(network(colour.read(chosen)).sigmoid(), unit(depth, depth.read(chosen)), missing)
        return (error * seen).sum() / seen.sum().clamp(min=1)

    def accuracy(network: nn.Module) -> dict[str, float]:
        guess = DepthEstimator(network)(colour.read(tested))
        error, seen = _compared(guess, unit(depth, depth.read(tested)), missing)
        return {"absolute error": float((error * seen).sum() / seen.sum().clamp(min=1))}

    key = {"kind": "depth", "missing": missing, "data": [_identity(colour, {}), _identity(depth, {})]}
    pools = {colour.domain.name: colour, depth.domain.name: depth}
    channels = colour.domain.shape[0]
    title = f"depth probe of {_named(pools)}"
    scale = colour.domain.range
    make = lambda: nn.Sequential(Centred(*scale), Hourglass(channels))  # noqa: E731
    network, tested_at, record = _learned(key, make, objective, accuracy, title, pools)
    return DepthEstimator(network, {**record, **_rounded(tested_at)})


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def known(data: DomainData) -> dict[str, Tensor]:
    """Attributes of all samples of a domain's data set, or its labels where it has nothing else: (n,) int64 each."""
    told = dict(data.dataset.attributes())
    labels = data.dataset.labels
    if not told and labels is not None:
        told = {"class": labels}
    for name, values in told.items():
        if values.shape != (len(data.dataset),):
            raise DataError(
                f"{data.origin}: attribute '{name}' has shape {tuple(values.shape)} for {len(data.dataset)} samples"
            )
    return told


def unit(data: DomainData, samples: Tensor) -> Tensor:
    """Samples as shares of their domain's range."""
    low, high = data.domain.range
    return ((samples - low) / (high - low)).clamp(0, 1)


def _compared(one: Tensor, other: Tensor, missing: float) -> tuple[Tensor, Tensor]:
    """Absolute differences from the true depth ``other``, and where that is known."""
    return (one - other).abs(), other >= missing


def classes_of(probe: Classifier, pool: DomainData, numbers: Numbers) -> Classes:
    """What a probe takes samples ``numbers`` of a pool for."""
    parts = [probe(pool.read(numbers[start : start + _PORTION])) for start in range(0, len(numbers), _PORTION)]
    return {head: torch.cat([part[head] for part in parts]) for head in probe.classes}


# ------------------------------------------------------------------------------ networks


class Centred(nn.Module):
    """Carries [low, high] to [-1, 1]."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.middle, self.radius = (low + high) / 2, (high - low) / 2

    def forward(self, samples: Tensor) -> Tensor:
        """Samples of any shape."""
        return (samples - self.middle) / self.radius


def trunk(data: DomainData) -> list[nn.Module]:
    """Layers from samples of a domain, in its range, to FEATURES units.

    Images are halved by strided convolutions down to 4 pixels a side; anything else goes through two linear layers.
    """
    shape = data.domain.shape
    made: list[nn.Module] = [Centred(*data.domain.range)]
    if len(shape) != 3:
        size = math.prod(shape)
        return [*made, nn.Flatten(), nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, FEATURES), nn.ReLU()]
    channels, side = shape[0], list(shape[1:])
    halvings = max(1, math.ceil(math.log2(max(side) / 4)))
    for number in range(halvings):
        kernel = 5 if number == 0 else 3
        width = max(16, FEATURES >> (halvings - 1 - number))
        made += [
            nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels, side = width, [(n + 1) // 2 for n in side]
    return [*made, nn.Flatten(), nn.Linear(channels * math.prod(side), FEATURES), nn.ReLU()]


class Hourglass(nn.Module):
    """(B, C, H, W) to (B, 1, H, W): four halvings, and back with what was seen at each size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        down = [channels, 16, 32, 64, 64]
        self.down = nn.ModuleList(
            _block(a, b, stride=2, kernel=5 if number == 0 else 3) for number, (a, b) in enumerate(pairwise(down))
        )
        self.up = nn.ModuleList([_block(64 + 64, 32), _block(32 + 32, 16), _block(16 + 16, 16)])
        self.last = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores before the sigmoid."""
        seen = [images]
        for layer in self.down:
            seen.append(layer(seen[-1]))
        x = seen.pop()
        for layer in self.up:
            beside = seen.pop()
            x = layer(torch.cat([F.interpolate(x, size=beside.shape[2:], mode="nearest"), beside], 1))
        full = F.pixel_shuffle(self.last(x), 2)
        height, width = images.shape[2:]
        return full[:, :, :height, :width]


def _block(channels: int, width: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


@torch.no_grad()
def in_portions(network: nn.Module, samples: Tensor) -> Tensor:
    """A network's outputs for many samples, on the CPU, in evaluation mode."""
    network.eval()
    return torch.cat([network(part.float()) for part in samples.split(_PORTION)])


def _moved(samples: Tensor, random: np.random.Generator) -> Tensor:
    """Images moved by up to a fourteenth of a side, all alike; other samples as they are."""
    if samples.dim() != 4:
        return samples
    height, width = samples.shape[2:]
    most = max(height, width) // 14
    padded = F.pad(samples, (most,) * 4, mode="replicate")
    top, left = random.integers(0, 2 * most + 1, 2).tolist()
    return padded[:, :, top : top + height, left : left + width]


# ------------------------------------------------------------------------------ learning


def _learned(
    key: Mapping[str, Any],
    make: Callable[[], nn.Module],
    objective: Callable[[nn.Module, np.random.Generator], Tensor],
    test: Callable[[nn.Module], dict[str, float]],
    title: str,
    pools: Mapping[str, DomainData],
) -> tuple[nn.Module, dict[str, float], dict[str, object]]:
    """The network, how good it is, and its record: read back where it was learned before."""
    described = json.loads(json.dumps({**key, "version": _VERSION, "steps": STEPS, "torch": torch.__version__}))
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    path = data_directory("probes") / f"{digest[:32]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "probe"))
        network = make()
    tested = _read(path, network, described)
    if tested is None:
        _learn(network, objective, np.random.default_rng(derive_seed(0, "probe", "batches")), title)
        tested = test(network)
        _keep(path, network, {"key": described, "tested": tested}, title)
    network.eval().requires_grad_(False)
    counted = list(pools.values())[: 1 if key["kind"] == "depth" else None]  # pairs count once
    record = {
        "sha256": digest[:12],
        "samples of": ", ".join(dict.fromkeys(p.dataset.source for p in pools.values())),
        "learned": sum(len(split(p)[0]) for p in counted),
        "tested": sum(len(split(p)[1]) for p in counted),
    }
    return network, tested, record


def _learn(
    network: nn.Module,
    objective: Callable[[nn.Module, np.random.Generator], Tensor],
    random: np.random.Generator,
    title: str,
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    network.train()
    with progress(f"training a {title}", STEPS) as advance:
        for _ in range(STEPS):
            optimizer.zero_grad()
            objective(network, random).backward()
            optimizer.step()
            rates.step()
            advance()


def _identity(pool: DomainData, targets: Mapping[str, Tensor]) -> dict[str, str]:
    """What a probe depends on: which samples, through which transforms, told to be what."""
    spread = np.linspace(0, len(pool) - 1, min(256, len(pool))).astype(np.int64)
    classes = hashlib.sha256()
    for head, values in targets.items():
        classes.update(head.encode() + values.numpy().tobytes())
    return {
        "fingerprint": pool.dataset.fingerprint(),
        "indices": hashlib.sha256(np.ascontiguousarray(pool.indices).tobytes()).hexdigest(),
        "samples": hashlib.sha256(pool.read(spread).contiguous().numpy().tobytes()).hexdigest(),
        "classes": classes.hexdigest(),
    }


def _read(path: Path, network: nn.Module, described: Mapping[str, Any]) -> dict[str, float] | None:
    """Load what was learned before; returns how good it is, or None where it was not."""
    try:
        kept = read_metadata(path)
        if kept["key"] != described:
            return None
        network.load_state_dict(read_tensors(path))
        return {str(name): float(value) for name, value in kept["tested"].items()}
    except (InputError, RuntimeError, KeyError, TypeError, AttributeError):  # absent or damaged: learned again
        return None


def _keep(path: Path, network: nn.Module, described: Mapping[str, Any], title: str) -> None:
    """Write what was learned, as a whole; where that cannot be, say so and go on."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        safetensors.torch.save_file(tensors, temporary, {"coupling": json.dumps(described)})
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        print_line(f"{title}: not kept, it will be trained again next time: {path.parent}: {error}")


def _named(pools: Mapping[str, DomainData]) -> str:
    return " and ".join(f"'{name}'" for name in pools)
