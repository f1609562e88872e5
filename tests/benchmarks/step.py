"""Times a training step beside the machine's limit and beside two loops, interleaved in one process.

    python -m tests.benchmarks.step --all
    python -m tests.benchmarks.step --architecture digits --width 1 --domains 2

For each row: the arithmetic of a step (counted), its rate, the share of the rate of matrix products (measured with the
same threads), and how many times as long the textbook loop (:mod:`tests.benchmarks.textbook`) and the tutorials' loop
(:mod:`tests.benchmarks.tutorials`) take. Both loops compute in fp32. With one thread, processor time is counted, which
other programs disturb less. Never run as a test: these are figures for
docs/performance.md, with the machine they were measured on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import click
import torch

from coupling.config.sections import OptimizerConfig
from coupling.domain import Domain
from coupling.losses.adversarial import NonSaturating
from coupling.networks.architecture import layer_lists
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, to_device
from coupling.networks.kernels import FIXED, Kernels, use_kernels
from coupling.plugins import installed
from coupling.sharing.graph import TEAMS, Rule, SharingGraph
from coupling.system.device import matrix_rate
from coupling.training.algorithm import Algorithm1, Team, gradient_buffer
from coupling.training.build import make_optimizer
from coupling.training.cost import Operations
from coupling.training.precision import Precision, autocast
from tests.benchmarks.machine import clock_of_threads, description
from tests.benchmarks.textbook import Textbook
from tests.benchmarks.tutorials import Tutorials

RULES = {
    "digits": {"generator": [Rule(first=4)], "discriminator": [Rule(last=3)], "shape": (1, 28, 28), "range": (0, 1)},
    "digits32": {"generator": [Rule(first=2)], "discriminator": [Rule(first=4)], "shape": (3, 32, 32),
                 "range": (-1, 1)},
    "faces": {"generator": [Rule(first=5)], "discriminator": [Rule(last=6)], "shape": (3, 64, 64), "range": (-1, 1)},
    "upsampling": {"generator": [Rule(first=4)], "discriminator": [Rule(last=3)], "shape": (3, 64, 64),
                   "range": (-1, 1)},
}  # fmt: skip

CPU = torch.device("cpu")

Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    architecture: str
    width: float
    domains: int
    batch: int
    precision: Precision = "fp32"


TABLE = [
    Row("digits", 1, 2, 64),
    Row("digits", 0.25, 2, 64),
    Row("upsampling", 1, 2, 32),
    Row("faces", 0.25, 2, 32),
    Row("digits32", 1, 2, 64),
    Row("digits", 0.25, 8, 64),
]


@dataclass(frozen=True)
class Steps:
    """A row's steps, on equal weights and data."""

    algorithm: Algorithm1
    ours: Step
    textbook: Step
    tutorials: Step


def build(row: Row, *, shared: bool = True, kernels: Kernels = FIXED, device: torch.device = CPU) -> Steps:
    """The steps of a row; ``shared``: by the rules above, or without any rule as N separate GANs.

    ``kernels``: of our step, which measure the shapes that they have not met.
    """
    setting = RULES[row.architecture]
    made = installed().registry.build("architecture", row.architecture, {"width": row.width}, "benchmark")
    order = [Domain(f"d{i}", setting["shape"], setting["range"]) for i in range(row.domains)]
    sizes = {"generator": 100, "discriminator": 1}
    lists = {team: layer_lists(team, made, order, sizes[team], seed=0) for team in TEAMS}
    graphs = {
        team: SharingGraph(
            team,
            {d: len(layers) for d, layers in lists[team].items()},
            setting[team] if shared and row.domains > 1 else [],
            same_input=team == "generator",
        )
        for team in TEAMS
    }
    textbook, tutorials = Textbook(graphs, lists), Tutorials(graphs, lists)
    networks = (
        CoupledGenerator(graphs["generator"], lists["generator"]),
        CoupledDiscriminator(graphs["discriminator"], lists["discriminator"]),
    )
    losses = {"non-saturating": NonSaturating()}
    teams = []
    for network in networks:
        to_device(network, device)
        gradients = gradient_buffer(network, losses)
        teams.append(Team(network, gradients, make_optimizer(OptimizerConfig(), gradients.parameters)))
    region = partial(autocast, row.precision, device)
    algorithm = Algorithm1(order, *teams, losses, autocast=region, uniform=lambda *_: torch.empty(0))
    z = torch.rand(row.batch, 100, device=device) * 2 - 1
    real = {d.name: torch.rand(row.batch, *d.shape, device=device) for d in order}
    real_last = {name: x.to(memory_format=torch.channels_last) for name, x in real.items()}
    if kernels is not FIXED:
        use_kernels(networks, kernels)
        with kernels.measuring():
            algorithm.step(0, z, real_last)
    return Steps(
        algorithm,
        partial(algorithm.step, 0, z, real_last),
        partial(textbook.step, z, real),
        partial(tutorials.step, z, real),
    )


def interleaved(steps: list[Step], seconds: float, warmup: int = 2) -> list[float]:
    """Median seconds of each, in turn, so that a change of the machine's pace meets all alike; at least 5 turns."""
    clock = clock_of_threads()
    times: list[list[float]] = [[] for _ in steps]
    turn, end = 0, float("inf")
    while turn < warmup + 5 or clock() < end:
        if turn == warmup:
            end = clock() + seconds
        for step, taken in zip(steps, times, strict=True):
            start = clock()
            step()
            if turn >= warmup:
                taken.append(clock() - start)
        turn += 1
    return [statistics.median(taken) for taken in times]


def arithmetic(step: Step) -> float:
    """Operations of a step in GFLOP, of its matrix products and convolutions."""
    with Operations() as operations:
        step()
    return operations.total / 1e9


def measured(row: Row, rates: dict[str, float], seconds: float, separate: bool, kernels: Kernels) -> Iterator[str]:
    """The cells of a row."""
    operations = arithmetic(build(row).ours)
    steps = build(row, kernels=kernels)
    timed = [steps.ours, steps.textbook, steps.tutorials]
    beside = []
    if row.domains > 2:
        beside.append(("N = 2", build(replace(row, domains=2), kernels=kernels).ours))
    if separate:
        beside.append(("separate GANs", build(row, shared=False, kernels=kernels).ours))
    ours, textbook, tutorials, *others = interleaved([*timed, *(step for _, step in beside)], seconds)
    yield f"{row.architecture}, width {row.width:g}, N = {row.domains}, batch {row.batch}, {row.precision}"
    yield f"{1e3 * ours:.0f} ms"
    yield f"{operations:.1f} GFLOP"
    yield f"{operations / ours:.0f} GFLOP/s"
    yield f"{operations / ours / rates[row.precision]:.0%}"
    yield f"{textbook / ours:.2f} ×"
    yield f"{tutorials / ours:.2f} ×"
    yield "; ".join(f"{name}: {other / ours:.2f} ×" for (name, _), other in zip(beside, others, strict=True))


@click.command()
@click.option("--all", "whole", is_flag=True, help="The rows of the table in docs/performance.md.")
@click.option("--architecture", type=click.Choice(sorted(RULES)), default="digits")
@click.option("--width", default=1.0)
@click.option("--domains", default=2)
@click.option("--batch", default=64)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), multiple=True, help="Default: fp32, and bf16 where "
              "its matrix products are faster.")  # fmt: skip
@click.option("--threads", default=1, show_default=True)
@click.option("--seconds", default=15.0, show_default=True, help="Time for each row.")
@click.option("--kernels", type=click.Choice(["fixed", "measured"]), default="measured", show_default=True, help="As "
              "training.kernels; measured: takes time before the first row.")  # fmt: skip
@click.option("--separate", is_flag=True, help="Time the framework with no rule (N separate GANs) as well.")
def main(
    whole: bool, architecture: str, width: float, domains: int, batch: int, precision: tuple[Precision, ...],
    threads: int, seconds: float, kernels: str, separate: bool,
) -> None:  # fmt: skip
    """Print the table in docs/performance.md, or one line of it."""
    torch.set_num_threads(threads)
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    rates = {name: matrix_rate(kind, 2048, 10) / 1e9 for name, kind in kinds.items()}
    precisions: tuple[Precision, ...] = precision or (
        ("fp32", "bf16") if rates["bf16"] > 1.5 * rates["fp32"] else ("fp32",)
    )
    click.echo(f"{description()}; matrix products: fp32 {rates['fp32']:.0f}, bf16 {rates['bf16']:.0f} GFLOP/s\n")
    click.echo("| networks | a step | arithmetic | rate | of the matrix rate | textbook loop | tutorials' loop | |")
    click.echo("|---|---|---|---|---|---|---|---|")
    chosen_kernels = Kernels() if kernels == "measured" else FIXED
    for row in TABLE if whole else [Row(architecture, width, domains, batch)]:
        for chosen in precisions:
            cells = measured(replace(row, precision=chosen), rates, seconds, separate, chosen_kernels)
            click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
