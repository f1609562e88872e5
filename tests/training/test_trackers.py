"""Trackers: what TensorBoard, wandb, trackio and MLflow get of a run, without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import coupling
from coupling.errors import InputError
from coupling.training.trackers import TrackedRun
from tests.conftest import TINY
from tests.support import tiny_plugin as tiny

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

SETTINGS = ("training.steps=4", "training.log_every=2", "training.sample_every=2", "training.checkpoint_every=2")


def train(path, *overrides, **options):
    config = tiny.config(*SETTINGS, "trackers=[tensorboard]", "metrics=[{name: brightness, domain: a}]", *overrides)
    return coupling.train(config, path, plugins=tiny.plugins(), **options)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run's directory, and what TensorBoard shows of it."""
    folder = tmp_path_factory.mktemp("tracked")
    before = Path.cwd()
    os.chdir(folder)
    try:
        path = train(folder / "runs" / "tiny-001").path
    finally:
        os.chdir(before)
    assert {p.name for p in folder.iterdir()} == {"runs"}
    return path, EventAccumulator(str(path / "tensorboard"), size_guidance={"images": 0}).Reload()


def test_tensorboard_writes_one_file_in_one_folder_of_the_run(tracked):
    path, _ = tracked
    [event] = [p for p in path.rglob("*") if "tfevents" in p.name]
    assert event.parent == path / "tensorboard"
    assert list((path / "tensorboard").iterdir()) == [event]


def test_tensorboard_gets_losses_and_scores(tracked):
    path, found = tracked
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [e.step for e in found.Scalars("loss/generator/a")] == [2, 4]
    for tag in ("loss/generator/a", "brightness/a"):
        values = {e.step: e.value for e in found.Scalars(tag)}
        assert values == pytest.approx({line["step"]: line[tag] for line in lines if tag in line}, rel=1e-5)


def test_tensorboard_gets_the_pictures_of_the_run(tracked):
    path, found = tracked
    assert [e.step for e in found.Images("samples")] == [0, 2, 4]
    for event in found.Images("samples"):
        shown = path / "shown.png"
        shown.write_bytes(event.encoded_image_string)
        file = path / "samples" / f"step-{event.step:07d}.png"
        assert np.array_equal(np.asarray(Image.open(shown)), np.asarray(Image.open(file).convert("RGB")))


def test_tensorboard_gets_the_configuration_as_text_and_as_hyperparameters(tracked):
    path, found = tracked
    [text] = found.Tensors("configuration/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert yaml.safe_load(shown) == yaml.safe_load((path / "config.yaml").read_text())
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["training.steps"].number_value == 4
    assert values["domains.a.dataset.name"].string_value == "tiny"
    assert values["training.compile"].string_value == "false"
    assert values["optimizer.betas.0"].number_value == 0.5


def test_a_resumed_run_replaces_the_steps_after_its_checkpoint(tmp_path):
    path = train(tmp_path / "run").path
    for file in (path / "checkpoints").glob("step-0000004/*"):
        file.write_bytes(b"")
    train(path, resume=True)
    found = EventAccumulator(str(path / "tensorboard")).Reload()
    assert [e.step for e in found.Scalars("loss/generator/a")] == [2, 4]


def test_a_tracker_that_fails_in_training_is_left_out_with_one_warning(tmp_path, monkeypatch, capfd):
    def fail(*_, **__):
        raise ConnectionError("server gone")

    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.log", fail)
    assert train(tmp_path / "run").read_json("summary.json")["status"] == "finished"
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: trackers")]
    assert len(warnings) == 1
    assert "tensorboard failed and gets nothing more: ConnectionError: server gone" in warnings[0]


def test_trackers_that_started_are_ended_if_another_cannot_start(tmp_path, monkeypatch):
    closed = []

    def fail(*_, **__):
        raise ConnectionError("no API key configured")

    monkeypatch.setattr("accelerate.tracking.WandBTracker.start", fail)
    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.finish", lambda self: closed.append(self))
    monkeypatch.setattr("coupling.training.launch.check_trackers", lambda names: None)
    with pytest.raises(
        InputError, match=r"^trackers: wandb cannot be started: .*no API key.*; log in, or leave it out"
    ):
        train(tmp_path / "run", "trackers=[tensorboard, wandb]")
    assert len(closed) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/faces-001", "faces-001"),
        ("elsewhere/mine", "mine"),
        ("sweeps/grid/runs/generator=1-2/width=4/seed-0", "generator=1-2-width=4-seed-0"),
        ("/data/runs/old/runs/faces-002", "faces-002"),
        ("runs", "runs"),
    ],
)
def test_the_name_in_the_project_is_that_of_the_directory(path, name):
    assert TrackedRun(tiny.config(), Path(path), "now", 0).name == name


def test_a_run_keeps_its_identity_and_shares_it_with_no_other():
    def identity(path="runs/a", started="2026-11-29", seed=0, step=0):
        return TrackedRun(tiny.config(f"seed={seed}"), Path(path), started, step).identity

    assert identity() == identity(step=3) == identity(path="elsewhere/runs/a")
    assert len({identity(), identity(path="runs/b"), identity(started="2026-11-30"), identity(seed=1)}) == 4


# -- other trackers, each in a process of its own: their libraries start threads and warn ------------------------------


def trained(folder, tracker, **variables):
    """Train with a tracker in another process; its output."""
    folder.mkdir(exist_ok=True)
    values = tiny.values(*SETTINGS, f"trackers=[{tracker}]")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "coupling", "run", "tiny.yaml", "--plugin", TINY]
    home = {"HOME": str(folder), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **home, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "failed and gets nothing more" not in done.stderr, done.stderr
    return folder / "runs" / "tiny-001"


@pytest.mark.slow
def test_wandb_gets_the_run_offline(tmp_path):
    pytest.importorskip("wandb")
    path = trained(tmp_path, "wandb", WANDB_MODE="offline", WANDB_SILENT="true")
    [session] = (path / "wandb").glob("offline-run-*")
    content = next(session.glob("*.wandb")).read_bytes()
    assert b"tiny-001" in content
    assert b"batch_size" in content
    assert b"loss/generator/a" in content
    images = sorted(p.name for p in (session / "files" / "media" / "images").glob("samples_*.png"))
    assert [int(name.split("_")[1]) for name in images] == [0, 2, 4]


@pytest.mark.slow
def test_trackio_gets_the_run(tmp_path):
    pytest.importorskip("trackio")
    trained(tmp_path, "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    assert (tmp_path / "trackio" / "tiny.db").is_file()


@pytest.mark.slow
def test_mlflow_gets_the_run(tmp_path):
    pytest.importorskip("mlflow")
    trained(tmp_path, "mlflow", MLFLOW_TRACKING_URI=f"file://{tmp_path}/mlruns", MLFLOW_ALLOW_FILE_STORE="true")
    runs = [p.parent for p in (tmp_path / "mlruns").rglob("params")]
    [run] = runs
    assert (run / "params" / "training.steps").read_text() == "4"
    assert (run / "tags" / "mlflow.runName").read_text() == "tiny-001"
    assert (run / "metrics" / "loss" / "generator" / "a").is_file()
    assert len(list((run / "artifacts" / "samples").iterdir())) == 3
