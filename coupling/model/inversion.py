"""Inversion, from a sample to its code: z* = argmin |g_A(z) - x|^2 (section 4, cross-domain image transformation).

The minimisation is L-BFGS, as in the paper, for all samples and restarts at once. A search starts from the nearest of
many samples of the model. It stays within the prior's support, because the generators were trained nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from coupling.errors import InputError
from coupling.model.minimisation import Objective, minimise
from coupling.model.sampler import CoupledSampler
from coupling.networks.mode import evaluating

Encoding = Callable[[Tensor], Tensor]
"""Guesses codes: samples (B, *shape) of one domain to codes (B, latent size). An Encoder is one."""


@dataclass(frozen=True)
class Search:
    """Settings of the search for codes."""

    restarts: int = 4
    """Starts of the search for each sample."""
    trial: int = 25
    """Iterations of L-BFGS after which only the best start of a sample continues; with ``iterations`` or more, all
    starts run to the end."""
    iterations: int = 200
    """Largest number of iterations for each sample."""
    candidates: int = 1024
    """Samples of the model from which the nearest are chosen as starts."""
    feature_weight: float = 0.0
    """Factor of the distance between features, which is added to that between pixels."""
    feature_layer: int = -2
    """Discriminator layer whose outputs are the features: 1 is the first, -1 the last, -2 the last hidden one."""
    seed: int = 0
    """Seed of the candidates."""

    def check(self) -> None:
        """Check the numbers.

        Raises:
            InputError: a number is too small or not finite.
        """
        least = {
            "restarts": 1,
            "trial": 0,
            "iterations": 0,
            "candidates": self.restarts,
            "feature_weight": 0,
            "seed": 0,
        }
        for name, lowest in least.items():
            if not lowest <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name):g}; it is {lowest} or more")

    def plain(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Inverted:
    """The codes found for samples of one domain, on the CPU."""

    z: Tensor
    """(B, latent size): the codes, in the prior's support."""
    reconstruction: Tensor
    """g_A(z): (B, *shape) in the domain's range."""
    error: Tensor
    """(B,): root mean squared difference between sample and reconstruction, as a share of the range's width."""


@dataclass(frozen=True)
class Transformed(Inverted):
    """The codes found for samples of one domain, and the samples that they draw in other domains."""

    images: dict[str, Tensor]
    """g_B(z) of the chosen domains: {domain: (B, *shape) in its range}."""


class Description:
    """Maps samples of one domain to vectors; the search minimises their squared distance.

    This distance is the mean squared difference of the pixels, as a share of the range, plus ``feature_weight`` times
    the squared distance of the discriminator's features, as a share of their mean square in the model's own samples.
    """

    def __init__(self, model: CoupledSampler, domain: str, search: Search) -> None:
        self.domain = model.domains[domain]
        self.discriminator = model.discriminator if search.feature_weight > 0 else None
        self.layer = search.feature_layer
        self.weight = search.feature_weight
        self._size = 1.0
        if search.feature_weight > 0:
            if self.discriminator is None:
                raise InputError(f"feature_weight is {self.weight:g}; the model has no discriminator, so give 0")
            depth = self.discriminator.graph.depths[domain]
            if not 1 <= self.discriminator.graph.numbered(domain, self.layer) <= depth:
                raise InputError(
                    f"feature_layer is {self.layer}; the discriminator of domain '{domain}' has layers 1 to {depth}, "
                    f"or -{depth} to -1 counted from its end"
                )

    def __call__(self, samples: Tensor) -> Tensor:
        """(B, *shape) to vectors (B, n)."""
        low, high = self.domain.range
        pixels: Tensor = samples.flatten(1) / ((high - low) * self.domain.size**0.5)
        if self.discriminator is None:
            return pixels
        return torch.cat([pixels, self._features(samples) * (self.weight**0.5 / self._size)], 1)

    def calibrate(self, samples: Tensor) -> None:
        """Set the scale of the features to that of ``samples``, which the model has drawn."""
        if self.discriminator is not None:
            self._size = max(float(self._features(samples).square().sum(1).mean()) ** 0.5, 1e-12)

    def _features(self, samples: Tensor) -> Tensor:
        assert self.discriminator is not None
        name = self.domain.name
        return self.discriminator.features({name: samples}, self.layer)[name].flatten(1)


def invert(
    model: CoupledSampler,
    samples: Tensor,
    domain: str,
    search: Search,
    batch_size: int = 256,
    advance: Callable[[int], object] = lambda done: None,
    encoder: Encoding | None = None,
) -> Inverted:
    """Find the codes of ``samples`` (B, *shape) of ``domain``.

    With an ``encoder``, its guess replaces the least near start of each sample. Up to ``batch_size`` searches run at
    once; the result for a sample does not depend on the others, except for rounding. ``advance(n)`` is called when n
    more samples are finished.

    Raises:
        InputError: a setting of the search is not valid for this model.
    """
    with evaluating(model.generator, model.discriminator):
        return _Inverter(model, domain, search, batch_size, encoder)(samples, advance)


def check_search(model: CoupledSampler, domain: str, search: Search) -> None:
    """Check the settings of a search without searching.

    Raises:
        InputError: a setting is not valid for this model.
    """
    search.check()
    Description(model, domain, search)


class _Inverter:
    """The parts of the search that all samples share: the candidates and their descriptions."""

    def __init__(
        self, model: CoupledSampler, domain: str, search: Search, batch_size: int, encoder: Encoding | None
    ) -> None:
        search.check()
        self.encoder = encoder
        self.model = model
        self.domain = domain
        self.search = search
        self.batch_size = max(batch_size, search.restarts)
        self.prior = model.space.prior
        self.describe = Description(model, domain, search)
        codes = model.latent(search.candidates, search.seed).to(model.device)
        self.starts = self.prior.outward(codes)
        with torch.no_grad():
            drawn = [self._draw(part) for part in self.starts.split(batch_size)]
            self.describe.calibrate(torch.cat(drawn)[:batch_size])
            self.candidates = torch.cat([self.describe(part) for part in drawn])

    def __call__(self, samples: Tensor, advance: Callable[[int], object]) -> Inverted:
        if not len(samples):
            empty = torch.empty(0, self.model.space.size)
            return Inverted(empty, samples.float().cpu(), torch.empty(0))
        parts = []
        for part in samples.split(max(1, self.batch_size // self.search.restarts)):
            parts.append(self._part(part.to(self.model.device, torch.float32)))
            advance(len(part))
        return Inverted(*(torch.cat([getattr(p, name) for p in parts]) for name in ("z", "reconstruction", "error")))

    def _part(self, samples: Tensor) -> Inverted:
        restarts = self.search.restarts
        with torch.no_grad():
            wanted = self.describe(samples)
            starts = self._starts(samples, wanted)

        def distance(targets: Tensor) -> Objective:
            return lambda u, rows: (self.describe(self._draw(u)) - targets[rows]).square().sum(1)

        trial = min(self.search.trial, self.search.iterations) if restarts > 1 else 0
        tried = minimise(distance(wanted.repeat_interleave(restarts, 0)), starts.flatten(0, 1), trial)
        best = tried.value.view(-1, restarts).argmin(1)
        u = tried.x.view(len(samples), restarts, -1)[torch.arange(len(samples), device=best.device), best]
        u = minimise(distance(wanted), u, self.search.iterations - trial).x
        with torch.no_grad():
            reconstruction = self._draw(u)
        low, high = self.model.domains[self.domain].range
        error = (reconstruction - samples).flatten(1).square().mean(1).sqrt() / (high - low)
        return Inverted(self.prior.inward(u).cpu(), reconstruction.cpu(), error.cpu())

    def _starts(self, samples: Tensor, wanted: Tensor) -> Tensor:
        """The free coordinates from which the searches start, (B, restarts, latent size)."""
        guesses = [] if self.encoder is None else [self.prior.outward(self.encoder(samples))[:, None]]
        distances = torch.cdist(wanted, self.candidates)
        nearest = distances.topk(self.search.restarts - len(guesses), largest=False).indices
        return torch.cat([self.starts[nearest], *guesses], 1)

    def _draw(self, u: Tensor) -> Tensor:
        drawn: Tensor = self.model.generator(self.prior.inward(u), [self.domain])[self.domain]
        return drawn.float()
