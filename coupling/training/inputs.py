"""The inputs that a step draws: codes, real samples, labels and noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.networks.latent import LatentBatches, LatentSpace
from coupling.system.seeds import derive_seed, seed_all, torch_generator
from coupling.training.algorithm import Algorithm1
from coupling.training.ema import MovingAverage
from coupling.training.objective import Losses
from coupling.training.prefetch import Prefetch


class Samples(Protocol):
    """One domain's batches: :class:`coupling.data.batches.Batches`, or a substitute."""

    def batch(self, step: int) -> Tensor:
        """This process's samples of ``step`` (from 0): (B / processes, *shape)."""

    def labels(self, step: int) -> Tensor:
        """Their classes: (B / processes,) int64."""


Use: TypeAlias = tuple[int, str, int]
"""Step, purpose and numbers of noise for losses."""


@dataclass(frozen=True)
class Drawn:
    """The inputs of one step on this process, on the device."""

    z: Tensor
    fresh_z: Tensor | None
    real: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    noise: dict[Use, Tensor]
    """Noise for losses, as far as it was foreseen."""


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
        self.waited = 0.0
        """Seconds that steps have waited for their inputs."""
        self._prefetch: Prefetch[Drawn] | None = None
        self._noise: dict[Use, Tensor] = {}
        self._uses: set[Use] = set()
        """The noise that the current step has asked for; the next step will probably ask for the same."""

    @contextmanager
    def ahead(self, steps: int) -> Iterator[None]:
        """A block in which the inputs of the next step are read while a step computes, none beyond ``steps``.

        Whatever else reads the data in it calls :meth:`settle` before.
        """
        self._prefetch = Prefetch(self._reading, steps, self.device)
        try:
            yield
        finally:
            self._prefetch.close()
            self._prefetch = None

    def settle(self) -> None:
        """Wait until nothing is being read ahead."""
        if self._prefetch is not None:
            started = time.monotonic()
            self._prefetch.settle()
            self.waited += time.monotonic() - started

    def take_step(self, step: int, algorithm: Algorithm1, average: MovingAverage | None = None) -> Losses:
        """Take one step of Algorithm 1 (``step`` counts from 0) and update the moving average."""
        seed_all(derive_seed(self.seed, "step", step, self.batch.rank))
        started = time.monotonic()
        drawn = self._read(step, ()) if self._prefetch is None else self._prefetch.take(step)
        self.waited += time.monotonic() - started
        self._noise, self._uses = drawn.noise, set()
        losses = algorithm.step(step, drawn.z, drawn.real, drawn.fresh_z, drawn.labels)
        if average is not None:
            average.update(step)
        return losses

    def uniform(self, step: int, purpose: str, numbers: int) -> Tensor:
        """Noise for losses, U[0, 1): this process's rows of (B, numbers), so that all processes draw one batch."""
        self._uses.add((step, purpose, numbers))
        ready = self._noise.pop((step, purpose, numbers), None)  # once, as the caller may change it
        return self._uniform(step, purpose, numbers) if ready is None else ready

    def _uniform(self, step: int, purpose: str, numbers: int) -> Tensor:
        drawn = torch.rand(self.batch.size, numbers, generator=torch_generator(self.seed, "loss", purpose, step))
        return self._on_device(drawn[self.batch.own])

    def _reading(self, step: int) -> Callable[[], Drawn]:
        """A function that reads the inputs of ``step``, and draws the noise that the step before it has asked for."""
        foreseen = [(step, purpose, numbers) for _, purpose, numbers in self._uses]
        return lambda: self._read(step, foreseen)

    def _read(self, step: int, foreseen: Iterable[Use]) -> Drawn:
        z = self._on_device(self.latents.batch(step))
        fresh_z = self._on_device(self.latents.batch(step, "fresh z")) if self.fresh_latent else None
        real = {name: self._on_device(samples.batch(step)) for name, samples in self.samples.items()}
        labels = {name: self.samples[name].labels(step).to(self.device) for name in self.labelled}
        return Drawn(z, fresh_z, real, labels, {use: self._uniform(*use) for use in foreseen})

    def _on_device(self, samples: Tensor) -> Tensor:
        memory = torch.channels_last if samples.dim() == 4 else torch.contiguous_format
        if self.device.type == "cuda":
            samples = samples.pin_memory()
        return samples.to(self.device, non_blocking=True, memory_format=memory)
