"""Times every way to compute a convolution, for each of its three operations (:mod:`coupling.networks.convolutions`).

    python -m tests.benchmarks.kernels [--precision fp32] [--threads 1]

Prints a Markdown table of milliseconds, the shortest of several, in channels-last memory; the way that the fixed rules
take is in bold. With one thread, processor time is counted.
"""

from __future__ import annotations

import click
import torch

from coupling.networks.convolutions import WAYS, Geometry, candidates
from coupling.networks.kernels import fixed
from tests.benchmarks.machine import clock_of_threads, description

# batch, channels and side of the small image, of the large one, kernel, stride, padding
SHAPES = [
    (64, 1024, 4, 512, 7, 3, 2, 1),
    (64, 512, 7, 256, 13, 3, 2, 1),
    (64, 256, 13, 128, 25, 3, 2, 1),
    (64, 256, 4, 128, 7, 3, 2, 1),
    (128, 256, 4, 128, 8, 4, 2, 1),
    (128, 128, 8, 64, 16, 4, 2, 1),
    (32, 48, 32, 32, 64, 4, 2, 1),
    (64, 32, 25, 1, 28, 6, 1, 1),
    (64, 5, 24, 1, 28, 5, 1, 0),
]


def times(at: Geometry, repeats: int = 4) -> dict[str, dict[str, float]]:
    """Milliseconds by operation and way."""
    clock = clock_of_threads()
    last = torch.channels_last
    x = torch.randn(at.batch, at.large, *at.large_size).to(at.dtype).contiguous(memory_format=last)
    y = torch.randn(at.batch, at.small, *at.small_size).to(at.dtype).contiguous(memory_format=last)
    w = torch.randn(at.small, at.large, at.kernel, at.kernel).to(at.dtype).contiguous(memory_format=last)
    found: dict[str, dict[str, float]] = {}
    for operation, ways in WAYS.items():
        given = (None if operation == "transpose" else x, None if operation == "convolve" else y, w, None, at)
        for way in candidates(operation, at):
            taken = []
            for _ in range(1 + repeats):
                start = clock()
                ways[way](*given)
                taken.append(clock() - start)
            found.setdefault(operation, {})[way] = 1e3 * min(taken[1:])
    return found


@click.command()
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32")
@click.option("--threads", default=1)
def main(precision: str, threads: int) -> None:
    """Print a table."""
    torch.set_num_threads(threads)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    click.echo(f"{description()}, {precision}\n")
    click.echo("| convolution | operation | native | contiguous | product | planes |\n|---|---|---|---|---|---|")
    with torch.no_grad():
        for batch, small, low, large, high, kernel, stride, padding in SHAPES:
            at = Geometry(batch, small, large, (low, low), (high, high), kernel, stride, padding, dtype)
            name = f"{batch} × ({large} of {high}×{high}, {small} of {low}×{low}), K{kernel} S{stride}"
            for operation, found in times(at).items():
                chosen = fixed(operation, at)  # type: ignore[arg-type]
                cells = {way: f"**{ms:.1f}**" if way == chosen else f"{ms:.1f}" for way, ms in found.items()}
                row = [cells.get(way, "") for way in ("native", "contiguous", "product", "planes")]
                click.echo(f"| {name} | {operation} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
