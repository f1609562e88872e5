"""What FSDP2 (``torch.distributed.fsdp.fully_shard``) makes of a team, on two CPU processes (docs/scaling.md).

    python -m tests.benchmarks.fsdp2

Three partially shared domains without batch normalisation, float64, each process with half of the batch, against one
process with all of it. Prints a Markdown table: relative errors, or how it failed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from tests.support import launched_runs as processes

HALVES = [slice(0, processes.BATCH // 2), slice(processes.BATCH // 2, processes.BATCH)]
Networks = tuple[nn.Module, nn.Module]


def samples(own: slice) -> tuple[Tensor, dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(5)
    z = torch.randn(processes.BATCH, 5, generator=draw, dtype=torch.float64)
    shape = (processes.BATCH, 1, processes.SIDE, processes.SIDE)
    real = {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name in processes.NAMES}
    return z[own], {name: x[own] for name, x in real.items()}


def adversarial(teams: Networks, own: slice) -> None:
    """Forward through both teams, and back through both."""
    z, _ = samples(own)
    generators, discriminators = teams
    logits = discriminators(None, generators(z), [])[1]
    torch.stack([nn.functional.softplus(-x).mean() for x in logits.values()]).sum().backward()


def generators_step(teams: Networks, own: slice) -> None:
    """The generators' half of a step, by Adam, through frozen discriminators."""
    generators, discriminators = teams
    for parameter in discriminators.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam(generators.parameters(), lr=0.05)
    adversarial(teams, own)
    optimizer.step()


def penalty(teams: Networks, own: slice) -> None:
    """R1: the gradient of a squared gradient."""
    _, real = samples(own)
    for x in real.values():
        x.requires_grad_(True)
    logits = teams[1](real, {name: x.detach() for name, x in real.items()}, [])[0]
    slopes = torch.autograd.grad(
        torch.stack([x.sum() for x in logits.values()]).sum(), list(real.values()), create_graph=True
    )
    torch.stack([slope.square().sum((1, 2, 3)).mean() for slope in slopes]).sum().backward()


def sharded(teams: Networks, *, by_layer: bool, keep: bool = False) -> None:
    """Cut each team in two, whole or layer by layer; ``keep``: weights once gathered stay so to the step's end."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for network in teams:
        parts = [*network.layers.values()] if by_layer else []  # type: ignore[operator, union-attr]
        for module in (*parts, network):
            fully_shard(module, mesh=mesh, reshard_after_forward=not keep)
            if keep:
                module.set_reshard_after_backward(False)  # type: ignore[operator]
        assert isinstance(network, FSDPModule)


def whole(x: Tensor | None) -> Tensor | None:
    """All of a tensor of which this process may hold a part."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def compared(do: Callable[[Networks, slice], None], *, weights: bool, **cut: bool) -> str:
    """The largest relative error of gradients (or weights) after ``do``, as text."""
    alone, teams = processes.networks(False), processes.networks(False)
    do(alone, slice(None))
    sharded(teams, **cut)
    try:
        do(teams, HALVES[dist.get_rank()])
    except RuntimeError as error:
        return f"fails: {str(error).splitlines()[0][:70]}"
    for module in (m for team in teams for m in team.modules() if isinstance(m, FSDPModule)):
        module.reshard()  # else what is seen are the gathered weights, which have no gradients
    worst = 0.0
    for expected, found in zip(alone, teams, strict=True):
        for one, other in zip(expected.parameters(), found.parameters(), strict=True):
            if not weights and one.grad is None:
                continue
            ours, theirs = (whole(p if weights else p.grad) for p in (other, one))
            if ours is None:
                return "a parameter got no gradient, silently"
            worst = max(worst, ((ours - theirs).norm() / theirs.norm().clamp(min=1e-12)).item())
    return f"{'weights' if weights else 'gradients'} agree to {worst:.0e}"


def table() -> None:
    """Every line, on this process among others."""
    processes.connect()
    lines = []
    for title, do, weights in [
        ("one forward and backward through both teams", adversarial, False),
        ("Adam's step of the generators through frozen discriminators", generators_step, True),
        ("R1, a second derivative", penalty, False),
    ]:
        for how, cut in [
            ("teams cut whole", {"by_layer": False}),
            ("cut by layer", {"by_layer": True}),
            ("cut by layer, resharded at the end of the step", {"by_layer": True, "keep": True}),
        ]:
            lines.append(f"| {title} | {how} | {compared(do, weights=weights, **cut)} |")
    if dist.get_rank() == 0:
        print("| | how | result |\n|---|---|---|", *lines, sep="\n")


def main() -> None:
    """Print the table."""
    from accelerate import debug_launcher

    debug_launcher(table, num_processes=2)


if __name__ == "__main__":
    main()
