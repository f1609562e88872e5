"""Probes: small networks that metrics use to see what a sample shows.

A probe learns from real samples that no domain trains on (:mod:`coupling.data.held_out`), always in the same way:
the same samples give the same probe. Its weights are saved in ``probes/`` in the data directory. Where two probes that
differ in their seed alone disagree on an image, the image does not show clearly what they look for: it is blurred.
"""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from coupling.data.domain_data import DomainData
from coupling.data.held_out import split
from coupling.errors import InputError
from coupling.runs.model_file import hash_tensor
from coupling.runs.tensor_files import METADATA, plain_tensors, read_metadata, read_tensors
from coupling.system.atomic_files import write_bytes
from coupling.system.data_directory import data_directory
from coupling.system.seeds import derive_seed
from coupling.system.terminal import progress, warn

STEPS = 1200


BATCH = 64


RATE = 3e-3


_VERSION = 1  # part of every key: raise it when a probe learns in another way


class Probe(ABC):
    """A network trained on held-out samples of some domains, once and for all."""

    def __init__(self, pools: Mapping[str, DomainData], title: str, counted: Sequence[DomainData]) -> None:
        """``pools``: held-out samples by domain. ``counted``: those whose number is recorded; pairs count once."""
        self.pools = dict(pools)
        self.title = title
        self.counted = counted
        self.seed = 0
        """Seed of the initial weights and the batches."""
        self.network: nn.Module = nn.Identity()
        self.tested: dict[str, float] = {}
        """How good the probe is on held-out samples that it did not learn from: what :meth:`test` answered."""
        self._digest = ""

    @abstractmethod
    def key(self) -> dict[str, Any]:
        """Everything that the trained network depends on, as JSON values."""

    @abstractmethod
    def make_network(self) -> nn.Module:
        """The network before training."""

    @abstractmethod
    def loss(self, random: np.random.Generator) -> Tensor:
        """The loss of one batch, drawn by ``random``: a scalar."""

    @abstractmethod
    def test(self) -> dict[str, float]:
        """How good the network is on held-out samples that it did not learn from, by name."""

    def second(self) -> Self:
        """An untrained probe of the same samples with another seed: other initial weights, other batches."""
        made = copy.copy(self)
        made.seed, made.title = self.seed + 1, f"second {self.title}"
        return made

    def load_or_train(self) -> None:
        """Load the network if it is saved; else train, test and save it."""
        key = {**self.key(), "version": _VERSION, "steps": STEPS, "torch": torch.__version__}
        if self.seed:  # probes of seed 0 have been saved without it
            key["seed"] = self.seed
        key = json.loads(json.dumps(key))
        self._digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = data_directory("probes") / f"{self._digest[:32]}.safetensors"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "probe"))
            self.network = self.make_network()
        tested = self._load(path, key)
        if tested is None:
            self.train()
            tested = self.test()
            self._save(path, {"key": key, "tested": tested})
        self.tested = tested
        self.network.eval().requires_grad_(False)

    def train(self) -> None:
        """Train the network."""
        random = np.random.default_rng(derive_seed(self.seed, "probe", "batches"))
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=RATE, weight_decay=1e-2)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
        self.network.train()
        with progress(f"training a {self.title}", STEPS) as advance:
            for _ in range(STEPS):
                optimizer.zero_grad()
                self.loss(random).backward()
                optimizer.step()
                rates.step()
                advance()

    @property
    def record(self) -> dict[str, object]:
        """The samples of the probe's training, for the record of a score."""
        return {
            "sha256": self._digest[:12],
            "samples of": ", ".join(dict.fromkeys(pool.dataset.source for pool in self.pools.values())),
            "learned": sum(len(split(pool)[0]) for pool in self.counted),
            "tested": sum(len(split(pool)[1]) for pool in self.counted),
        }

    def _load(self, path: Path, key: Mapping[str, Any]) -> dict[str, float] | None:
        """Load a saved network; answers how good it is, or None if there is none."""
        try:
            saved = read_metadata(path)
            tensors = read_tensors(path)
            if saved["key"] != key or saved.get("tensors") not in (None, _digest(tensors)):
                return None
            self.network.load_state_dict(tensors)
            return {str(name): float(value) for name, value in saved["tested"].items()}
        except (InputError, RuntimeError, KeyError, TypeError, AttributeError):  # missing or damaged: trained again
            return None

    def _save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Save the network; prints a warning if that fails."""
        tensors = plain_tensors(self.network.state_dict())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            described = json.dumps({**about, "tensors": _digest(tensors)})
            write_bytes(path, safetensors.torch.save(tensors, {METADATA: described}))
        except OSError as error:
            warn(f"{self.title}: not saved, it will be trained again next time: {path.parent}: {error}")


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors: safetensors finds a file that was cut, not a changed byte."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        hash_tensor(digest, name, tensors[name])
    return digest.hexdigest()


def identify(pool: DomainData, targets: Mapping[str, Tensor]) -> dict[str, str]:
    """Digests of what a probe learns from: which samples, through which transforms, with which targets."""
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


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Values with four decimal places, for a record."""
    return {name: round(value, 4) for name, value in values.items()}


def in_quotes(pools: Mapping[str, DomainData]) -> str:
    """Names of domains for a message: 'a' and 'b'."""
    return " and ".join(f"'{name}'" for name in pools)
