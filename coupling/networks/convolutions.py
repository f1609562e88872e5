"""Convolutions, each computed by native kernels or by products of matrices, whichever is faster.

A convolution ties a large image x, (B, large, H, W), to a small one y, (B, small, h, w), by weights w,
(small, large, K, K). With stride s and padding p it is one of three operations, and its derivatives are the others:

==============  =================================  =======================================================
operation       computes                           used for
==============  =================================  =======================================================
``convolve``    y[o] = sum over k: w[k] x[so+k-p]  a convolution; a transposed one's gradient of its input
``transpose``   x[so+k-p] += w[k] y[o]             a transposed convolution; a convolution's gradient of its input
``correlate``   w[k] = sum over o: y[o] x[so+k-p]  the gradient of the weights, of both
==============  =================================  =======================================================

:class:`coupling.networks.kernels.Kernels` chooses the way of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Operation = Literal["convolve", "transpose", "correlate"]
Way = Literal["native", "contiguous", "product", "planes"]

_LIMIT = 2**26
"""Numbers that a matrix of unfolded images may have: larger ones cost more memory than they save time."""


@dataclass(frozen=True)
class Geometry:
    """The shapes of a convolution: everything but its numbers."""

    batch: int
    small: int
    """Channels of the small image: output channels of a convolution, input channels of a transposed one."""
    large: int
    """Channels of the large image."""
    small_size: tuple[int, int]
    """Height and width of the small image."""
    large_size: tuple[int, int]
    """Height and width of the large image."""
    kernel: int
    stride: int
    padding: int
    dtype: torch.dtype

    @property
    def columns(self) -> int:
        """Numbers in the matrix that holds, for each pixel of the small image, the pixels under the kernel."""
        return self.batch * self.small_size[0] * self.small_size[1] * self.large * self.kernel**2

    def __str__(self) -> str:
        sizes = [f"{channels}x{height}x{width}" for channels, (height, width) in self._images]
        kind = str(self.dtype).removeprefix("torch.")
        return f"{self.batch}x({sizes[0]}, {sizes[1]}) K{self.kernel} S{self.stride} P{self.padding} {kind}"

    @property
    def _images(self) -> tuple[tuple[int, tuple[int, int]], ...]:
        return (self.large, self.large_size), (self.small, self.small_size)


def _rows(images: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H, W, C), without a copy if the memory is channels-last."""
    return images.permute(0, 2, 3, 1).contiguous()


def _images(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """(B·H·W, C) as (B, C, H, W) in channels-last memory."""
    return rows.view(-1, *size, rows.shape[1]).permute(0, 3, 1, 2)


def _columns(x: Tensor, at: Geometry) -> Tensor:
    """The pixels of the large image under the kernel, for each pixel of the small one: (B·h·w, K·K·large)."""
    rows = _rows(F.pad(x, [at.padding] * 4) if at.padding else x)
    batch, row, pixel, channel = rows.stride()
    shape = (at.batch, *at.small_size, at.kernel, at.kernel, at.large)
    strides = (batch, at.stride * row, at.stride * pixel, row, pixel, channel)
    return rows.as_strided(shape, strides).reshape(-1, at.kernel**2 * at.large)


def _padded(at: Geometry) -> tuple[int, int]:
    height, width = at.large_size
    return height + 2 * at.padding, width + 2 * at.padding


def _taps(at: Geometry) -> list[tuple[int, int, slice, slice]]:
    """For each tap of the kernel, where it meets the padded large image: (row, column, rows, columns)."""
    height, width = at.small_size
    return [
        (
            i,
            j,
            slice(i, i + at.stride * (height - 1) + 1, at.stride),
            slice(j, j + at.stride * (width - 1) + 1, at.stride),
        )
        for i in range(at.kernel)
        for j in range(at.kernel)
    ]


# Each way: (large image, small image, weights, bias, geometry), of which the operation computes one, to that one.
_Compute = Callable[[Any, Any, Any, Tensor | None, Geometry], Tensor]


def _native_convolve(x: Tensor, y: None, w: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
    return F.conv2d(x, w, bias, at.stride, at.padding)


def _native_transpose(x: None, y: Tensor, w: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
    pairs = zip(at.large_size, at.small_size, strict=True)
    left = [large - ((small - 1) * at.stride - 2 * at.padding + at.kernel) for large, small in pairs]
    return F.conv_transpose2d(y, w, bias, at.stride, at.padding, left)


def _native_correlate(x: Tensor, y: Tensor, w: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
    settings: Any = (None, [at.stride] * 2, [at.padding] * 2, [1, 1], False, [0, 0], 1, [False, True, False])
    gradient: Tensor = torch.ops.aten.convolution_backward(y, x, w, *settings)[1]
    return gradient


def _contiguous(native: _Compute) -> _Compute:
    """The native kernel on contiguous memory; the result is channels-last like that of the other ways."""

    def way(x: Tensor | None, y: Tensor | None, w: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
        x, y, w = (None if t is None else t.contiguous() for t in (x, y, w))  # type: ignore[assignment]
        return native(x, y, w, bias, at).contiguous(memory_format=torch.channels_last)

    return way


def _product_convolve(x: Tensor, y: None, w: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
    taps = w.permute(2, 3, 1, 0).reshape(-1, at.small)
    columns = _columns(x, at)
    return _images(columns @ taps if bias is None else torch.addmm(bias, columns, taps), at.small_size)


def _product_transpose(x: None, y: Tensor, w: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
    taps = w.permute(0, 2, 3, 1).reshape(at.small, -1)
    columns = (_rows(y).flatten(0, 2) @ taps).view(at.batch, *at.small_size, at.kernel, at.kernel, at.large)
    full = y.new_zeros(at.batch, *_padded(at), at.large)
    for i, j, rows, lines in _taps(at):
        full[:, rows, lines] += columns[:, :, :, i, j]
    return _cropped(full.permute(0, 3, 1, 2), bias, at)


def _planes_transpose(x: None, y: Tensor, w: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
    """Few channels in the large image: one plane of memory for each channel and tap, so that sums are long."""
    taps = w.permute(1, 2, 3, 0).reshape(-1, at.small)
    planes = (taps @ _rows(y).flatten(0, 2).t()).view(at.large, at.kernel, at.kernel, at.batch, *at.small_size)
    full = y.new_zeros(at.large, at.batch, *_padded(at))
    for i, j, rows, lines in _taps(at):
        full[:, :, rows, lines] += planes[:, i, j]
    return _cropped(full.transpose(0, 1), bias, at)


def _cropped(full: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
    """The large image without its padding, in channels-last memory."""
    height, width = at.large_size
    image = full[:, :, at.padding : at.padding + height, at.padding : at.padding + width]
    image = image.contiguous(memory_format=torch.channels_last)
    return image if bias is None else image.add_(bias[:, None, None])


def _product_correlate(x: Tensor, y: Tensor, w: Tensor, bias: Tensor | None, at: Geometry) -> Tensor:
    product = _rows(y).flatten(0, 2).t() @ _columns(x, at)
    return product.view(at.small, at.kernel, at.kernel, at.large).permute(0, 3, 1, 2)


WAYS: Mapping[Operation, Mapping[Way, _Compute]] = {
    "convolve": {
        "native": _native_convolve,
        "contiguous": _contiguous(_native_convolve),
        "product": _product_convolve,
    },
    "transpose": {
        "native": _native_transpose,
        "contiguous": _contiguous(_native_transpose),
        "product": _product_transpose,
        "planes": _planes_transpose,
    },
    "correlate": {
        "native": _native_correlate,
        "contiguous": _contiguous(_native_correlate),
        "product": _product_correlate,
    },
}
"""Every way to compute an operation. All agree up to rounding."""


def candidates(operation: Operation, at: Geometry) -> list[Way]:
    """The ways that are worth measuring, the native one first."""
    fitting = at.columns <= _LIMIT
    return [way for way in WAYS[operation] if fitting or way in ("native", "contiguous")]
