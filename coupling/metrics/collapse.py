"""A measure of collapse: how varied generated samples are, compared with real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from coupling.metrics.distances import is_constant, mean_distance
from coupling.runs.measured import Undefined


def relative_diversity(real: Tensor, generated: Tensor) -> float:
    """Mean distance of two generated samples, divided by that of two real samples.

    0: all generated samples are the same; 1: they are as varied as the real ones. It costs time with the square of the
    number of samples, and is unbiased for any number, so it can be computed on a batch during training.

    Args:
        real: (n, ...) real samples or their features, n at least 2.
        generated: (m, ...) generated samples or their features of the same shape, m at least 2.

    Returns:
        0 or more; :class:`coupling.Undefined` if there are fewer than 2 samples of either kind, if a number is not
        finite, or if the real samples do not differ.
    """
    one, other = real.detach().flatten(1).double(), generated.detach().flatten(1).double()
    if min(len(one), len(other)) < 2:
        return Undefined("there are fewer than 2 samples")
    for values, kind in ((one, "real"), (other, "generated")):
        if not torch.isfinite(values).all():
            return Undefined(f"{kind} samples are not finite numbers")
    if is_constant(one):
        return Undefined("the real samples do not differ")
    middle = one.mean(0)  # distances are the same, and rounding is less
    return mean_distance(other - middle) / mean_distance(one - middle)
