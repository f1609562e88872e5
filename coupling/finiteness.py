"""Whether numbers are finite: of many tensors at once, for one look at the device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds an infinity or what is not a number; those of whole numbers don't.

    The largest absolute value of all is finite just where all are. It takes one fused pass and one transfer;
    asking each tensor would wait for the device as often.
    """
    floats = [x.detach() for x in tensors if (x.is_floating_point() or x.is_complex()) and x.numel()]
    return not floats or bool(torch.nn.utils.get_total_norm(floats, math.inf).isfinite())


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of those that are not finite, in order; one look at each only where there are any."""
    return [] if finite(tensors.values()) else [name for name, x in tensors.items() if not finite([x])]
