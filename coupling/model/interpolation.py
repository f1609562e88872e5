"""Paths between latent codes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Interpolation = Literal["straight", "spherical"]


INTERPOLATIONS: tuple[Interpolation, ...] = ("straight", "spherical")


_PARALLEL = 1e-3
"""Sine of the angle between two codes below which rounding makes the arc inaccurate."""


def suited_to(prior: str) -> Interpolation:
    """The interpolation that keeps codes where the prior has them.

    A uniform prior fills a cube, which is convex: the straight path, as in the paper. Normal codes lie near a sphere
    (their norm is about the root of their size); the middle of a straight path lies far inside it, so an arc is used.
    """
    return "spherical" if prior == "normal" else "straight"


def path(first: Tensor, second: Tensor, steps: int, way: Interpolation) -> Tensor:
    """Codes from ``first`` to ``second``, (pairs, size) each, both included: (pairs, steps, size)."""
    share = torch.linspace(0, 1, steps, dtype=first.dtype, device=first.device)[None, :, None]
    return between(first[:, None], second[:, None], share, way)


def between(first: Tensor, second: Tensor, share: Tensor, way: Interpolation) -> Tensor:
    """Codes at ``share`` of the way from ``first``, 0, to ``second``, 1; all (..., size) or of a shape that broadcasts.

    Spherical (Shoemake 1985): equal angles along the arc, and norms that change evenly. Codes with the same or
    the opposite direction have no unique arc; they get the straight path.
    """
    straight = torch.lerp(first, second, share)
    if way == "straight":
        return straight
    norms = [code.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(code.dtype).tiny) for code in (first, second)]
    cosine = ((first / norms[0]) * (second / norms[1])).sum(-1, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()
    sine = angle.sin()
    weights = ((1 - share) * angle).sin(), (share * angle).sin()
    arc = (weights[0] * first / norms[0] + weights[1] * second / norms[1]) / sine.clamp_min(_PARALLEL)
    return torch.where(sine > _PARALLEL, arc * torch.lerp(norms[0], norms[1], share), straight)
