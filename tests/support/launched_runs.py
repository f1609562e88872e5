"""Work for several processes, and what tests compare of it: one step's gradients, its traffic, whole runs.

``python tests/support/launched_runs.py JOBS`` is a small launcher that imports torch once: each job is
``[function of this module, its keyword arguments]`` and is done by two processes together.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.distributed as dist
from torch import nn

from coupling.domain import Domain
from coupling.errors import RunError
from coupling.losses.adversarial import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticPairing,
    Wasserstein,
)
from coupling.losses.matching import DistanceConsistency, FeatureMatching, MinimalChange
from coupling.losses.penalties import R1, R2
from coupling.losses.recovery import CodeRecovery
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator
from coupling.networks.layers import Deconvolution, PReLU
from coupling.networks.normalisation import DomainBatchNorm
from coupling.networks.trial import try_discriminators
from coupling.networks.weights import fingerprint
from coupling.sharing.graph import Rule, SharingGraph
from coupling.system.signals import Interrupted
from coupling.training import setup
from coupling.training.algorithm import Algorithm1
from coupling.training.inputs import StepInputs
from coupling.training.state import TrainingState
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny
from tests.support.teams import make_team

BATCH = 8
SIDE = 4
NAMES = ("a", "b", "c")
LOSSES = {
    "non-saturating": [NonSaturating],
    "minimax": [Minimax],
    "least-squares + r1": [LeastSquares, R1],
    "hinge": [Hinge],
    "wasserstein + penalty": [Wasserstein],
    "relativistic-pairing + r1 + r2": [RelativisticPairing, R1, R2],
    "terms between domains": [
        NonSaturating,
        functools.partial(FeatureMatching, half="both", normalise="cosine", weight=1.0),
        functools.partial(MinimalChange, size=2),
        functools.partial(CodeRecovery, numbers=3),
    ],
}
WHOLE = {
    "terms of several samples": [
        NonSaturating,
        functools.partial(FeatureMatching, half="both", normalise="variance", weight=1.0),
        DistanceConsistency,
    ]
}
"""Losses that several samples of a micro-batch enter together."""


def environment(**changes):
    """This process's environment without what another launcher may have left in it."""
    launch = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "GROUP_", "ACCELERATE_", "OMPI_", "PMI_", "MV2_", "SLURM_")
    plain = {k: v for k, v in os.environ.items() if not k.startswith(launch)}
    return plain | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])} | changes


def on_two(*jobs, warnings="error", timeout=200):
    """Do jobs, each ``(function, its keyword arguments)``, by two processes."""
    named = [(function.__name__, arguments) for function, arguments in jobs]
    command = [sys.executable, "-W", warnings, __file__, json.dumps(named, default=str)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout, check=False)
    assert ended.returncode == 0, ended.stderr


def connect():
    from accelerate import PartialState

    PartialState(cpu=True)
    assert processes() == 2


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def processes():
    return dist.get_world_size() if dist.is_initialized() else 1


# -- one step ----------------------------------------------------------------------------------


class Recorder(torch.optim.SGD):
    """SGD that keeps the gradients it was given."""

    def step(self, closure=None):
        self.seen = [p.grad.clone() for group in self.param_groups for p in group["params"]]
        return super().step(closure)


def networks(batch_norm, *, joint=False, names=NAMES, kind=torch.float64):
    """Convolutional teams, partially shared: the same for every process."""
    torch.manual_seed(1)

    def part(layer, channels):
        return nn.Sequential(layer, *[nn.BatchNorm2d(channels)] * batch_norm, PReLU()).to(kind)

    generators, discriminators = {}, {}
    for name in names:
        generators[name] = [
            nn.Sequential(nn.Unflatten(1, (5, 1, 1)), part(Deconvolution(5, 4, 2), 4)),
            part(Deconvolution(4, 3, 2, 2), 3),
            nn.Sequential(nn.Conv2d(3, 1, 1), nn.Tanh()).to(kind),
        ]
        discriminators[name] = [
            part(nn.Conv2d(1, 4, 2, 2), 4),
            part(nn.Conv2d(4, 5, 2), 5),
            nn.Sequential(nn.Flatten(), nn.Linear(5, 1)).to(kind),
        ]
    some = tuple(names[:2]), tuple(names[-2:])
    rules = {
        "generator": [Rule(first=1), Rule(layers=(2,), domains=some[0])],
        "discriminator": [Rule(last=1), Rule(layers=(2,), domains=some[1])],
    }
    graphs = {
        team: SharingGraph(team, dict.fromkeys(names, 3), rules[team], same_input=team == "generator") for team in rules
    }
    return (
        CoupledGenerator(graphs["generator"], generators, joint_statistics=joint),
        CoupledDiscriminator(graphs["discriminator"], discriminators, joint_statistics=joint),
    )


def algorithm(teams, losses, *, accumulate=1, fresh=False):
    """Algorithm 1 on this process's part of the batch; returns what does one step."""
    kind = next(teams[0].parameters()).dtype
    count = processes()
    own = slice(rank() * BATCH // count, (rank() + 1) * BATCH // count)

    def drawn(seed, *shape):
        return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(kind)

    def uniform(step, purpose, numbers):
        seed = sum(map(ord, purpose)) + step
        noise = torch.rand(BATCH, numbers, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return noise.to(kind)[own]

    for module in (m for team in teams for m in team.modules() if isinstance(m, DomainBatchNorm)):
        module.synchronised = count > 1
    names = teams[0].graph.domains
    losses = {f"{number} of {len(losses)}": loss() for number, loss in enumerate(losses)}
    domains = [Domain(n, (1, SIDE, SIDE), (-1, 1)) for n in names]
    taps = {layer for loss in losses.values() for layer in loss.taps()}
    shapes = try_discriminators(copy.deepcopy(teams[1]).float(), {d.name: d for d in domains}, 1, taps)
    for loss in losses.values():
        loss.open(domains, shapes, losses)
        loss.to(kind)
    made = Algorithm1(
        domains,
        *(make_team(network, losses, lambda p: Recorder(p, lr=0.05), count) for network in teams),
        losses,
        autocast=contextlib.nullcontext,
        uniform=uniform,
        accumulate=accumulate,
    )
    real = {name: i + drawn(i, 1, SIDE, SIDE)[own] for i, name in enumerate(names)}
    return made, lambda: made.step(0, drawn(100, 5)[own], real, drawn(200, 5)[own] if fresh else None)


def gradients(losses, **options):
    """{team: its gradients in one row, team + " statistics": its running statistics, "losses": their means}."""
    settings = {key: options.pop(key) for key in ("accumulate", "fresh") if key in options}
    made, step = algorithm(networks(**options), (LOSSES | WHOLE)[losses], **settings)
    record = step()
    found = {"losses": torch.stack([record[name] for name in sorted(record)]).double() / processes()}
    if processes() > 1:
        dist.all_reduce(found["losses"])
    for team in (made.generators, made.discriminators):
        found[team.name] = torch.cat([gradient.flatten() for gradient in team.optimizer.seen])
        statistics = [buffer.flatten() for buffer in team.network.buffers()]
        if statistics:
            found[f"{team.name} statistics"] = torch.cat(statistics)
    return found


def write_gradients(job):
    """Each process's gradients of each case, as ``<case number>-<process>.safetensors``."""
    connect()
    for number, case in enumerate(job["cases"]):
        case = dict(case, kind=getattr(torch, case["kind"]))
        safetensors.torch.save_file(gradients(**case), Path(job["folder"]) / f"{number}-{rank()}.safetensors")


# -- traffic -----------------------------------------------------------------------------------

COLLECTIVES = ("all_gather", "all_gather_into_tensor", "broadcast", "reduce", "reduce_scatter_tensor", "all_to_all")


def record_collectives(patch, sent):
    """Note the bytes of each all-reduce; any other collective by its name."""
    real = dist.all_reduce
    for name in COLLECTIVES:
        patch.setattr(dist, name, lambda *a, name=name, **k: sent.append(name))
    patch.setattr(dist, "all_reduce", lambda x: (sent.append(x.numel() * x.element_size()), real(x)))


def write_traffic(job):
    """For each case: the teams' bytes, and what each collective of one step sent."""
    connect()
    found = []
    for case in job["cases"]:
        case = dict(case, names=tuple(case["names"]), kind=torch.float32)
        losses, accumulate = LOSSES[case.pop("losses")], case.pop("accumulate", 1)
        made, step = algorithm(networks(**case), losses, accumulate=accumulate)
        sent = []
        with pytest.MonkeyPatch.context() as patch:
            record_collectives(patch, sent)
            step()
        teams = made.discriminators.network, made.generators.network
        unique = [sum(p.numel() * 4 for p in {id(p): p for p in t.parameters()}.values()) for t in teams]
        found.append({"unique": unique, "sent": sent})
    if rank() == 0:
        Path(job["path"]).write_text(json.dumps(found))


# -- runs --------------------------------------------------------------------------------------


def run(job):
    """One process of a run.

    ``interrupt``: the process that gets SIGTERM, and in which step (from 0). ``overflow``: likewise, the process of
    whose samples the discriminators' gradients are infinite; every one's weights are then written to
    ``<path>-weights-<process>``. ``backend``: of torch.compile. ``data``: the data directory.
    """
    interrupt = job.get("interrupt")
    one_step = StepInputs.take_step

    def take_step(inputs, step, algorithm, average):
        if [inputs.batch.rank, step] == interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
        if [inputs.batch.rank, step] == job.get("overflow"):
            _overflow_once(algorithm.discriminators.gradients)
        record = one_step(inputs, step, algorithm, average)
        if "overflow" in job:
            Path(f"{job['path']}-weights-{rank()}").write_text(fingerprint(algorithm.f))
        return record

    written, teams = [], []
    if "writes" in job:
        sys.addaudithook(lambda event, arguments: written.append(_written(event, arguments, job["path"])))
    with pytest.MonkeyPatch.context() as patch:
        if "data" in job:
            patch.setenv("COUPLING_DATA", job["data"])
        patch.setattr(StepInputs, "take_step", take_step)
        if "backend" in job:
            compiled = functools.partial(torch.compile, backend=job["backend"])
            patch.setattr(torch, "compile", lambda network: teams.append(network) or compiled(network))
        with pytest.raises(Interrupted, match="SIGTERM at step 2") if interrupt else contextlib.nullcontext() as ended:
            train(tiny.config(*job["overrides"]), job["path"], resume=job.get("resume", False), plugins=tiny.plugins())
    assert not interrupt or ended.value.exit_code == 143
    assert len(teams) == 2 * ("backend" in job)
    if "writes" in job:
        Path(f"{job['writes']}-{rank()}").write_text("\n".join(filter(None, written)))


def _overflow_once(buffer):
    average = buffer.average

    def overflowed():
        buffer.average = average
        buffer.flat[0] = float("inf")
        average()

    buffer.average = overflowed


def _written(event, arguments, folder):
    """The path below ``folder`` that an audit event changes, if it does."""
    changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (
        event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    return str(arguments[0]) if changes and str(arguments[0]).startswith(str(folder)) else None


def disagree(job):
    """Process 1 starts from other weights."""
    connect()
    real = setup.assemble

    def assembled(*arguments):
        made = real(*arguments)
        next(made.discriminator.parameters()).data.view(-1)[0] += 1e-3 * rank()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "assemble", assembled)
        with pytest.raises(RunError) as raised:
            train(tiny.config(), Path(job["path"]) / "run", plugins=tiny.plugins())
    (Path(job["path"]) / f"message-{rank()}").write_text(str(raised.value))


def disagree_on_resume(job):
    """Process 1 reads other weights than the main one."""
    connect()
    restore = TrainingState.restore

    def restored(self, found):
        restore(self, found)
        next(self.networks.generator.parameters()).data.view(-1)[0] += 1e-3 * rank()

    with pytest.MonkeyPatch.context() as patch:
        longer = tiny.config(*job["overrides"], "training.steps=6")
        patch.setattr(TrainingState, "restore", restored)
        with pytest.raises(RunError) as raised:
            train(longer, Path(job["path"]), resume=True, plugins=tiny.plugins())
    Path(f"{job['path']}-message-{rank()}").write_text(str(raised.value))


def die(job):
    """Process 1 kills itself in its third step; the other ends as the command would."""
    one_step = StepInputs.take_step
    path = Path(job["path"])

    def take_step(inputs, step, *rest):
        if (inputs.batch.rank, step) == (1, 2):
            (path.parent / "died").write_text(str(time.monotonic()))
            os.kill(os.getpid(), signal.SIGKILL)
        return one_step(inputs, step, *rest)

    StepInputs.take_step = take_step
    try:
        train(tiny.config(), path, plugins=tiny.plugins())
    except RunError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    import torch._dynamo  # as the first step of an optimizer would: once, not in every process
    from accelerate import debug_launcher

    for name, job in json.loads(sys.argv[1]):
        if "WORLD_SIZE" in os.environ:  # already launched
            globals()[name](job)
        else:
            debug_launcher(globals()[name], (job,), num_processes=2)
