"""Time the ways to compute a transposed convolution, and upsampling before a convolution.

    python tests/benchmarks/layers.py [--threads 1] [--batch 64] [--width 1] [--device cpu] [--kind digits]...

Prints a Markdown table: the best time in ms of a forward pass, of forward and backward with frozen
weights (as inversion has them), and of forward and backward in full; in contiguous and in
channels-last memory (CL). With one thread on a CPU, processor time is counted, which other programs
disturb less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coupling.networks.convolutions import WAYS, Geometry, Operation, Way
from coupling.networks.kernels import Kernels, transposed_convolution
from coupling.networks.layers import Deconvolution, UpsampledConvolution, scale_channels

# in, out, kernel, stride, padding, input side: the generators of the paper's Tables 11 and 12.
DECONVOLUTIONS = {
    "digits": [
        (100, 1024, 4, 1, 0, 1),
        (1024, 512, 3, 2, 1, 4),
        (512, 256, 3, 2, 1, 7),
        (256, 128, 3, 2, 1, 13),
        (128, 1, 6, 1, 1, 25),
    ],
    "faces": [
        (100, 1024, 4, 1, 0, 1),
        (1024, 512, 4, 2, 1, 4),
        (512, 256, 4, 2, 1, 8),
        (256, 128, 4, 2, 1, 16),
        (128, 64, 4, 2, 1, 32),
        (64, 32, 4, 2, 1, 64),
        (32, 3, 3, 1, 1, 128),
    ],
}
# in, out, input side: the blocks of the architecture "upsampling" for images of 64x64.
UPSAMPLINGS = [(128, 128, 4), (128, 64, 8), (64, 48, 16), (48, 32, 32)]
FIXED = (1, 3, 100)  # channels that the width does not scale: images and the latent code

Compute = Callable[[Tensor], Tensor]


class Only(Kernels):
    """One way wherever it exists, natively elsewhere."""

    def __init__(self, only: Way) -> None:
        super().__init__()
        self.only = only

    def way(self, operation: Operation, at: Geometry) -> Way:
        return self.only if self.only in WAYS[operation] else "native"


def forced(layer: Deconvolution, kernels: Kernels, x: Tensor) -> Tensor:
    """The layer with another choice of kernels."""
    return transposed_convolution(x, layer.weight, layer.bias, layer.stride[0], int(layer.padding[0]), kernels)


def as_convolution(layer: Deconvolution) -> Compute:
    """Stride 1: a convolution with the kernel turned by half a turn."""
    size, padding = layer.kernel_size[0], int(layer.padding[0])
    return lambda x: F.conv2d(x, layer.weight.flip(2, 3).transpose(0, 1), layer.bias, padding=size - 1 - padding)


def as_phases(layer: Deconvolution) -> Compute:
    """Stride s: one convolution for each of the s x s output phases, then interleaved."""
    size, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    taps = -(-size // stride)
    inputs, outputs = layer.in_channels, layer.out_channels

    def way(x: Tensor) -> Tensor:
        whole = F.pad(layer.weight, (0, taps * stride - size) * 2).view(inputs, outputs, taps, stride, taps, stride)
        kernels = whole.flip(2, 4).permute(1, 3, 5, 0, 2, 4).reshape(outputs * stride**2, inputs, taps, taps)
        phases = F.pixel_shuffle(F.conv2d(x, kernels, padding=taps - 1), stride)
        height, width = ((side - 1) * stride + size - 2 * padding for side in x.shape[2:])
        return phases[:, :, padding : padding + height, padding : padding + width] + layer.bias[:, None, None]

    return way


def deconvolutions(kind: str, width: float) -> Iterator[tuple[str, nn.Module, tuple[int, ...], dict[str, Compute]]]:
    for inputs, outputs, size, stride, padding, side in DECONVOLUTIONS[kind]:
        a, b = (c if c in FIXED else scale_channels(c, width) for c in (inputs, outputs))
        layer = Deconvolution(a, b, size, stride, padding)
        ways: dict[str, Compute] = {"native": lambda x, m=layer: nn.ConvTranspose2d.forward(m, x), "chosen": layer}
        if side > 1:
            for way in ("product", "planes"):
                if way == "product" or outputs <= 3:
                    ways[way] = partial(forced, layer, Only(way))
            ways |= {"convolution": as_convolution(layer)} if stride == 1 else {"phases": as_phases(layer)}
        yield f"{a}→{b} K{size} S{stride} on {side}×{side}", layer, (a, side, side), ways


def upsampled(layer: UpsampledConvolution, x: torch.Tensor) -> torch.Tensor:
    """The layer by its definition: upsampling, then a convolution."""
    return layer._conv_forward(F.interpolate(x, scale_factor=2.0), layer.weight, layer.bias)


def upsamplings(width: float) -> Iterator[tuple[str, nn.Module, tuple[int, ...], dict[str, Compute]]]:
    for inputs, outputs, side in UPSAMPLINGS:
        a, b = scale_channels(inputs, width), scale_channels(outputs, width)
        layer = UpsampledConvolution(a, b)
        ways = {"native": partial(upsampled, layer), "chosen": layer}
        yield f"up, {a}→{b} K3 on {side}×{side}", layer, (a, side, side), ways


def best(run: Callable[[], object], clock: Callable[[], float], device: str, seconds: float) -> float:
    """Shortest of at least three runs after a first one, in ms."""
    run()
    shortest, end = float("inf"), time.perf_counter() + seconds
    runs = 0
    while runs < 3 or time.perf_counter() < end:
        if device != "cpu":
            torch.cuda.synchronize()
        start = clock()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        shortest = min(shortest, clock() - start)
        runs += 1
    return 1e3 * shortest


def times(way: Compute, layer: nn.Module, x: Tensor, timer: Callable[[Callable[[], object]], float]) -> list[float]:
    """Forward, forward and backward with frozen weights, forward and backward."""
    weights = list(layer.parameters())
    with torch.no_grad():
        gradient = torch.randn_like(way(x))
        forward = timer(lambda: way(x))
    x = x.requires_grad_()
    layer.requires_grad_(False)
    frozen = timer(lambda: torch.autograd.grad(way(x), x, gradient))
    layer.requires_grad_(True)
    return [forward, frozen, timer(lambda: torch.autograd.grad(way(x), [x, *weights], gradient))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--kind", action="append", choices=[*DECONVOLUTIONS, "upsampling"])
    parser.add_argument("--seconds", type=float, default=0.3, help="at least, for each figure")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 and options.device == "cpu" else time.perf_counter
    print(f"\ntorch {torch.__version__}, {options.device}, threads {options.threads}, batch {options.batch}\n")
    print("| layer | way | forward | frozen | full | forward, CL | frozen, CL | full, CL |")
    print("|---|---|" + "---:|" * 6)
    for kind in options.kind or [*DECONVOLUTIONS, "upsampling"]:
        layers = upsamplings(options.width) if kind == "upsampling" else deconvolutions(kind, options.width)
        for title, layer, shape, ways in layers:
            for name, way in ways.items():
                row = []
                for memory in (torch.contiguous_format, torch.channels_last):
                    layer = layer.to(device=options.device, memory_format=memory)
                    x = torch.randn(options.batch, *shape, device=options.device).to(memory_format=memory)
                    row += times(way, layer, x, lambda run: best(run, clock, options.device, options.seconds))
                print(f"| {title} | {name} | " + " | ".join(f"{ms:.1f}" for ms in row) + " |", flush=True)


if __name__ == "__main__":
    main()
