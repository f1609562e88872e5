"""The choice of the way in which each convolution is computed: by fixed rules, or measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coupling.networks.convolutions import WAYS, Geometry, Operation, Way, candidates

_MARGIN = 0.85
"""Another way than the native one is chosen if it takes at most this part of its time: measurements are not exact."""

_DROPPED = 1.5
"""A way whose first run takes this many times as long as the best one so far is not run again."""


class Kernels:
    """The way of each convolution, by operation and shapes.

    Ways differ in rounding. So what was chosen stays: ``choices`` go into the checkpoints of a run, and shapes that are
    not among them follow the fixed rules.
    """

    def __init__(self, choices: Mapping[str, str] | None = None) -> None:
        self.choices: dict[str, Way] = {
            name: cast(Way, way)
            for name, way in (choices or {}).items()
            if way in WAYS.get(cast(Operation, name.partition(" ")[0]), {})
        }
        """{operation and shapes: way}."""
        self._known: Mapping[str, Way] | None = None

    def __deepcopy__(self, memo: Any) -> Kernels:
        return self  # averages of networks compute as the networks do

    @contextmanager
    def measuring(self, known: Mapping[str, str] | None = None) -> Iterator[None]:
        """Measure the shapes that are met in this block, except those among ``known``, earlier choices."""
        self._known = Kernels(known).choices
        try:
            yield
        finally:
            self._known = None

    def way(self, operation: Operation, at: Geometry) -> Way:
        """The way of an operation on these shapes, as it is known now."""
        return self.choices.get(f"{operation} {at}") or fixed(operation, at)

    def all_native(self, at: Geometry) -> bool:
        """Whether torch's own convolution is the fastest, so that nothing else needs to be called."""
        return self._known is None and all(self.way(operation, at) == "native" for operation in WAYS)

    def compute(
        self,
        operation: Operation,
        x: Tensor | None,
        y: Tensor | None,
        w: Tensor,
        at: Geometry,
        bias: Tensor | None = None,
    ) -> Tensor:
        """One operation. What it computes is None, ``x`` or ``y``; ``correlate`` takes the shape of ``w`` alone."""
        name = f"{operation} {at}"
        if self._known is not None and name not in self.choices:
            self.choices[name] = self._known.get(name) or _fastest(operation, at, (x, y, w, bias, at))
        return WAYS[operation][self.way(operation, at)](x, y, w, bias, at)


def fixed(operation: Operation, at: Geometry) -> Way:
    """The way by rules that hold for most processors (``tests/benchmarks/layers.py``).

    - One channel in the large image, or one for every 32 in the small one: native kernels compute many channels at
      once and have too few here. In 16 bits the sums over the taps would round at every step.
    - Wide layers on up to 4x4 pixels: there is more to read in the weights than in the images, and a product of
      matrices reads them best. In 16 bits this holds for the gradient of all weights.
    """
    pixels = at.small_size[0] * at.small_size[1]
    half = at.dtype in (torch.bfloat16, torch.float16)
    if operation == "transpose" and not half and pixels <= 32 * 32 and (at.large == 1 or at.small >= 32 * at.large):
        return "planes"
    wide = at.small * at.large * at.kernel**2 >= 2**21
    if pixels <= 16 and (wide or (half and operation == "correlate")) and at.dtype != torch.float64:
        return "product"
    return "native"


def _fastest(operation: Operation, at: Geometry, arguments: tuple[Any, ...]) -> Way:
    """The way that takes the least time on these numbers."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best: Way = "native"
    shortest = float("inf")
    with torch.no_grad():
        for way in candidates(operation, at):
            compute = WAYS[operation][way]
            limit = shortest if best == "native" and shortest == float("inf") else shortest * _MARGIN
            times = []
            for repeat in range(4):
                start = clock()
                compute(*arguments)
                times.append(clock() - start)
                if times[-1] > _DROPPED * shortest or (repeat > 0 and sum(times) > 0.5):
                    break
            if min(times) < limit:
                best, shortest = way, min(times)
    return best


class _Convolution(torch.autograd.Function):
    """(B, large, H, W) -> (B, small, h, w)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, at: Geometry, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.at, ctx.kernels = at, kernels
        return kernels.compute("convolve", x, None, w, at, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _backward(ctx, gradients[0], transposed=False)


class _Transposed(torch.autograd.Function):
    """(B, small, h, w) -> (B, large, H, W)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, w: Tensor, bias: Tensor | None, at: Geometry, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(y, w)
        ctx.at, ctx.kernels = at, kernels
        return kernels.compute("transpose", None, y, w, at, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _backward(ctx, gradients[0], transposed=True)


def _backward(ctx: Any, gradient: Tensor, *, transposed: bool) -> Any:
    """The gradients of the input, the weights and the bias."""
    given, w = ctx.saved_tensors
    at: Geometry = ctx.at
    kernels: Kernels = ctx.kernels
    needed = list(ctx.needs_input_grad[:3])
    if torch.is_grad_enabled():  # gradient penalties differentiate again, which torch's own function can
        left = [0, 0]
        if transposed:
            pairs = zip(at.large_size, at.small_size, strict=True)
            left = [large - ((small - 1) * at.stride - 2 * at.padding + at.kernel) for large, small in pairs]
        sizes = [at.large if transposed else at.small] if needed[2] else None
        settings: Any = ([at.stride] * 2, [at.padding] * 2, [1, 1], transposed, left, 1, needed)
        return *torch.ops.aten.convolution_backward(gradient, given, w, sizes, *settings), None, None
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    to_input = to_weights = to_bias = None
    # The gradient has the size of the output; the other image is what was given.
    x, y = (gradient, given) if transposed else (given, gradient)
    if needed[0] and transposed:
        to_input = kernels.compute("convolve", x, None, w, at)
    elif needed[0]:
        to_input = kernels.compute("transpose", None, y, w, at)
    if needed[1]:
        to_weights = kernels.compute("correlate", x, y, w, at)
    if needed[2]:
        to_bias = gradient.sum((0, 2, 3))
    return to_input, to_weights, to_bias, None, None


FIXED = Kernels()
"""The fixed rules alone."""


def convolution(x: Tensor, w: Tensor, bias: Tensor | None, stride: int, padding: int, kernels: Kernels) -> Tensor:
    """``F.conv2d`` with a square kernel, on a CPU.

    Args:
        x: (B, in, H, W).
        w: (out, in, K, K).
        bias: (out,), or None.
        stride: of the convolution.
        padding: zeros on each side.
        kernels: the choice of the ways.

    Returns:
        (B, out, h, w).
    """
    size = w.shape[2]
    height, width = ((side + 2 * padding - size) // stride + 1 for side in x.shape[2:])
    at = _geometry(x, w, (height, width), (x.shape[2], x.shape[3]), stride, padding)
    if min(height, width) < 1 or kernels.all_native(at):
        return F.conv2d(x, w, bias, stride, padding)
    return _applied(_Convolution, x, w, bias, at, kernels)


def transposed_convolution(
    y: Tensor, w: Tensor, bias: Tensor | None, stride: int, padding: int, kernels: Kernels
) -> Tensor:
    """``F.conv_transpose2d`` with a square kernel and without output padding, on a CPU.

    Args:
        y: (B, in, h, w).
        w: (in, out, K, K).
        bias: (out,), or None.
        stride: distance of neighbouring input pixels in the output.
        padding: rows and columns that are cut off on each side.
        kernels: the choice of the ways.

    Returns:
        (B, out, H, W).
    """
    size = w.shape[2]
    height, width = ((side - 1) * stride - 2 * padding + size for side in y.shape[2:])
    at = _geometry(y, w, (y.shape[2], y.shape[3]), (height, width), stride, padding)
    if min(height, width) < 1 or kernels.all_native(at):
        return F.conv_transpose2d(y, w, bias, stride, padding)
    return _applied(_Transposed, y, w, bias, at, kernels)


def _geometry(
    given: Tensor, w: Tensor, small: tuple[int, int], large: tuple[int, int], stride: int, padding: int
) -> Geometry:
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else given.dtype
    return Geometry(given.shape[0], w.shape[0], w.shape[1], small, large, w.shape[2], stride, padding, kind)


def _applied(
    function: type[torch.autograd.Function],
    given: Tensor,
    w: Tensor,
    bias: Tensor | None,
    at: Geometry,
    kernels: Kernels,
) -> Tensor:
    if torch.is_autocast_enabled("cpu"):  # torch's own convolutions lower their inputs too
        given, w = given.to(at.dtype), w.to(at.dtype)
        bias = None if bias is None else bias.to(at.dtype)
    with torch.autocast("cpu", enabled=False):
        given = given.contiguous(memory_format=torch.channels_last)
        output: Tensor = function.apply(given, w, bias, at, kernels)
    return output


def use_kernels(networks: Iterable[nn.Module], kernels: Kernels) -> None:
    """Let all layers of the networks follow ``kernels``."""
    for network in networks:
        for module in network.modules():
            if hasattr(module, "kernels"):
                module.kernels = kernels  # type: ignore[assignment]
