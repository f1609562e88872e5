"""Times a training step on a GPU: in fp32 with TF32 and in bf16, as it is and compiled, for 1 to 8 domains.

    python -m tests.benchmarks.gpu [--architecture faces --width 1 --batch 64] [--domains 1 --domains 2 ...]

For each row: milliseconds, the step's arithmetic (counted on a CPU), its rate and the share of the rate of matrix
products in that precision, with the networks as they are and by ``torch.compile`` (``training.compile``). The weights
are channels-last, Adam is fused and the data lie on the device, as in a run. ``--device cpu`` tries the script out.
"""

from __future__ import annotations

import statistics
import time

import click
import torch

from coupling.training.precision import Precision
from tests.benchmarks.step import RULES, Row, Step, arithmetic, build

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def timed(step: Step, device: torch.device, seconds: float) -> float:
    """Median seconds of a step, after five that are not counted; each is waited for."""
    times = []
    end = float("inf")
    while len(times) < 10 or time.perf_counter() < end:
        if len(times) == 5:
            end = time.perf_counter() + seconds
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[5:])


def matrix_rate(precision: Precision, device: torch.device, seconds: float) -> float:
    """GFLOP/s of a product of two square matrices."""
    size = 8192 if device.type == "cuda" else 512
    a = torch.randn(size, size, device=device, dtype=_TYPES[precision])
    return 2e-9 * size**3 / timed(lambda: a @ a, device, seconds)


@click.command()
@click.option("--architecture", type=click.Choice(sorted(RULES)), default="faces")
@click.option("--width", default=1.0)
@click.option("--batch", default=64)
@click.option("--domains", multiple=True, default=[1, 2, 4, 8])
@click.option("--device", "name", default="cuda")
@click.option("--seconds", default=2.0, help="Time for each figure.")
@click.option("--compile/--no-compile", "compiled", default=True)
def main(
    architecture: str, width: float, batch: int, domains: tuple[int, ...], name: str, seconds: float, compiled: bool
) -> None:
    """Print a table."""
    torch.set_float32_matmul_precision("high")  # TF32, where there is one
    torch.backends.cudnn.benchmark = True
    device = torch.device(name)
    shown = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    click.echo(f"{shown}, torch {torch.__version__}; {architecture}, width {width:g}, batch {batch}\n")
    click.echo("| N | precision | arithmetic | a step | rate | of the matrix rate | compiled | rate | share |")
    click.echo("|---|---|---|---|---|---|---|---|---|")
    for number in domains:
        operations = arithmetic(build(Row(architecture, width, number, batch)).ours)
        for precision in ("fp32", "bf16"):
            rate = matrix_rate(precision, device, seconds)
            steps = build(Row(architecture, width, number, batch, precision), device=device)
            cells = _cells(operations, timed(steps.ours, device, seconds), rate)
            if compiled:
                steps.algorithm.g = torch.compile(steps.algorithm.g)  # type: ignore[assignment]
                steps.algorithm.f = torch.compile(steps.algorithm.f)  # type: ignore[assignment]
                cells += _cells(operations, timed(steps.ours, device, seconds), rate)
            click.echo(f"| {number} | {precision} | {operations:.1f} GFLOP | {' | '.join(cells)} |")


def _cells(operations: float, seconds: float, rate: float) -> list[str]:
    """A step's milliseconds, rate and share."""
    return [f"{1e3 * seconds:.1f} ms", f"{operations / seconds:.0f} GFLOP/s", f"{operations / seconds / rate:.0%}"]


if __name__ == "__main__":
    main()
