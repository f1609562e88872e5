"""A run and an export that an earlier version wrote still load, draw the same samples, and resume."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch

from coupling import load_config, load_model, train

HERE = Path(__file__).parent
MNIST = Path(os.environ.get("COUPLING_DATA", "")) / "mnist" / "train-images-idx3-ubyte.gz"


def assert_samples(model, file):
    expected = np.load(HERE / file)
    samples = model.sample(4, seed=7)
    assert list(samples) == list(expected) == ["digits", "negatives", "edges", "dark-edges"]
    for domain, drawn in samples.items():
        torch.testing.assert_close(drawn, torch.from_numpy(expected[domain]), rtol=0, atol=1e-5)


def names(file):
    with safetensors.safe_open(file, "np") as tensors:
        return sorted(tensors.keys())


@pytest.mark.parametrize("path", ["run", "run/checkpoints/step-0000003", "model.safetensors"])
def test_an_earlier_model_draws_the_same_samples(path):
    assert_samples(load_model(HERE / path), "samples.npz")


def test_a_saved_model_keeps_the_names_of_its_tensors(tmp_path):
    load_model(HERE / "run").save(tmp_path / "model.safetensors")
    assert names(tmp_path / "model.safetensors") == names(HERE / "model.safetensors")


@pytest.mark.skipif(not MNIST.is_file(), reason="the run was trained on the whole of MNIST, which is not there")
def test_an_earlier_run_resumes(tmp_path):
    shutil.copytree(HERE / "run", tmp_path / "run")
    config = load_config(tmp_path / "run" / "config.yaml", ["training.steps=6"])
    run = train(config, tmp_path / "run", resume=True)
    assert_samples(load_model(run.path, live=True), "resumed.npz")
    before, after = (tmp_path / "run" / "checkpoints" / f"step-000000{step}" for step in (3, 6))
    assert sorted(p.name for p in before.iterdir()) == sorted(p.name for p in after.iterdir())
    for file in ("model.safetensors", "state.safetensors"):
        assert names(before / file) == names(after / file)
