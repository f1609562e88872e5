"""A plugin for tests: a data set in memory, a linear architecture, a loss that breaks on order.

``coupling run CONFIG --plugin tests/support/tiny_plugin.py``; in a test, ``tiny.config(...)`` and ``tiny.plugins()``.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from coupling import Dataset, Domain, Loss, Measured, Metric, hookimpl
from coupling.api import parse_config
from coupling.config.config import Config
from coupling.config.overrides import override
from coupling.networks.layers import output_activation
from coupling.plugins import Plugins

SHAPE = (1, 4, 4)
torch.set_num_threads(1)  # on tensors this small, threads would only wait for each other


class Tiny(Dataset):
    """Blurred random pictures in memory, (1, 4, 4) in [-1, 1]."""

    shape = SHAPE
    range = (-1.0, 1.0)

    def __init__(
        self,
        *,
        count: Annotated[int, Field(ge=0, description="samples")] = 24,
        pool: Annotated[str, Field(description="names the samples; equal pools are one source")] = "pool",
        scale: Annotated[float, Field(description="above 1: values outside the declared range")] = 1.0,
        roll: Annotated[bool, Field(description="move the pictures round at random")] = False,
    ) -> None:
        self.roll = roll
        self.source = f"tiny:{pool}"
        noise = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(sum(map(ord, pool))))
        self.samples = (noise * 2 - 1) * scale

    @property
    def labels(self) -> Tensor:
        """1 where a picture's left half is the brighter one, else 0."""
        return (self.samples[..., :2].mean((1, 2, 3)) > self.samples[..., 2:].mean((1, 2, 3))).long()

    def held_out(self) -> Dataset | None:
        return (
            None if self.source.endswith("+test") else Tiny(count=10, pool=self.source.removeprefix("tiny:") + "+test")
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:
        return self.samples[index]

    def augmented(self, indices: Sequence[int], keys: Sequence[int]) -> Tensor:
        samples = self.batch(indices)
        if not self.roll:
            return samples
        shifts = (np.random.default_rng(key).integers(0, 4, 2).tolist() for key in keys)
        return torch.stack([x.roll(shift, (1, 2)) for x, shift in zip(samples, shifts, strict=True)])


class Linear:
    """Three linear layers a team; normalisation and dropout where asked for."""

    def __init__(
        self,
        *,
        width: Annotated[int, Field(ge=1, description="units of the hidden layers")] = 6,
        batch_norm: Annotated[bool, Field(description="normalise the hidden layers")] = False,
        running: Annotated[bool, Field(description="with running statistics")] = True,
        dropout: Annotated[float, Field(ge=0, lt=1, description="of the hidden layers")] = 0.0,
    ) -> None:
        self.width = width
        self.batch_norm = batch_norm
        self.running = running
        self.dropout = dropout

    def _hidden(self, inputs: int) -> list[nn.Module]:
        parts: list[nn.Module] = [nn.Linear(inputs, self.width)]
        if self.batch_norm:
            parts.append(nn.BatchNorm1d(self.width, track_running_stats=self.running))
        parts.append(nn.PReLU())
        if self.dropout:
            parts.append(nn.Dropout(self.dropout))
        return parts

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        last = [nn.Linear(self.width, domain.size), nn.Unflatten(1, domain.shape), output_activation(domain)]
        return self._layers(self._hidden(latent), self._hidden(self.width), last)

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        first = [nn.Flatten(), *self._hidden(domain.size)]
        return self._layers(first, self._hidden(self.width), [nn.Linear(self.width, outputs)])

    def _layers(self, *layers: list[nn.Module]) -> list[nn.Module]:
        return [nn.Sequential(*parts) for parts in layers]


class Breaking(Loss):
    """Not a number in one domain of one team at one step; nothing otherwise."""

    def __init__(
        self,
        *,
        step: Annotated[int, Field(ge=1, description="the step, counted from 1")],
        domain: Annotated[str, Field(description="whose term breaks")] = "b",
        team: Annotated[Literal["generator", "discriminator"], Field(description="whose term breaks")] = "generator",
    ) -> None:
        super().__init__()
        self.step, self.domain, self.breaks = step, domain, team

    def _terms(self, team: str, half: Any, logits: Any) -> dict[str, Tensor]:
        broken = self.breaks == team and half.step == self.step - 1
        return {d: x.mean() * (float("nan") if broken and d == self.domain else 0.0) for d, x in logits.items()}

    def generator(self, half: Any) -> dict[str, Tensor]:
        return self._terms("generator", half, half.fake_logits)

    def discriminator(self, half: Any) -> dict[str, Tensor]:
        return self._terms("discriminator", half, half.real_logits)


class Slow(Loss):
    """A pause in every step, so that a test can interrupt it."""

    def __init__(
        self,
        *,
        seconds: Annotated[float, Field(ge=0, description="pause")] = 0.02,
        until: Annotated[str | None, Field(description="a file: once it is there, no pause")] = None,
    ) -> None:
        super().__init__()
        self.seconds = seconds
        self.until = until

    def generator(self, half: Any) -> dict[str, Tensor]:
        if self.until is None or not Path(self.until).exists():
            time.sleep(self.seconds)
        return {}


class Head(Loss):
    """Owns parameters: a scale of the logits that is trained with the discriminators."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1)

    def discriminator(self, half: Any) -> dict[str, Tensor]:
        return {d: (self.scale(x) - 1).square().mean() for d, x in half.real_logits.items()}


class Flat:
    """Pictures as rows of numbers."""

    def __call__(self, images: Tensor, range: tuple[float, float]) -> Tensor:
        return images.flatten(1)


class Twice:
    """Pictures of two channels, which are not drawn."""

    def __call__(self, images: Tensor, range: tuple[float, float]) -> Tensor:
        return torch.cat([images, images.flip(3)], 1)


class Brightness(Metric):
    """Mean value of a domain's samples."""

    def __init__(self, *, domain: Annotated[str, Field(description="whose samples")] = "a") -> None:
        self.domains = (domain,)

    def measure(self, evaluation: Any) -> Measured:
        (domain,) = self.domains
        return Measured(evaluation.model.sample(8, seed=evaluation.seed)[domain].mean().item())


@hookimpl
def register_datasets(register):
    register("tiny", Tiny)


@hookimpl
def register_transforms(register):
    register("flat", Flat)
    register("twice", Twice)


@hookimpl
def register_architectures(register):
    register("linear", Linear)


@hookimpl
def register_losses(register):
    register("breaking", Breaking)
    register("slow", Slow)
    register("head", Head)


@hookimpl
def register_metrics(register):
    register("brightness", Brightness)


VALUES: dict[str, Any] = {
    "name": "tiny",
    "latent": {"size": 5},
    "domains": {"a": {"dataset": {"name": "tiny", "count": 33}}, "b": {"dataset": {"name": "tiny", "count": 33}}},
    "generator": {"architecture": "linear"},
    "discriminator": {"architecture": "linear"},
    "sharing": {"generator": [{"first": 2}], "discriminator": [{"last": 2}]},
    "optimizer": {"lr": 0.01},
    "training": {
        "steps": 8, "batch_size": 4, "ema": 0.9, "log_every": 2, "sample_every": 4, "checkpoint_every": 4,
    },
}  # fmt: skip


MIXED = ("domains.b.dataset.transform=flat", "domains.c={dataset: {name: tiny, count: 33, transform: twice}}",
         "sharing.discriminator=[{last: 1}]")  # fmt: skip
"""Changes that give domains of three kinds: a of images (1, 4, 4), b of rows (16,), c of (2, 4, 4), not drawn."""


@functools.cache
def plugins() -> Plugins:
    """The built-ins and this module, without whatever else is installed."""
    return Plugins(("tests.support.tiny_plugin",), entry_points=False)


def values(*overrides: str) -> dict[str, Any]:
    """The configuration as plain values, changed as by ``--set``."""
    plain = copy.deepcopy(VALUES)
    for assignment in overrides:
        override(plain, assignment)
    return plain


def config(*overrides: str) -> Config:
    """The configuration, changed as by ``--set``: ``config("training.steps=2")``."""
    return parse_config(values(*overrides), plugins=plugins())


class AfterStep:
    """A plugin that does something after the step ``step`` is logged: ends the run, say."""

    def __init__(self, step: int, what: Callable[[], object]) -> None:
        self.step = step
        self.what = what

    def plugins(self) -> Plugins:
        """The test's plugins with this one: not the cached ones, which other tests use."""
        made = Plugins(("tests.support.tiny_plugin",), entry_points=False)
        made.manager.register(self)
        return made

    @hookimpl
    def after_step(self, step: int) -> None:
        if step == self.step:
            self.what()
