"""Main directions of the latent code: along which the features that all domains share vary most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from coupling.errors import InputError
from coupling.networks.mode import evaluating

if TYPE_CHECKING:
    from coupling.model.sampler import CoupledSampler
    from coupling.networks.coupled import CoupledGenerator

COUNT = 8
"""Default number of directions."""


CODES = 1024
"""Codes that the directions are found with."""


_SIDE = 8
"""Largest height and width of the features; larger ones are averaged over blocks."""


@dataclass(frozen=True)
class Directions:
    """Directions in the space of codes, those along which the samples vary most first."""

    moves: Tensor
    """(count, latent size): z + a * moves[k] moves the features by ``a`` deviations along component k."""
    shares: Tensor
    """(count,): the share of the features' variance that each component explains."""


def principal_directions(model: CoupledSampler, count: int = COUNT, seed: int = 0) -> Directions:
    """Principal components of the shared features, carried back to the code by linear regression.

    The features are those of the last generator layer that all domains have in common; without one, the samples of all
    domains. The method is that of Härkönen et al. 2020 (arXiv 2004.02546), section 2.2. The sign of a direction is
    chosen so that its largest number is positive.

    Args:
        model: the model.
        count: number of directions, at most the size of a code.
        seed: seed of the codes.

    Raises:
        InputError: ``count`` is out of range.
    """
    size = model.latent_size
    if not 1 <= count <= size:
        raise InputError(f"{count} main directions; a code has {size} numbers, so give 1 to {size} directions")
    z = model.latent(CODES, seed)
    features = _features(model, z)
    centred = (features - features.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred @ centred.T)  # ascending; a vector holds a component's scores
    scores = vectors[:, -count:].flip(1) * math.sqrt(len(z) - 1)  # of standard deviation 1
    moves = (z.double().T @ scores / (len(z) - 1)).T.float()
    if _common_layers(model.generator):
        moves[:, model.config.latent.size :] = 0  # the common layers read no style code
    largest = moves.gather(1, moves.abs().argmax(1, keepdim=True))
    moves = torch.where(largest < 0, -moves, moves)
    shares = (values[-count:].flip(0) / values.sum().clamp_min(torch.finfo(values.dtype).tiny)).float()
    return Directions(moves, shares)


@torch.no_grad()
def _features(model: CoupledSampler, z: Tensor) -> Tensor:
    """(codes, features) of the last layer that all domains have in common, or of all domains' samples."""
    generator = model.generator
    last = _common_layers(generator)
    first = generator.graph.domains[0]
    parts = []
    with evaluating(generator):
        for codes in z.to(model.device).split(128):
            if last:
                inputs = generator.inputs(codes[:, : model.config.latent.size], [first])
                outputs = generator.run(inputs, [(len(codes), False)], [last])[1].values()
            else:
                outputs = generator(codes).values()
            parts.append(torch.cat([_flat(output) for output in outputs], 1).float().cpu())
    return torch.cat(parts)


def _common_layers(generator: CoupledGenerator) -> int:
    """Number of first layers that are the same modules on the same inputs in all domains."""
    if generator.condition:
        return 0
    graph = generator.graph
    groups = {node: group.key for group in graph.groups for node in group.members}
    count = 0
    while all(
        groups.get((domain, count + 1)) == groups.get((graph.domains[0], count + 1), "none") for domain in graph.domains
    ):
        count += 1
    return count


def _flat(output: Tensor) -> Tensor:
    """(B, ...) to (B, features); large images are averaged over blocks."""
    if output.dim() == 4 and max(output.shape[2:]) > _SIDE:
        output = F.adaptive_avg_pool2d(output, (min(output.shape[2], _SIDE), min(output.shape[3], _SIDE)))
    return output.flatten(1)
