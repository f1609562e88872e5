"""Several processes compute what one computes; processes that are not connected are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from coupling import checkpoint
from coupling.errors import ConfigError, RunError
from coupling.trainer import Trainer, train
from tests import tiny

CONFIG = (
    # SGD: Adam would hide a gradient that is a constant times too large.
    "optimizer={name: sgd, lr: 0.2}",
    "losses=[wasserstein, {name: r1, every: 2}]",
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
    return plain | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning"} | changes


def launch(config, path, *arguments, processes=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    command += ["-m", "coupling", "run", config, "--plugin", tiny.__file__, "--output", path, *arguments]
    return subprocess.run(
        list(map(str, command)), env=environment(ACCELERATE_USE_CPU="true", PYTHONWARNINGS="default"),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def tensors(path):
    found, complaints = checkpoint.newest(path / "checkpoints")
    assert complaints == []
    return found.model()


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_equal_one_and_so_does_a_run_that_goes_on(tmp_path):
    """Partial sharing among three domains, penalties, plain SGD, no batch normalisation: weights to 1e-6."""
    config = tmp_path / "config.yaml"
    config.write_text(tiny.config(*CONFIG).yaml())
    train(tiny.config(*CONFIG), tmp_path / "one", plugins=tiny.plugins())
    ended = launch(config, tmp_path / "two", "--set", "training.steps=3")
    assert ended.returncode == 0, ended.stderr
    ended = launch(config, tmp_path / "two", "--resume")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "two/environment.json").read_text())["num_processes"] == 2

    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert list(one) == list(two)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)
    start = Trainer(tiny.config(*CONFIG), tiny.plugins()).networks.generator.state_dict()
    moved = max((one[f"generator.{name}"] - tensor).abs().max().item() for name, tensor in start.items())
    assert moved > 1e-3  # else anything would be equal

    for ours, theirs in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=False):
        if ours["step"] > 2:
            break  # the first part ended at step 3, which is logged
        assert ours == pytest.approx(theirs | {"seconds": ours["seconds"]}, rel=1e-4, abs=1e-5)
    assert rows(tmp_path / "two")[-1] == pytest.approx(
        rows(tmp_path / "one")[-1] | {"seconds": rows(tmp_path / "two")[-1]["seconds"]}, rel=1e-4, abs=1e-5
    )


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
