"""The prior of the latent codes: batches of it, and free coordinates that stay within it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from coupling.batch import Batch
from coupling.config.sections import LatentConfig
from coupling.errors import InputError
from coupling.system.seeds import torch_generator


class LatentBatches:
    """Latent codes z, (B, size). Every process draws the whole batch and takes its own slice, so that they agree."""

    def __init__(self, space: LatentSpace, seed: int, batch: Batch) -> None:
        self.space = space
        self.seed = seed
        self.size = batch

    def batch(self, step: int, purpose: str = "z") -> Tensor:
        """The codes of step ``step`` (counted from 0) on this process: (B / processes, size)."""
        return self.space.draw(self.size.size, self.space.sources(self.seed, purpose, step))[self.size.own]


class LatentSpace:
    """The codes z of a configuration: numbers that all domains read, then the style codes, one for each domain.

    Each part is drawn by a random generator of its own: the style code of a domain depends on seed, purpose and domain
    alone, the other numbers on seed and purpose.
    """

    def __init__(self, latent: LatentConfig, domains: Iterable[str]) -> None:
        self.latent = latent
        self.styled = tuple(domains) if latent.style else ()
        """The domains with a style code, in order."""
        self.sizes = [latent.size, *[latent.style] * len(self.styled)]
        """Numbers in each part."""

    @property
    def size(self) -> int:
        """Numbers in a code: the latent size."""
        return sum(self.sizes)

    @property
    def prior(self) -> LatentPrior:
        """The prior of whole codes."""
        return prior_of(self.latent) if not self.styled else PriorOfParts(self._priors, self.sizes)

    @property
    def _priors(self) -> list[LatentPrior]:
        return [prior_of(self.latent.model_copy(update={"size": size})) for size in self.sizes]

    def sources(self, seed: int, *purpose: str | int) -> list[torch.Generator]:
        """A random generator for each part, for :meth:`draw`."""
        return [
            torch_generator(seed, *purpose),
            *(torch_generator(seed, *purpose, "style", domain) for domain in self.styled),
        ]

    def draw(self, count: int, sources: Sequence[torch.Generator]) -> Tensor:
        """The next codes of the prior: (count, size)."""
        parts = zip(self.sizes, sources, strict=True)
        drawn = [sample_prior(self.latent.model_copy(update={"size": n}), count, source) for n, source in parts]
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn, 1)

    def by_part(self, function: Callable[..., Tensor], *codes: Tensor) -> Tensor:
        """``function`` of each part of codes (..., size), concatenated again along the last axis."""
        parts = zip(*(code.split(self.sizes, -1) for code in codes), strict=True)
        return torch.cat([function(*part) for part in parts], -1)


def sample_prior(latent: LatentConfig, count: int, source: torch.Generator) -> Tensor:
    """Draw codes from the prior, U[-1, 1] or N(0, 1) in each coordinate: (count, size)."""
    if latent.prior == "uniform":
        return torch.rand(count, latent.size, generator=source) * 2 - 1
    return torch.randn(count, latent.size, generator=source)


_INSIDE = 0.999
"""Largest coordinate of a uniform code from which a search starts; at 1 the free coordinate is infinite."""


_TAIL = 3.0902
"""Standard deviations of a normal number that one in a thousand exceeds."""


class LatentPrior(ABC):
    """Free coordinates u, any real numbers, that stand for codes z within the support of the prior."""

    @abstractmethod
    def inward(self, u: Tensor) -> Tensor:
        """Free coordinates (B, size) to codes (B, size) in the support; differentiable."""

    @abstractmethod
    def outward(self, z: Tensor) -> Tensor:
        """Codes (B, size) of the prior to free coordinates (B, size); the inverse of :meth:`inward`."""

    @abstractmethod
    def nearest(self, z: Tensor) -> Tensor:
        """The codes of the support that are nearest to any numbers z (B, size)."""

    @abstractmethod
    def truncated(self, z: Tensor, bound: float) -> Tensor:
        """Codes (B, size) of the prior to codes (B, size) with every coordinate in [-bound, bound].

        Each coordinate moves to the same quantile of the truncated prior: nothing is drawn again, and a code stays
        near itself.

        Raises:
            InputError: the bound keeps nothing of the prior, or all of it.
        """


class UniformPrior(LatentPrior):
    """U[-1, 1]: z = tanh(u)."""

    def inward(self, u: Tensor) -> Tensor:
        """Any numbers to (-1, 1)."""
        return u.tanh()

    def outward(self, z: Tensor) -> Tensor:
        """(-1, 1) to any numbers; coordinates beyond 0.999 return as 0.999."""
        return z.clamp(-_INSIDE, _INSIDE).atanh()

    def nearest(self, z: Tensor) -> Tensor:
        """Every coordinate in [-1, 1]."""
        return z.clamp(-1, 1)

    def truncated(self, z: Tensor, bound: float) -> Tensor:
        """U[-bound, bound], for 0 < bound < 1."""
        if not 0 < bound < 1:
            raise InputError(
                f"truncation is {bound:g}; codes of a uniform prior lie in [-1, 1]: give one between 0 and 1"
            )
        return z * bound


class NormalPrior(LatentPrior):
    """N(0, 1): codes whose norm lies between the prior's 0.1 % and 99.9 % quantiles; other norms are clamped.

    In many dimensions this support is a thin shell about the sphere of radius sqrt(size). The bounds are
    the chi distribution's quantiles in the approximation of Wilson and Hilferty (1931).
    """

    def __init__(self, size: int) -> None:
        spread = 2 / (9 * size)
        squares = [size * max(1 - spread + side * _TAIL * math.sqrt(spread), 0) ** 3 for side in (-1, 1)]
        self.least, self.most = (math.sqrt(square) for square in squares)

    def inward(self, u: Tensor) -> Tensor:
        """Any numbers to the shell; the direction stays."""
        norm = u.norm(dim=1, keepdim=True).clamp_min(torch.finfo(u.dtype).tiny)
        drawn: Tensor = u * (norm.clamp(self.least, self.most) / norm)
        return drawn

    def outward(self, z: Tensor) -> Tensor:
        """The codes themselves."""
        return z

    def nearest(self, z: Tensor) -> Tensor:
        """The same direction, with the nearest norm."""
        return self.inward(z)

    def truncated(self, z: Tensor, bound: float) -> Tensor:
        """The truncated normal distribution (Brock et al. 2019), by its quantiles; ``bound`` in standard deviations."""
        if not 0 < bound < math.inf:
            raise InputError(f"truncation is {bound:g}; for a normal prior, give standard deviations above 0")
        within = math.erf(bound / math.sqrt(2)) * torch.erf(z.double() / math.sqrt(2))
        return (math.sqrt(2) * torch.erfinv(within)).clamp(-bound, bound).to(z.dtype)


class PriorOfParts(LatentPrior):
    """A prior whose codes consist of independent parts, each with its own support."""

    def __init__(self, priors: Sequence[LatentPrior], sizes: Sequence[int]) -> None:
        self.priors = priors
        self.sizes = list(sizes)

    def inward(self, u: Tensor) -> Tensor:
        """Part by part."""
        parts = zip(self.priors, u.split(self.sizes, -1), strict=True)
        return torch.cat([prior.inward(part) for prior, part in parts], -1)

    def outward(self, z: Tensor) -> Tensor:
        """Part by part."""
        parts = zip(self.priors, z.split(self.sizes, -1), strict=True)
        return torch.cat([prior.outward(part) for prior, part in parts], -1)

    def nearest(self, z: Tensor) -> Tensor:
        """Part by part."""
        parts = zip(self.priors, z.split(self.sizes, -1), strict=True)
        return torch.cat([prior.nearest(part) for prior, part in parts], -1)

    def truncated(self, z: Tensor, bound: float) -> Tensor:
        """Coordinate by coordinate, which is the same in every part."""
        return self.priors[0].truncated(z, bound)


def prior_of(latent: LatentConfig) -> LatentPrior:
    """The prior that the configuration names."""
    return UniformPrior() if latent.prior == "uniform" else NormalPrior(latent.size)
