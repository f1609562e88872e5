"""The prior of the latent codes: batches of it, and free coordinates that stay within it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from coupling.batch import Batch
from coupling.config.sections import LatentConfig
from coupling.errors import InputError
from coupling.system.seeds import torch_generator


class LatentBatches:
    """Latent codes z, (B, size). Every process draws the whole batch and takes its own slice, so that they agree."""

    def __init__(self, latent: LatentConfig, seed: int, batch: Batch) -> None:
        self.latent = latent
        self.seed = seed
        self.size = batch

    def batch(self, step: int, purpose: str = "z") -> Tensor:
        """The codes of step ``step`` (counted from 0) on this process: (B / processes, size)."""
        return sample_prior(self.latent, self.size.size, torch_generator(self.seed, purpose, step))[self.size.own]


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

    def truncated(self, z: Tensor, bound: float) -> Tensor:
        """The truncated normal distribution (Brock et al. 2019), by its quantiles; ``bound`` in standard deviations."""
        if not 0 < bound < math.inf:
            raise InputError(f"truncation is {bound:g}; for a normal prior, give standard deviations above 0")
        within = math.erf(bound / math.sqrt(2)) * torch.erf(z.double() / math.sqrt(2))
        return (math.sqrt(2) * torch.erfinv(within)).clamp(-bound, bound).to(z.dtype)


def prior_of(latent: LatentConfig) -> LatentPrior:
    """The prior that the configuration names."""
    return UniformPrior() if latent.prior == "uniform" else NormalPrior(latent.size)
