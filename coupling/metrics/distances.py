"""Distances between two sets of features, as functions of arrays.

Features are (samples, size) float tensors. Functions of all pairs work in blocks, so that memory grows with the number
of samples and not with its square.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_CONSTANT = 1e-5


_BLOCK = 64
"""Rows at a time: their distances from some thousand others fit into a core's cache, which halves the time."""


def frechet(one: Tensor, other: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians with the two sets' means and covariances (Heusel et al. 2017).

    |m - n|^2 + tr(A + B - 2 (A^½ B A^½)^½). Biased: it grows as the number of samples falls.
    """
    m, n = one.double().mean(0), other.double().mean(0)
    a, b = covariance(one), covariance(other)
    root = _root(a)
    crossed = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    return max(float((m - n).square().sum() + a.trace() + b.trace() - 2 * crossed), 0.0)  # rounding may fall below 0


def centre_and_spread(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (size,) and root of the mean variance, float64 each; the variance is unbiased."""
    precise = features.double()
    return precise.mean(0), precise.var(0).mean().sqrt()


def is_constant(features: Tensor) -> bool:
    """Whether samples differ by no more than rounding: a hundred-thousandth of the size of their features."""
    precise = features.double()
    return bool(precise.var(0, unbiased=False).mean().sqrt() <= _CONSTANT * precise.square().mean().sqrt())


def covariance(features: Tensor) -> Tensor:
    """Unbiased covariance, (size, size) float64."""
    centred = features.double() - features.double().mean(0)
    return centred.T @ centred / (len(features) - 1)


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def kernel(one: Tensor, other: Tensor) -> float:
    """Squared maximum mean discrepancy under k(x, y) = (x·y / size + 1)^3, unbiased (Bińkowski et al. 2018).

    Computed over all pairs instead of random subsets. Unbiased, so it can be slightly below 0.
    """
    one, other = one.double(), other.double()

    def total(x: Tensor, y: Tensor) -> float:
        return sum(_polynomials(part @ y.T, x.shape[1]) for part in x.split(_BLOCK))

    def within(x: Tensor) -> float:
        return (total(x, x) - _polynomials(x.square().sum(1), x.shape[1])) / (len(x) * (len(x) - 1))

    return within(one) + within(other) - 2 * total(one, other) / (len(one) * len(other))


def _polynomials(products: Tensor, size: int) -> float:
    """The sum of the kernel over pairs, from their inner products, which are overwritten."""
    base = products.div_(size).add_(1).flatten()
    return float(base.square() @ base)  # far faster than a power


def precision_recall(real: Tensor, drawn: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Shares of drawn samples near real ones, and of real samples near drawn ones (Kynkäänniemi et al. 2019).

    A sample is near a set if it is within the distance of some sample of the set to that one's ``neighbours``-th
    neighbour in the set.
    """
    radii_real, radii_drawn = neighbour_distances(real, neighbours), neighbour_distances(drawn, neighbours)
    precise, recalled = [], torch.zeros(len(real), dtype=torch.bool)
    for block, radii in zip(_distances(drawn, real), radii_drawn.split(_BLOCK), strict=True):
        precise.append((block <= radii_real).any(1))
        recalled |= (block <= radii[:, None]).any(0)
    return torch.cat(precise).double().mean().item(), recalled.double().mean().item()


def neighbour_distances(features: Tensor, neighbours: int = 1) -> Tensor:
    """Distance of each sample to its ``neighbours``-th nearest other: (samples,)."""
    return torch.cat(
        [block.topk(neighbours + 1, dim=1, largest=False).values[:, -1] for block in _distances(features, features)]
    )


def mean_distance(features: Tensor) -> float:
    """Mean Euclidean distance of two different samples."""
    total = sum(float(block.sum()) for block in _distances(features, features))
    return total / (len(features) * (len(features) - 1))


def _distances(one: Tensor, other: Tensor) -> Iterator[Tensor]:
    """Euclidean distances, (block, len(other)) at a time.

    By matrix products, in double precision: equal samples are then within 1e-7 of their length of each other.
    """
    one, other = one.double(), other.double()
    lengths = other.square().sum(1)
    for part in one.split(_BLOCK):
        squares = torch.addmm(lengths, part, other.T, alpha=-2).add_(part.square().sum(1, keepdim=True))
        yield squares.clamp_(min=0).sqrt_()


def directions(size: int, count: int, random: torch.Generator) -> Tensor:
    """``count`` unit vectors, uniform over all directions: (size, count)."""
    drawn = torch.randn(size, count, generator=random)
    units: Tensor = drawn / drawn.norm(dim=0)
    return units


def sliced_wasserstein(one: Tensor, other: Tensor) -> float:
    """Sliced 2-Wasserstein distance, from projections of equally many samples onto the same directions.

    (samples, directions) each; the root of the mean over directions of the squared distance of the sorted projections.
    """
    return float((one.double().sort(0).values - other.double().sort(0).values).square().mean().sqrt())
