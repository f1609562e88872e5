"""What a step needs as domains and processes grow: counted, timed, and checked against the formulas of docs/scaling.md.

    python -m tests.benchmarks.scaling [--domains 1 --domains 2 ...] [--shared 3 2 --shared 0 0 ...] [--processes 1]
        [--width 0.125] [--batch 16]

Prints a Markdown table. Times are medians of processor time, one thread a process: other programs disturb it less.
Every other figure is counted, and the program fails where a count is not what the formula says.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from dataclasses import dataclass

import click
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.domain import Domain
from coupling.networks.build import assemble
from coupling.networks.normalisation import DomainBatchNorm
from coupling.training.batch_statistics import set_statistics
from coupling.training.build import make_algorithm
from coupling.training.cost import separate, step_cost
from coupling.training.ema import MovingAverage
from tests.support import tiny_plugin as tiny

SHAPE = (1, 32, 32)
DEPTHS = {"generator": 5, "discriminator": 4}
Shared = tuple[int, int]
"""How many layers all domains share: the generators' first, the discriminators' last."""
SHARED: Shared = (3, 2)


@dataclass(frozen=True)
class Counts:
    """Of one step, of one process; bytes are of float32."""

    parameters: dict[str, int]
    state: int
    """Bytes of weights, gradients, Adam's moments and the generators' average."""
    operations: int
    """Of one sample a domain."""
    sent: tuple[int, ...]
    """Bytes of each all-reduce of gradients."""
    statistics: int
    """Bytes of all all-reduces of batch statistics."""


def configuration(
    count: int, width: float, batch: int = 16, shared: Shared = SHARED
) -> tuple[Config, dict[str, Domain]]:
    names = [f"d{i}" for i in range(count)]
    first, last = shared if count > 1 else (0, 0)
    config = tiny.config(
        "domains={" + ", ".join(f"{n}: {{dataset: tiny}}" for n in names) + "}",
        *(f"{team}.architecture={{name: upsampling, width: {width}}}" for team in DEPTHS),
        f"sharing.generator={[{'first': first}] if first else []}",
        f"sharing.discriminator={[{'last': last}] if last else []}",
        "latent.size=100",
        f"training.batch_size={batch}",
    )
    return config, {name: Domain(name, SHAPE, (-1, 1)) for name in names}


def layers(width: float) -> dict[str, list[tuple[int, int, int]]]:
    """Of one domain alone: each layer's parameters, forward operations a sample, and normalised channels."""
    config, domains = configuration(1, width)
    networks = assemble(config, domains, tiny.plugins().registry)
    found: dict[str, list[tuple[int, int, int]]] = {}
    with torch.no_grad():
        x = torch.randn(2, 100)
        for team, network in (("generator", networks.generator), ("discriminator", networks.discriminator)):
            for layer in network.layers.values():
                with FlopCounterMode(display=False) as counter:
                    x = layer(x)
                channels = sum(m.weight.numel() for m in layer.modules() if isinstance(m, DomainBatchNorm))
                parameters = sum(p.numel() for p in layer.parameters())
                found.setdefault(team, []).append((parameters, counter.get_total_flops() // 2, channels))
    return found


def expected(count: int, width: float, processes: int, shared: Shared = SHARED) -> Counts:
    """The formulas of docs/scaling.md."""
    alone = layers(width)
    first, last = shared

    def copies(team: str, number: int) -> int:
        of_all = number <= first if team == "generator" else number > DEPTHS[team] - last
        return 1 if of_all else count

    parameters = {
        team: sum(p * copies(team, i) for i, (p, _, _) in enumerate(found, 1)) for team, found in alone.items()
    }
    operations = normalised = 0
    for i, (_, forward, channels) in enumerate(alone["generator"], 1):
        # Forward, gradient of the weights, gradient of the input; z needs none. A shared prefix is computed once.
        operations += copies("generator", i) * forward * (2 if i == 1 else 3)
        normalised += copies("generator", i) * channels
    for i, (_, forward, _) in enumerate(alone["discriminator"], 1):
        # Real and generated, forward and backward; then generated again, forward and the gradient of the input.
        operations += count * forward * (6 if i == 1 else 8)
    total = sum(parameters.values())
    return Counts(
        parameters,
        16 * total + 4 * parameters["generator"],
        operations,
        (4 * parameters["discriminator"], 4 * parameters["generator"]) if processes > 1 else (),
        # Sum and squares, forward and backward.
        4 * 4 * normalised if processes > 1 else 0,
    )


def measured(count: int, width: float, batch: int, steps: int, shared: Shared = SHARED) -> tuple[Counts, int, float]:
    """What one step took, bytes a sample that it kept for its backward passes, median seconds of ``steps`` more."""
    processes = dist.get_world_size() if dist.is_initialized() else 1
    config, domains = configuration(count, width, batch, shared)
    networks = assemble(config, domains, tiny.plugins().registry)
    set_statistics(
        (networks.generator, networks.discriminator),
        Batch(config.training.batch_size, processes),
        synchronised=config.training.sync_batch_norm,
    )
    for network in (networks.generator, networks.discriminator):
        network.to(memory_format=torch.channels_last)
    average = MovingAverage({"generator": networks.generator}, 0.999)
    algorithm = make_algorithm(config, networks, lambda *_: torch.empty(0), torch.device("cpu"), processes)
    teams = algorithm.generators, algorithm.discriminators
    share = batch // processes
    z = torch.randn(share, 100)
    real = {n: torch.rand(share, *SHAPE).to(memory_format=torch.channels_last) for n in domains}
    sent, all_reduce = [], dist.all_reduce
    gradients = {team.gradients.flat.data_ptr() for team in teams}

    kept: dict[int, torch.UntypedStorage] = {}  # by address; held, so that no address comes twice

    def note(x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, nn.Parameter):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    def counting(x: torch.Tensor) -> None:
        sent.append((x.data_ptr() in gradients, x.numel() * x.element_size()))
        all_reduce(x)

    dist.all_reduce = counting
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            algorithm.step(0, z, real)
    finally:
        dist.all_reduce = all_reduce
    average.update(0)
    times = []
    for step in range(1, steps + 1):
        start = time.process_time()
        algorithm.step(step, z, real)
        average.update(step)
        times.append(time.process_time() - start)

    state = sum(team.gradients.bytes for team in teams) + bytes_of(average.networks["generator"])
    for team in teams:
        state += bytes_of(team.network)
        state += sum(x.numel() * 4 for s in team.optimizer.state.values() for x in s.values() if x.dim() > 0)
    counts = Counts(
        {team.name: sum(p.numel() for p in team.network.parameters()) for team in teams},
        state,
        step_cost(config, domains, tiny.plugins().registry),
        tuple(size for of_gradients, size in sent if of_gradients),
        sum(size for of_gradients, size in sent if not of_gradients),
    )
    return counts, sum(s.nbytes() for s in kept.values()) // share, statistics.median(times)


def bytes_of(network: nn.Module) -> int:
    return sum(p.numel() * 4 for p in network.parameters())


def table(job: tuple[tuple[int, ...], tuple[Shared, ...], float, int, int]) -> None:
    """Measure, check and print, on this process among others."""
    if "RANK" in os.environ:
        from accelerate import PartialState

        PartialState(cpu=True)
    domains, sharings, width, batch, steps = job
    processes = dist.get_world_size() if dist.is_initialized() else 1
    main = not dist.is_initialized() or dist.get_rank() == 0
    if main:
        print(
            "| N | P | shared G, D | parameters G | parameters D | state MB | kept KB a sample | Mflop a sample "
            "| N separate GANs | gradients sent KB | statistics sent KB | processor ms a step |"
        )
        print("|--:" * 12 + "|")
    for count, shared in itertools.product(domains, sharings):
        counts, kept, seconds = measured(count, width, batch, steps, shared)
        wanted = expected(count, width, processes, shared)
        if counts != wanted:
            raise SystemExit(f"N = {count}, shared {shared}: counted {counts}, the formula says {wanted}")
        config, order = configuration(count, width)
        alone = step_cost(separate(config), order, tiny.plugins().registry)
        one = step_cost(*configuration(1, width), tiny.plugins().registry)
        assert alone == count * one
        if main:
            ring = 2 * (processes - 1) / processes  # of a buffer, what each process sends in a ring
            print(
                f"| {count} | {processes} | {shared[0]}, {shared[1]} "
                f"| {counts.parameters['generator']:,} | {counts.parameters['discriminator']:,} "
                f"| {counts.state / 1e6:.2f} | {kept / 1e3:.0f} | {counts.operations / 1e6:.2f} | {alone / 1e6:.2f} "
                f"| {ring * sum(counts.sent) / 1e3:.1f} | {ring * counts.statistics / 1e3:.1f} "
                f"| {1e3 * seconds:.1f} |",
                flush=True,
            )


@click.command()
@click.option("--domains", multiple=True, default=(1, 2, 4, 8, 16), help="numbers of domains")
@click.option("--shared", type=(int, int), multiple=True, default=[SHARED], help="layers shared, of 5 and of 4")
@click.option("--processes", default=1, help="processes on this machine")
@click.option("--width", default=0.125)
@click.option("--batch", default=16)
@click.option("--steps", default=20, help="timed steps")
def main(
    domains: tuple[int, ...], shared: tuple[Shared, ...], processes: int, width: float, batch: int, steps: int
) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    if processes == 1:
        table((domains, shared, width, batch, steps))
    else:
        from accelerate import debug_launcher

        debug_launcher(table, ((domains, shared, width, batch, steps),), num_processes=processes)


if __name__ == "__main__":
    main()
