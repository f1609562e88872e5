"""Times one training step against the textbook loop, interleaved in one process.

    python -m tests.benchmarks.step --architecture digits --width 1 --domains 2

Prints medians and their ratio. Never run as a test: a ratio is a figure for docs/performance.md,
with the machine it was measured on.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from functools import partial

import click
import torch

from coupling.config.sections import OptimizerConfig
from coupling.domain import Domain
from coupling.losses.adversarial import NonSaturating
from coupling.networks.architecture import layer_lists
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator
from coupling.plugins import installed
from coupling.sharing.graph import TEAMS, Rule, SharingGraph
from coupling.training.algorithm import Algorithm1, Team, gradient_buffer
from coupling.training.build import make_optimizer
from tests.benchmarks.textbook import Textbook

RULES = {
    "digits": {"generator": [Rule(first=4)], "discriminator": [Rule(last=3)], "shape": (1, 28, 28), "range": (0, 1)},
    "faces": {"generator": [Rule(first=5)], "discriminator": [Rule(last=6)], "shape": (3, 64, 64), "range": (-1, 1)},
    "upsampling": {"generator": [Rule(first=4)], "discriminator": [Rule(last=3)], "shape": (3, 64, 64),
                   "range": (-1, 1)},
}  # fmt: skip


def build(architecture: str, width: float, domains: int, batch: int, shared: bool) -> tuple[Callable[[], None], ...]:
    """(the framework's step, the textbook's step), on equal weights and data."""
    setting = RULES[architecture]
    made = installed().registry.build("architecture", architecture, {"width": width}, "benchmark")
    order = [Domain(f"d{i}", setting["shape"], setting["range"]) for i in range(domains)]
    sizes = {"generator": 100, "discriminator": 1}
    lists = {team: layer_lists(team, made, order, sizes[team], seed=0) for team in TEAMS}
    graphs = {
        team: SharingGraph(
            team,
            {d: len(layers) for d, layers in lists[team].items()},
            setting[team] if shared and domains > 1 else [],
            same_input=team == "generator",
        )
        for team in TEAMS
    }
    textbook = Textbook(graphs, lists)
    networks = (
        CoupledGenerator(graphs["generator"], lists["generator"]),
        CoupledDiscriminator(graphs["discriminator"], lists["discriminator"]),
    )
    losses = {"non-saturating": NonSaturating()}
    teams = []
    for network in networks:
        network.to(memory_format=torch.channels_last)
        gradients = gradient_buffer(network, losses)
        teams.append(Team(network, gradients, make_optimizer(OptimizerConfig(), gradients.parameters)))
    algorithm = Algorithm1(order, *teams, losses, autocast=contextlib.nullcontext, uniform=lambda *_: torch.empty(0))
    z = torch.rand(batch, 100) * 2 - 1
    real = {d.name: torch.rand(batch, *d.shape) for d in order}
    real_last = {name: x.to(memory_format=torch.channels_last) for name, x in real.items()}
    return partial(algorithm.step, 0, z, real_last), partial(textbook.step, z, real)


def interleaved(steps: tuple[Callable[[], object], ...], repeats: int, warmup: int = 2) -> list[float]:
    """Median seconds of each, taken in turn so that a change of the machine's pace meets all alike."""
    times: list[list[float]] = [[] for _ in steps]
    for repeat in range(warmup + repeats):
        for step, seconds in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            if repeat >= warmup:
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


@click.command()
@click.option("--architecture", type=click.Choice(sorted(RULES)), default="digits")
@click.option("--width", default=1.0)
@click.option("--domains", default=2)
@click.option("--batch", default=64)
@click.option("--threads", default=2)
@click.option("--repeats", default=15)
@click.option("--separate", is_flag=True, help="Time the framework with no rule (N separate GANs) as well.")
def main(architecture: str, width: float, domains: int, batch: int, threads: int, repeats: int, separate: bool) -> None:
    """Print one line of the table in docs/performance.md."""
    torch.set_num_threads(threads)
    steps = build(architecture, width, domains, batch, shared=True)
    if separate:
        steps = (*steps, build(architecture, width, domains, batch, shared=False)[0])
    ours, textbook, *rest = interleaved(steps, repeats)
    line = (
        f"{architecture} width {width:g} N={domains} batch {batch} threads {threads}: step {ours * 1e3:.0f} ms, "
        f"textbook {textbook * 1e3:.0f} ms, ratio {textbook / ours:.2f}"
    )
    if rest:
        line += f"; N separate GANs {rest[0] * 1e3:.0f} ms, ratio {rest[0] / ours:.2f}"
    click.echo(line)


if __name__ == "__main__":
    main()
