"""Layers for architectures, each computed by the fastest method for its input's shape and device.

:class:`Deconvolution` and :class:`UpsampledConvolution` have the parameters, the state dict and the
result of the plain modules that they replace; their tests compare them. ``tests/benchmarks/layers.py``
measured which method is fastest. All of them are fast on channels-last memory, which halves the time
of large images on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.fused import slope_gradient
from coupling.networks.kernels import FIXED, Kernels, convolution, transposed_convolution


class Deconvolution(nn.ConvTranspose2d):
    """Transposed convolution with a square kernel: ``nn.ConvTranspose2d``, computed by the fastest method.

    (B, in_channels, H, W) -> (B, out_channels, H', W') with
    ``H' = (H - 1) * stride - 2 * padding + kernel_size + output_padding``. A 1x1 input without padding is one matrix
    product (2 to 4 times as fast, forward and backward on a CPU): the paper's first layer. For other inputs on a CPU,
    :class:`coupling.networks.kernels.Kernels` chooses.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernel, in pixels.
        stride: distance of neighbouring input pixels in the output.
        padding: rows and columns that are cut off on each side of the output.
        output_padding: rows and columns that are added at the bottom and at the right of the output.
        bias: whether each output channel has a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, output_padding, bias=bias)
        self.kernels = FIXED

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Deconvolve the input.

        Args:
            input: (B, in_channels, H, W), or one (in_channels, H, W).
            output_size: height and width of the output, where the stride leaves a choice; None: the smallest.

        Returns:
            (B, out_channels, H', W').
        """
        exporting = torch.compiler.is_exporting()  # the exported graph names the operator
        if input.dim() == 4 and output_size is None and not any(self.output_padding) and not exporting:
            padding = int(self.padding[0])
            if input.shape[2:] == (1, 1) and not padding:
                return self._as_product(input)
            if _has_kernels(input):
                return transposed_convolution(input, self.weight, self.bias, self.stride[0], padding, self.kernels)
        return super().forward(input, output_size)

    def _as_product(self, input: Tensor) -> Tensor:
        size = self.kernel_size[0]
        if self.weight.is_contiguous():
            output = (input.flatten(1) @ self.weight.flatten(1)).unflatten(1, (self.out_channels, size, size))
        else:  # channels last: the result too, without a copy
            weight = self.weight.permute(0, 2, 3, 1).flatten(1)
            output = (input.flatten(1) @ weight).unflatten(1, (size, size, self.out_channels)).permute(0, 3, 1, 2)
        return self._with_bias(output)

    def _with_bias(self, output: Tensor) -> Tensor:
        if self.bias is None:
            return output
        return output + self.bias.to(output.dtype)[:, None, None]  # autocast has lowered the output's type


def deconvolution_layer(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """One hidden layer of the paper's generators: deconvolution, batch normalisation, PReLU (Tables 11 to 14).

    (B, in_channels, H, W) -> (B, out_channels, H', W') as in :class:`Deconvolution`. The deconvolution has no bias,
    because the batch normalisation would subtract it again.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernel, in pixels.
        stride: distance of neighbouring input pixels in the output; kernel 4, stride 2 and padding 1 double the size.
        padding: rows and columns that are cut off on each side of the output.
    """
    return nn.Sequential(
        Deconvolution(in_channels, out_channels, kernel_size, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
        PReLU(),
    )


class UpsampledConvolution(nn.Conv2d):
    """Nearest upsampling by two, then a 3x3 convolution with padding 1, in one transposed convolution.

    (B, in_channels, H, W) -> (B, out_channels, 2 H, 2 W). The parameters are those of
    ``nn.Conv2d(in_channels, out_channels, 3, padding=1)``, the result is that of this convolution after
    ``nn.Upsample(scale_factor=2)``. Upsampling repeats each pixel over a 2x2 square, so taps that fall on
    the same pixel can be summed beforehand. The result is a 4x4 kernel at stride 2: 4 products for an
    output pixel instead of 9, and no large intermediate image (1.5 to 2.7 times as fast, forward and
    backward on a CPU, from 8x8 pixels on; no slower at 4x4).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        bias: whether each output channel has a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)
        self.kernels = FIXED

    def forward(self, input: Tensor) -> Tensor:
        """Upsample and convolve.

        Args:
            input: (B, in_channels, H, W).

        Returns:
            (B, out_channels, 2 H, 2 W).
        """
        # Along each side, two neighbouring taps fall on one pixel: a 2x2 box blur sums them.
        taps = F.pad(self.weight.transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
        taps = taps[:, :, 1:] + taps[:, :, :-1]
        taps = taps[:, :, :, 1:] + taps[:, :, :, :-1]
        if _has_kernels(input):
            return transposed_convolution(input, taps, self.bias, 2, 1, self.kernels)
        return F.conv_transpose2d(input, taps, self.bias, stride=2, padding=1)


class Convolution(nn.Conv2d):
    """``nn.Conv2d`` with a square kernel, whose way of computing is chosen: see :func:`with_kernels`."""

    kernels: Kernels

    def forward(self, input: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H', W')."""
        if input.dim() == 4 and _has_kernels(input):
            padding = int(self.padding[0])
            return convolution(input, self.weight, self.bias, self.stride[0], padding, self.kernels)
        return super().forward(input)


def with_kernels(layer: nn.Module) -> nn.Module:
    """Let plain convolutions in ``layer`` become :class:`Convolution`; parameters and state stay. Returns the layer.

    Convolutions with groups, dilation or padding of other kinds than zeros, and those of other classes, stay.
    """
    for module in layer.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = Convolution
            module.kernels = FIXED  # type: ignore[assignment]
    return layer


def _is_plain(module: nn.Conv2d) -> bool:
    numbers = [module.kernel_size, module.stride, module.padding]
    square = all(not isinstance(pair, str) and pair[0] == pair[1] for pair in numbers)
    return square and module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"


def _has_kernels(input: Tensor) -> bool:
    """Whether there is a choice for an input: on a CPU, outside of a graph that is compiled or exported."""
    return input.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.compiler.is_exporting())


class PReLU(nn.PReLU):
    """Parametric ReLU with one slope: ``nn.PReLU()`` with a backward pass about twice as fast on a CPU."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Multiply negative values by the slope.

        Args:
            input: any shape.

        Returns:
            The same shape.
        """
        if input.device.type != "cpu" or torch.compiler.is_compiling():
            return F.prelu(input, self.weight)
        output: Tensor = _LeakyReLU.apply(input, self.weight)  # type: ignore[no-untyped-call]
        return output


class _LeakyReLU(torch.autograd.Function):
    """The fast kernels of the leaky ReLU, and the gradient of the slope as one sum."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(input, slope)
        return F.leaky_relu(input, slope.item())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        (gradient,) = gradients
        input, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradient penalties differentiate again, by the slope too
            to_input = torch.where(input > 0, gradient, slope.to(gradient) * gradient)
        else:
            to_input = torch.ops.aten.leaky_relu_backward(gradient, input, slope.item(), False)
        if not ctx.needs_input_grad[1]:
            return to_input, None
        if torch.is_grad_enabled():
            to_slope = (gradient * input.clamp_max(0)).sum(dtype=slope.dtype).reshape(slope.shape)
        else:
            to_slope = slope_gradient(gradient, input, slope)
        return to_input, to_slope


class ScaledSigmoid(nn.Module):
    """The sigmoid, scaled to [low, high]; rounding never leaves the range."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, input: Tensor) -> Tensor:
        """Any shape to the same shape."""
        share = torch.sigmoid(input)
        return torch.lerp(share.new_full((), self.low), share.new_full((), self.high), share)

    def extra_repr(self) -> str:
        """Shown by ``print(network)``; also compared when layers are tied, so that their ranges must be equal."""
        return f"low={self.low}, high={self.high}"


def output_activation(domain: Domain) -> nn.Module:
    """The last activation of a generator: any shape to the same shape, any real number to ``domain.range``.

    The sigmoid for [0, 1] and tanh for [-1, 1], as in the paper (supplement, section on networks);
    a scaled sigmoid for any other range.

    Args:
        domain: the domain whose samples the generator draws.

    Raises:
        ConfigError: the range is empty or not finite.
    """
    low, high = domain.range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"domain '{domain.name}' has the range [{low}, {high}]; a generator needs two finite numbers, lowest first"
        )
    if (low, high) == (0, 1):
        return nn.Sigmoid()
    if (low, high) == (-1, 1):
        return nn.Tanh()
    return ScaledSigmoid(low, high)


def scale_channels(channels: int, width: float) -> int:
    """``channels`` times ``width``, rounded, and at least 1.

    Args:
        channels: number of channels in the paper.
        width: factor of an architecture's option of that name.
    """
    return max(1, round(channels * width))


def initialised(layers: Iterable[nn.Module], *, slope: float) -> list[nn.Module]:
    """Initialise the layers (He et al. 2015) for activations of ``slope`` below zero; biases become 0.

    The last layer has no such activation, so its outputs get the variance of its inputs.
    """
    layers = list(layers)
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, 1.0 if layer is layers[-1] else slope)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return layers
