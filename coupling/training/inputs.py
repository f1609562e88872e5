"""The inputs that a step draws: codes, real samples, labels and noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.networks.latent import LatentBatches, LatentSpace
from coupling.system.seeds import derive_seed, seed_all, torch_generator
from coupling.training.algorithm import Algorithm1
from coupling.training.ema import MovingAverage
from coupling.training.objective import Losses


class Samples(Protocol):
    """One domain's batches: :class:`coupling.data.batches.Batches`, or a substitute."""

    def batch(self, step: int) -> Tensor:
        """This process's samples of ``step`` (from 0): (B / processes, *shape)."""

    def labels(self, step: int) -> Tensor:
        """Their classes: (B / processes,) int64."""


class StepInputs:
    """The inputs of every step: a function of (seed, step, process) alone.

    Training, the conformance tests and the count of a step's cost all take their steps through :meth:`take_step`.
    """

    def __init__(
        self,
        config: Config,
        samples: Mapping[str, Samples],
        labelled: Iterable[str],
        batch: Batch,
        device: torch.device,
    ) -> None:
        """``labelled``: the domains whose labels a loss reads."""
        self.seed = config.seed
        self.fresh_latent = config.training.fresh_latent
        self.latents = LatentBatches(LatentSpace(config.latent, config.domains), config.seed, batch)
        self.samples = dict(samples)
        self.labelled = list(labelled)
        self.batch = batch
        self.device = device

    def take_step(self, step: int, algorithm: Algorithm1, average: MovingAverage | None = None) -> Losses:
        """Take one step of Algorithm 1 (``step`` counts from 0) and update the moving average."""
        seed_all(derive_seed(self.seed, "step", step, self.batch.rank))
        z = self._on_device(self.latents.batch(step))
        fresh_z = self._on_device(self.latents.batch(step, "fresh z")) if self.fresh_latent else None
        real = {name: self._on_device(samples.batch(step)) for name, samples in self.samples.items()}
        labels = {name: self.samples[name].labels(step).to(self.device) for name in self.labelled}
        losses = algorithm.step(step, z, real, fresh_z, labels)
        if average is not None:
            average.update(step)
        return losses

    def uniform(self, step: int, purpose: str, numbers: int) -> Tensor:
        """Noise for losses, U[0, 1): this process's rows of (B, numbers), so that all processes draw one batch."""
        drawn = torch.rand(self.batch.size, numbers, generator=torch_generator(self.seed, "loss", purpose, step))
        return self._on_device(drawn[self.batch.own])

    def _on_device(self, samples: Tensor) -> Tensor:
        memory = torch.channels_last if samples.dim() == 4 else torch.contiguous_format
        if self.device.type == "cuda":
            samples = samples.pin_memory()
        return samples.to(self.device, non_blocking=True, memory_format=memory)
