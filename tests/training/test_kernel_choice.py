"""``training.kernels: measured``: chosen once, kept with the run and the machine, the same when a run is resumed."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from coupling.data.cache_entries import cache_entries
from coupling.networks import kernels
from coupling.networks.convolutions import candidates
from coupling.runs import checkpoint
from coupling.training import kernel_choice
from coupling.training.kernel_choice import describe_machine
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny

SETTINGS = (
    "generator.architecture={name: residual, width: 0.05}",
    "discriminator.architecture={name: residual, width: 0.05}",
    "losses=[non-saturating, {name: r1, every: 3}]",
    "sharing.discriminator=[{last: 1}]",
    "training.checkpoint_every=2",
    "training.kernels=measured",
)


def run(path, steps, *, resume=False, settings=SETTINGS):
    return train(tiny.config(f"training.steps={steps}", *settings), path, resume=resume, plugins=tiny.plugins())


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A data directory in which nothing has been measured."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))


@pytest.fixture
def slow_native(monkeypatch):
    """Every shape takes the last of its ways; returns the names that were measured."""
    measured = []

    def last(operation, at, arguments):
        measured.append(f"{operation} {at}")
        return candidates(operation, at)[-1]

    monkeypatch.setattr(kernels, "_fastest", last)
    return measured


def choices(path):
    return json.loads((path / "kernels.json").read_text())


def tensors(path):
    found, _ = checkpoint.newest(path / "checkpoints")
    return found.model() | found.state(), found.progress()


def test_a_run_keeps_its_kernels_and_the_machine_remembers_them(tmp_path, slow_native):
    run(tmp_path / "one", 1)
    found = choices(tmp_path / "one")
    assert sorted(found) == sorted(slow_native)
    assert set(found.values()) == {"product", "planes"}
    assert tensors(tmp_path / "one")[1]["kernels"] == found
    slow_native.clear()
    run(tmp_path / "two", 1)
    assert slow_native == []
    assert choices(tmp_path / "two") == found
    [entry] = [entry for entry in cache_entries() if entry.folder == "kernels"]
    entry.remove()
    run(tmp_path / "three", 1)
    assert sorted(slow_native) == sorted(found)


def test_a_damaged_file_of_measurements_is_replaced(tmp_path, slow_native):
    run(tmp_path / "one", 1)
    path = kernel_choice._path(describe_machine())
    for content in ("{", "[]", '{"key": 1, "choices": {}}', json.dumps({"key": describe_machine(), "choices": [1]})):
        slow_native.clear()
        path.write_text(content)
        shutil.rmtree(tmp_path / "one")
        run(tmp_path / "one", 1)
        assert sorted(slow_native) == sorted(json.loads(path.read_text())["choices"])


def test_a_resumed_run_computes_as_it_began(tmp_path, slow_native, monkeypatch):
    run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    shutil.copytree(tmp_path / "parts", tmp_path / "unsaved")
    for folder in (tmp_path / "unsaved/checkpoints").iterdir():
        shutil.rmtree(folder)
    (tmp_path / "unsaved/summary.json").write_text('{"status": "running", "step": 0}')
    (tmp_path / "unsaved/metrics.jsonl").write_text("")
    # Now everything else is the fastest, and nothing of before is remembered.
    kernel_choice._path(describe_machine()).unlink()
    monkeypatch.setattr(kernels, "_fastest", lambda operation, at, arguments: "native")
    run(tmp_path / "parts", 4, resume=True)
    run(tmp_path / "unsaved", 4, resume=True)  # it ended before its first checkpoint
    run(tmp_path / "other", 4)
    whole, progress = tensors(tmp_path / "whole")
    for name in ("parts", "unsaved"):
        again, its_progress = tensors(tmp_path / name)
        assert its_progress["kernels"] == progress["kernels"]
        assert all(torch.equal(whole[key], again[key]) for key in whole)
    assert any(not torch.equal(whole[key], value) for key, value in tensors(tmp_path / "other")[0].items())


def test_fixed_rules_measure_nothing(tmp_path, slow_native):
    path = tmp_path / "run"
    run(path, 1, settings=SETTINGS[:-1])
    assert slow_native == []
    assert not (path / "kernels.json").exists()
    assert "kernels" not in tensors(path)[1]


def test_the_terms_of_a_real_measurement_agree_with_the_candidates(tmp_path):
    run(tmp_path / "run", 1)
    assert choices(tmp_path / "run")
    assert set(choices(tmp_path / "run").values()) <= {"native", "contiguous", "product", "planes"}
