"""Fewer passes over memory: batch normalisation with its activation as one function.

A pass over a large image takes as long as a convolution of few channels. So all sections of a batch are normalised into
one tensor, without cutting and joining it, and the activation is computed in that tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def slope_of(activation: nn.Module) -> Tensor | float | None:
    """The slope below zero of an activation with one slope, trained or not; None for other modules."""
    if isinstance(activation, nn.PReLU):
        return activation.weight if activation.num_parameters == 1 else None
    if type(activation) is nn.LeakyReLU:
        return float(activation.negative_slope)
    return 0.0 if type(activation) is nn.ReLU else None


def leaky_relu(input: Tensor, slope: Tensor | float) -> Tensor:
    """Multiply negative values by the slope; differentiable as often as wanted, on every device."""
    if isinstance(slope, Tensor):
        return torch.where(input > 0, input, slope.to(input) * input)
    return F.leaky_relu(input, slope)


def slope_gradient(gradient: Tensor, input: Tensor, slope: Tensor) -> Tensor:
    """The gradient of the slope, whose activation got ``input`` and gave an output of ``gradient``."""
    below = input.clamp_max(0)
    one, other = _flat(gradient), _flat(below)
    if one is None or other is None or gradient.stride() != below.stride() or slope.dtype != gradient.dtype:
        total = (gradient * below).sum(dtype=slope.dtype)
    else:
        total = torch.dot(one, other)  # no product in memory
    return total.reshape(slope.shape)


def _flat(x: Tensor) -> Tensor | None:
    """The numbers in the order of memory, if they lie there without gaps."""
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x.as_strided((x.numel(),), (1,))
    return None


@dataclass(frozen=True)
class Part:
    """Consecutive samples that are normalised together, and the statistics that they move, if any."""

    size: int
    running_mean: Tensor | None
    running_var: Tensor | None


def can_fuse(x: Tensor, weight: Tensor | None) -> bool:
    """Whether :func:`normalise` takes an input: on a CPU, outside of a graph that is compiled or exported."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return False
    kept = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
    known = x.dtype in (torch.float32, torch.float64, torch.bfloat16)
    return known and (weight is None or weight.dtype == kept)


def normalise(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    slope: Tensor | float | None,
    parts: Sequence[Part],
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch normalisation of each part by its own statistics, then the leaky ReLU of ``slope``; None: without it.

    Args:
        x: (B, C, ...); two or more values a channel in each part.
        weight: (C,), or None.
        bias: (C,), or None.
        slope: of the activation below zero.
        parts: of the batch, in order.
        momentum: by which the running statistics move.
        eps: added to the variances.

    Returns:
        The same shape and memory format.
    """
    trained = slope if isinstance(slope, Tensor) else None
    number = slope if isinstance(slope, float) else None
    output: Tensor = _Normalised.apply(x, weight, bias, trained, number, parts, momentum, eps)  # type: ignore[no-untyped-call]
    return output


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        trained: Tensor | None,
        number: float | None,
        parts: Sequence[Part],
        momentum: float,
        eps: float,
    ) -> Tensor:
        output = torch.empty_like(x)
        kept = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
        means, inverses = x.new_empty((2, len(parts), x.shape[1]), dtype=kept).unbind()
        sizes = [part.size for part in parts]
        pieces = zip(parts, x.split(sizes), output.split(sizes), means, inverses, strict=True)
        for part, piece, normalised, mean, inverse in pieces:
            torch.ops.aten.native_batch_norm.out(
                piece, weight, bias, part.running_mean, part.running_var, True, momentum, eps,
                out=normalised, save_mean=mean, save_invstd=inverse,
            )  # fmt: skip
        slope = number if trained is None else trained.item()
        ctx.divisor = 1.0
        below = output
        if slope is not None and (slope > 0 or (slope == 0 and trained is None)):
            F.leaky_relu_(output, slope)  # its result has the input's signs, so that the input need not be kept
            ctx.divisor = slope
        elif slope is not None:
            output = F.leaky_relu(below, slope)
        ctx.slope, ctx.sizes, ctx.eps = slope, sizes, eps
        ctx.save_for_backward(x, weight, bias, trained, below, means, inverses)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        x, weight, bias, trained, below, means, inverses = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradient penalties differentiate again
            return _differentiable(ctx, gradient, x, weight, bias, trained)
        if gradient.stride() != x.stride():
            gradient = torch.empty_like(x).copy_(gradient)
        to_slope = None
        if ctx.slope is not None:
            if ctx.needs_input_grad[3]:
                to_slope = slope_gradient(gradient, below, trained) / ctx.divisor
            gradient = torch.ops.aten.leaky_relu_backward(gradient, below, ctx.slope, False)
        needed = list(ctx.needs_input_grad[:3])
        found = [
            torch.ops.aten.native_batch_norm_backward(
                part, piece, weight, None, None, mean, inverse, True, ctx.eps, needed
            )
            for part, piece, mean, inverse in zip(
                gradient.split(ctx.sizes), x.split(ctx.sizes), means, inverses, strict=True
            )
        ]
        to_x = _joined([part[0] for part in found]) if needed[0] else None
        to_weight = torch.stack([part[1] for part in found]).sum(0) if needed[1] else None
        to_bias = torch.stack([part[2] for part in found]).sum(0) if needed[2] else None
        return to_x, to_weight, to_bias, to_slope, None, None, None, None


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _differentiable(
    ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, trained: Tensor | None
) -> Any:
    """The gradients by torch's own functions, computed again."""
    outputs = [F.batch_norm(part, None, None, weight, bias, True, 0.0, ctx.eps) for part in x.split(ctx.sizes)]
    output = _joined(outputs)
    if ctx.slope is not None:
        output = leaky_relu(output, ctx.slope if trained is None else trained)
    given = zip((x, weight, bias, trained), ctx.needs_input_grad, strict=False)
    inputs = {number: tensor for number, (tensor, wanted) in enumerate(given) if tensor is not None and wanted}
    gradients = torch.autograd.grad(output, list(inputs.values()), gradient, create_graph=True)
    found = dict(zip(inputs, gradients, strict=True))
    return *(found.get(number) for number in range(4)), None, None, None, None
