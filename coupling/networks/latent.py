"""Where the codes of a prior lie, and coordinates that cannot leave it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from coupling.config.config import LatentConfig
from coupling.errors import InputError
from coupling.system.seeds import torch_generator


class LatentBatches:
    """Latent codes z, (B, size), drawn for the whole batch and sliced, so that processes agree."""

    def __init__(self, latent: LatentConfig, seed: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        self.latent = latent
        self.seed = seed
        self.batch_size = batch_size
        self.slice = slice(rank * batch_size // processes, (rank + 1) * batch_size // processes)

    def batch(self, step: int, purpose: str = "z") -> Tensor:
        """z of step ``step`` (from 0) on this process."""
        return sample_prior(self.latent, self.batch_size, torch_generator(self.seed, purpose, step))[self.slice]


def sample_prior(latent: LatentConfig, count: int, source: torch.Generator) -> Tensor:
    """``count`` codes from the prior: U[-1, 1] or N(0, 1)."""
    if latent.prior == "uniform":
        return torch.rand(count, latent.size, generator=source) * 2 - 1
    return torch.randn(count, latent.size, generator=source)


_INSIDE = 0.999
"""Furthest coordinate of a uniform code that a search starts from: at 1 its free coordinate is infinite."""


_TAIL = 3.0902
"""Standard deviations of a normal number that one in a thousand exceeds."""


class LatentPrior(ABC):
    """Free coordinates u, any real numbers, in place of codes z that must stay where the prior's are."""

    @abstractmethod
    def inward(self, u: Tensor) -> Tensor:
        """(B, size) of any numbers to codes in the support; differentiable."""

    @abstractmethod
    def outward(self, z: Tensor) -> Tensor:
        """Codes of the prior to free coordinates that :meth:`inward` brings back."""

    @abstractmethod
    def truncated(self, z: Tensor, bound: float) -> Tensor:
        """Codes (B, size) of the prior to codes of the prior with no coordinate beyond ``bound`` on either side.

        Each coordinate goes to the same quantile of what is left of the prior: nothing is drawn anew, and a code
        becomes one near it. Raises :class:`InputError` for a bound that leaves nothing, or nothing out.
        """


class UniformPrior(LatentPrior):
    """U[-1, 1]: z = tanh(u)."""

    def inward(self, u: Tensor) -> Tensor:
        """Any numbers to (-1, 1)."""
        return u.tanh()

    def outward(self, z: Tensor) -> Tensor:
        """(-1, 1) to any numbers; the outermost codes come back a thousandth further in."""
        return z.clamp(-_INSIDE, _INSIDE).atanh()

    def truncated(self, z: Tensor, bound: float) -> Tensor:
        """U[-bound, bound]."""
        if not 0 < bound < 1:
            raise InputError(
                f"truncation is {bound:g}; codes of a uniform prior lie in [-1, 1]: give one between 0 and 1"
            )
        return z * bound


class NormalPrior(LatentPrior):
    """N(0, 1): codes whose norm is one that all but two in a thousand of the prior's have, the others drawn in to that.

    In many dimensions that is a thin shell about the sphere of radius sqrt(size). The bounds are
    the chi distribution's quantiles in the approximation of Wilson and Hilferty (1931).
    """

    def __init__(self, size: int) -> None:
        spread = 2 / (9 * size)
        squares = [size * max(1 - spread + side * _TAIL * math.sqrt(spread), 0) ** 3 for side in (-1, 1)]
        self.least, self.most = (math.sqrt(square) for square in squares)

    def inward(self, u: Tensor) -> Tensor:
        """Any numbers to the shell, along their own direction."""
        norm = u.norm(dim=1, keepdim=True).clamp_min(torch.finfo(u.dtype).tiny)
        drawn: Tensor = u * (norm.clamp(self.least, self.most) / norm)
        return drawn

    def outward(self, z: Tensor) -> Tensor:
        """A code is its own coordinates."""
        return z

    def truncated(self, z: Tensor, bound: float) -> Tensor:
        """The truncated normal distribution (Brock et al. 2019), by its quantiles; ``bound`` in standard deviations."""
        if not 0 < bound < math.inf:
            raise InputError(f"truncation is {bound:g}; of a normal prior, give standard deviations above 0")
        within = math.erf(bound / math.sqrt(2)) * torch.erf(z.double() / math.sqrt(2))
        return (math.sqrt(2) * torch.erfinv(within)).clamp(-bound, bound).to(z.dtype)


def prior_of(latent: LatentConfig) -> LatentPrior:
    """The support of the configuration's prior."""
    return UniformPrior() if latent.prior == "uniform" else NormalPrior(latent.size)
