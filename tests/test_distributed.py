"""Several processes compute what one computes; processes that are not connected are refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from coupling import checkpoint
from coupling.errors import ConfigError, RunError
from coupling.interruption import Interrupted
from coupling.trainer import Trainer, train
from tests import tiny

CONFIG = (
    # SGD: Adam would hide a gradient that is a constant times too large.
    "optimizer={name: sgd, lr: 0.02, momentum: 0.5}",
    "losses=[{name: wasserstein, penalty: 1}, {name: r1, every: 2}, head]",
    "domains.c.dataset={name: tiny, count: 13, pool: other}",
    "sharing.generator=[{first: 1}, {layers: [2], domains: [a, b]}]",
    "sharing.discriminator=[{last: 1}, {layers: [2], domains: [b, c]}]",
    "training.steps=5",
    "training.batch_size=8",
    "training.checkpoint_every=3",
    "metrics=[{name: brightness, every: 2}]",
)


def environment(**changes):
    """This process's environment without what another launcher may have left in it."""
    launch = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    plain = {k: v for k, v in os.environ.items() if k not in launch}
    return plain | {"OMP_NUM_THREADS": "1"} | changes


def run(*runs):
    """Runs, each the arguments of :func:`work`, on two processes: a small launcher that imports torch once."""
    command = [sys.executable, "-W", "error", __file__, json.dumps(runs, default=str)]
    root = str(Path(__file__).parents[1])
    ended = subprocess.run(
        command, env=environment(PYTHONPATH=root), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr


def work(path, overrides, resume, interrupt):
    """One process of a run. ``interrupt``: the process that gets SIGTERM, and in which step (from 0)."""
    one_step = Trainer._one_step

    def step(trainer):
        if [trainer.rank, trainer.step] == interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_step(trainer)

    Trainer._one_step = step
    with pytest.raises(Interrupted, match="SIGTERM at step 2") if interrupt else contextlib.nullcontext() as ended:
        train(tiny.config(*overrides), path, resume=resume, plugins=tiny.plugins())
    assert not interrupt or ended.value.exit_code == 143


def tensors(path):
    found, complaints = checkpoint.newest(path / "checkpoints")
    assert complaints == []
    return found.model()


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_equal_one_and_going_on_equals_one_go(tmp_path):
    """Partial sharing among three domains, penalties, plain SGD, no batch normalisation; a signal to one process."""
    one, two, parts = (tmp_path / name for name in ("one", "two", "parts"))
    train(tiny.config(*CONFIG), one, plugins=tiny.plugins())
    run(
        {"path": two, "overrides": CONFIG, "resume": False, "interrupt": None},
        {"path": parts, "overrides": CONFIG, "resume": False, "interrupt": [1, 1]},
        {"path": parts, "overrides": CONFIG, "resume": True, "interrupt": None},
    )
    for path, processes in ((one, 1), (two, 2), (parts, 2)):
        assert json.loads((path / "environment.json").read_text())["num_processes"] == processes
    for ours, theirs in zip(rows(two), rows(one), strict=True):
        assert ours == pytest.approx(theirs | {"seconds": ours["seconds"]}, rel=1e-4, abs=1e-5)

    one, two, parts = map(tensors, (one, two, parts))
    assert list(one) == list(two) == list(parts)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(parts[name], two[name]), name
    start = Trainer(tiny.config(*CONFIG), tiny.plugins()).networks.generator.state_dict()
    moved = max((one[f"generator.{name}"] - tensor).abs().max().item() for name, tensor in start.items())
    assert moved > 1e-3  # else anything would be equal


@pytest.mark.slow
def test_the_command_under_a_launcher(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(tiny.config("training.steps=2").yaml())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += ["-m", "coupling", "run", str(config), "--plugin", tiny.__file__, "--output", str(tmp_path / "run")]
    ended = subprocess.run(
        command, env=environment(ACCELERATE_USE_CPU="true"), capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [str(tmp_path / "run")]  # the main process alone speaks
    assert json.loads((tmp_path / "run/environment.json").read_text())["num_processes"] == 2
    assert [row["step"] for row in rows(tmp_path / "run")] == [2]


def test_processes_that_are_not_connected_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match=r"launched as 2 processes, but they are not connected.*ACCELERATE_USE_CPU=true"):
        Trainer(tiny.config(), tiny.plugins())


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", 3)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match=r"training\.batch_size: 4 cannot be divided among 3 processes"):
        Trainer(tiny.config(), tiny.plugins())


if __name__ == "__main__":
    import torch._dynamo  # as the first step of an optimizer would: once, not in every process
    from accelerate import debug_launcher

    for arguments in json.loads(sys.argv[1]):
        debug_launcher(work, tuple(arguments.values()), num_processes=2)
