"""Paths between latent codes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Interpolation = Literal["straight", "spherical"]


INTERPOLATIONS: tuple[Interpolation, ...] = ("straight", "spherical")


_PARALLEL = 1e-3
"""Sine of an angle below which two codes have no arc that rounding would not blur."""


def suited_to(prior: str) -> Interpolation:
    """How to go between two codes of a prior without leaving where its codes lie.

    A uniform prior fills a cube, which is convex: the straight path, as in the paper. Normal codes lie near a sphere
    (their norm is about the root of their size), and halfway along the straight path there are none: an arc.
    """
    return "spherical" if prior == "normal" else "straight"


def path(first: Tensor, second: Tensor, steps: int, way: Interpolation) -> Tensor:
    """From codes to codes, both ends included: (pairs, size) twice to (pairs, steps, size).

    Spherical (Shoemake 1985): equal angles along the arc, and from one norm to the other; codes with the same or
    the opposite direction have no single arc, and are joined by the straight path.
    """
    share = torch.linspace(0, 1, steps, dtype=first.dtype, device=first.device)[None, :, None]
    first, second = first[:, None], second[:, None]
    straight = torch.lerp(first, second, share)
    if way == "straight":
        return straight
    norms = [code.norm(dim=2, keepdim=True).clamp_min(torch.finfo(code.dtype).tiny) for code in (first, second)]
    cosine = ((first / norms[0]) * (second / norms[1])).sum(2, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()
    sine = angle.sin()
    weights = ((1 - share) * angle).sin(), (share * angle).sin()
    arc = (weights[0] * first / norms[0] + weights[1] * second / norms[1]) / sine.clamp_min(_PARALLEL)
    return torch.where(sine > _PARALLEL, arc * torch.lerp(norms[0], norms[1], share), straight)
