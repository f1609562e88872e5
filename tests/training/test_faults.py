"""What goes wrong on other people's machines: nothing but the steps since the last checkpoint is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coupling.api import load_model, parse_config
from coupling.errors import InputError, RunError
from coupling.runs import checkpoint
from coupling.system.device import is_out_of_memory
from coupling.training.inputs import StepInputs
from coupling.training.trainer import train
from tests.runs.test_checkpoint import FILES, flip
from tests.support import killed_runs
from tests.support import tiny_plugin as tiny
from tests.support.killed_runs import KilledRun

SETTINGS = ("training.checkpoint_every=3", "training.log_every=2", "training.sample_every=6")


@pytest.fixture
def tmp_path():
    """A folder in memory if possible, which every user may enter."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def run(path, *overrides, resume=False, plugins=None):
    return train(tiny.config(*SETTINGS, *overrides), path, resume=resume, plugins=plugins or tiny.plugins())


def status(path):
    return json.loads((path / "summary.json").read_text())["status"]


def assert_same(one, other):
    found = [checkpoint.newest(path / "checkpoints") for path in (one, other)]
    assert [complaints for _, complaints in found] == [[], []]
    ours, theirs = (killed_runs.everything(checkpoint) for checkpoint, _ in found)
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    rows = [[json.loads(line) for line in (p / "metrics.jsonl").read_text().splitlines()] for p in (one, other)]
    assert [row | {"seconds": 0} for row in rows[0]] == [row | {"seconds": 0} for row in rows[1]]


# -- kill -9 -----------------------------------------------------------------------------------------


def kill_at_random(tmp_path, kills, seed):
    """A run killed at random moments and resumed each time: steps lost by each, kills in a checkpoint, all steps."""
    moments = random.Random(seed)
    path = tmp_path / "parts"
    slow = "losses=[non-saturating, {name: slow, seconds: 0.002}]"
    settings = (slow, "training.checkpoint_every=5", "training.log_every=1", "training.sample_every=20",
                "training.keep_checkpoints=2", "metrics=[{name: brightness, every: 7}]")  # fmt: skip
    endless = (*settings, "training.steps=100000")
    runs = [KilledRun(path, (*endless, "training.steps=6"))]
    runs += [KilledRun(path, endless, resume=True, after_seconds=moments.uniform(0.02, 0.6)) for _ in range(kills)]
    killed = killed_runs.outcomes(runs)[1:]
    assert [outcome.code for outcome in killed] == [-9] * kills
    assert [complaint for outcome in killed for complaint in outcome.complaints] == []
    lost = [outcome.progress - outcome.saved for outcome in killed]
    inside = sum(outcome.unfinished > 0 for outcome in killed)
    steps = killed_runs.progress(path) + 3
    run_all = (*settings, f"training.steps={steps}")
    whole = tmp_path / "whole"
    assert killed_runs.codes([KilledRun(path, run_all, resume=True), KilledRun(whole, run_all)]) == [0, 0]
    assert_same(tmp_path / "whole", path)
    assert list(path.rglob(".*")) == []
    return lost, inside, steps


def test_a_run_survives_a_few_kills(tmp_path):
    lost, _, _ = kill_at_random(tmp_path, 3, seed=1)
    assert max(lost) <= 5  # a checkpoint each 5 steps


@pytest.mark.slow
def test_a_run_survives_fifty_kills(tmp_path):
    lost, inside, steps = kill_at_random(tmp_path, 50, seed=0)
    assert max(lost) <= 5
    print(f"50 kills in {steps} steps, {inside} in a checkpoint; steps lost: {max(lost)} at most, {sum(lost)} in all")


# -- the disk ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_files(size):
    """Limit the size of every file to ``size`` bytes, like a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 3000, 8000])
def test_a_disk_that_fills_up_loses_no_checkpoint(tmp_path, size):
    """It fills up at several moments: nothing fits, a line, half a model, all but the optimizers."""
    settings = ("training.steps=9",)
    run(tmp_path / "whole", *settings)
    limit = contextlib.ExitStack()
    with limit, pytest.raises(RunError, match=r"cannot be written: .*continue with --resume"):
        run(
            tmp_path / "parts",
            *settings,
            plugins=tiny.AfterStep(4, lambda: limit.enter_context(small_files(size))).plugins(),
        )
    found, complaints = checkpoint.newest(tmp_path / "parts/checkpoints")
    assert (found.step, complaints) == (3, [])
    assert [p.name for p in (tmp_path / "parts/checkpoints").iterdir()] == ["step-0000003"]
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_run_on_a_full_file_system_can_be_resumed(tmp_path):
    """A real file system; the summary does not fit either. With free space, the run continues where it stopped."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a file system")
    settings = ("training.steps=30", "training.checkpoint_every=1", "training.keep_checkpoints=30")
    try:
        with pytest.raises(RunError, match=r"cannot be written: .*continue with --resume"):
            run(disk / "run", *settings)
        found, complaints = checkpoint.newest(disk / "run/checkpoints")
        assert complaints == []
        assert 3 <= found.step < 30
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        run(disk / "run", *settings, resume=True)
        run(tmp_path / "whole", *settings)
        assert_same(tmp_path / "whole", disk / "run")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)  # lazily: what was read is still mapped


DAMAGES = {
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "short": lambda file: os.truncate(file, file.stat().st_size - 2),  # without more than the manifest's line end
    "flipped": lambda file: flip(file, random.Random(file.name).randrange(file.stat().st_size)),
    "missing": lambda file: file.unlink(),
}


def test_a_damaged_checkpoint_loses_the_steps_since_the_one_before(tmp_path, capsys):
    settings = ("training.steps=9",)
    run(tmp_path / "whole", *settings)
    for name in FILES:
        for kind, damage in DAMAGES.items():
            path = tmp_path / f"{kind}-{name}"
            shutil.copytree(tmp_path / "whole", path)
            damage(path / "checkpoints/step-0000009" / name)
            run(path, *settings, resume=True)
            text = capsys.readouterr().err
            assert f"step-0000009: {name}" in text or f"{name} is missing" in text
            assert "resuming from step 6 of 9" in text
            assert_same(tmp_path / "whole", path)


def test_without_a_complete_checkpoint_nothing_is_deleted(tmp_path, capsys):
    run(tmp_path / "run", "training.steps=6")
    for file in (tmp_path / "run/checkpoints").glob("*/state.safetensors"):
        flip(file, -1)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="none of its 2 checkpoints is complete"):
        run(tmp_path / "run", "training.steps=9", resume=True)
    assert capsys.readouterr().err.count("state.safetensors was altered") == 2
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


@contextlib.contextmanager
def somebody_else(modes):
    """Give these paths these modes; root becomes another user meanwhile, so that they hold for root too."""
    before = {p: p.stat().st_mode for p in modes}
    for p, mode in modes.items():
        p.chmod(mode)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        if not os.access(torch.__file__, os.R_OK, effective_ids=True):
            pytest.skip("run as root, from packages that nobody else may read")
        yield
    finally:
        if root:
            os.seteuid(0)
        for p, mode in before.items():
            p.chmod(mode)


def read_only(path):
    """Nothing under ``path`` can be written."""
    return somebody_else({p: 0o555 if p.is_dir() else 0o444 for p in [path, *path.rglob("*")]})


def unreadable(path, *closed):
    """Everything under ``path`` can be read and written, but for what ``closed`` names."""
    modes = {p: 0o777 if p.is_dir() else 0o666 for p in [path, *path.rglob("*")]}
    return somebody_else(modes | dict.fromkeys((path / name for name in closed), 0))


def test_a_read_only_run_cannot_be_resumed(tmp_path):
    run(tmp_path / "run", "training.steps=3")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with read_only(tmp_path / "run"), pytest.raises(InputError, match="run: cannot be written: Permission denied; f"):
        run(tmp_path / "run", "training.steps=6", resume=True)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
    run(tmp_path / "run", "training.steps=6", resume=True)


def test_a_run_that_becomes_read_only_stops_and_can_be_resumed_later(tmp_path):
    run(tmp_path / "whole", "training.steps=9")
    path = tmp_path / "parts"
    closed = contextlib.ExitStack()
    with closed, pytest.raises(RunError, match=r"cannot be written: .*Permission denied.*continue with --resume"):
        run(
            path, "training.steps=9", plugins=tiny.AfterStep(4, lambda: closed.enter_context(read_only(path))).plugins()
        )
    run(path, "training.steps=9", resume=True)
    assert_same(tmp_path / "whole", path)
    assert list(path.rglob(".*")) == []


@pytest.mark.parametrize("what", [*FILES, ""])
def test_a_checkpoint_that_cannot_be_read_stops_a_resume_and_is_kept(tmp_path, what):
    """It may be complete: a run resumed from the one before would replace it in the end."""
    settings = ("training.steps=9",)
    run(tmp_path / "whole", *settings)
    path = tmp_path / "parts"
    run(path, "training.steps=6")
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    newest = f"checkpoints/step-0000006/{what}"
    with (
        unreadable(path, newest),
        pytest.raises(InputError, match="cannot be read: Permission denied; the checkpoint may"),
    ):
        run(path, *settings, resume=True)
    with unreadable(path, newest), pytest.raises(InputError, match=r"cannot be read: Permission denied; .*fix its"):
        load_model(path, plugins=tiny.plugins())
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    run(path, *settings, resume=True)
    assert_same(tmp_path / "whole", path)


@pytest.mark.parametrize("what", [".", "checkpoints", "config.yaml", "environment.json", "summary.json"])
def test_a_run_that_cannot_be_read_is_an_error_in_one_message(tmp_path, what):
    path = tmp_path / "run"
    run(path, "training.steps=3")
    with unreadable(path, what), pytest.raises(InputError, match="cannot be read: Permission denied"):
        run(path, "training.steps=6", resume=True)
    run(path, "training.steps=6", resume=True)


@pytest.mark.parametrize("steps", [6, 9])
def test_a_run_whose_checkpoints_are_gone_is_not_overwritten(tmp_path, steps):
    path = tmp_path / "run"
    run(path, "training.steps=6")
    shutil.rmtree(path / "checkpoints")
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=r"run has trained 6 steps, but its checkpoints are gone from .*restore one"):
        run(path, f"training.steps={steps}", resume=True)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert not (path / "checkpoints").exists()


def test_a_run_killed_after_a_checkpoint_that_is_gone_is_not_overwritten(tmp_path):
    path = tmp_path / "run"
    run(path, "training.steps=6")
    shutil.rmtree(path / "checkpoints")
    summary = json.loads((path / "summary.json").read_text())
    for step, status in ((3, "running"), (2, "interrupted"), (4, "failed")):
        (path / "summary.json").write_text(json.dumps(summary | {"step": step, "status": status}))
        (path / "metrics.jsonl").write_text('{"step": 2, "seconds": 1.0}\n')
        with pytest.raises(InputError, match="its checkpoints are gone"):
            run(path, "training.steps=6", resume=True)


def test_a_run_that_failed_before_its_first_checkpoint_starts_again(tmp_path, capsys):
    config = tiny.config(*SETTINGS, "training.steps=6")
    train(config, tmp_path / "whole", plugins=tiny.plugins())

    def fail():
        raise KeyError("power")

    with pytest.raises(KeyError):
        train(config, tmp_path / "parts", plugins=tiny.AfterStep(2, fail).plugins())
    train(config, tmp_path / "parts", resume=True, plugins=tiny.plugins())
    assert "no checkpoint yet: starting again from step 0" in capsys.readouterr().err
    assert_same(tmp_path / "whole", tmp_path / "parts")


# -- numbers -----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_is_named_and_not_saved(tmp_path):
    """Neither the checkpoint that is due nor the best one of a metric is saved."""
    breaking = "losses=[non-saturating, {name: breaking, step: 5}]"
    metrics = "metrics=[{name: brightness, every: 5}]"
    with pytest.raises(RunError, match="loss/generator/b/breaking is nan at step 5: the run stops"):
        run(tmp_path / "run", "training.steps=9", "training.log_every=9", breaking, metrics)
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-0000003"]
    found, complaints = checkpoint.newest(tmp_path / "run/checkpoints")
    assert complaints == []
    assert all(tensor.isfinite().all() for tensor in killed_runs.everything(found).values())
    assert status(tmp_path / "run") == "failed"


# -- data --------------------------------------------------------------------------------------------


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Two folders of eight pictures, and the configuration that trains on them."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    source = np.random.default_rng(0)
    for folder in "ab":
        (tmp_path / folder).mkdir()
        for number in range(8):
            pixels = source.integers(0, 255, (4, 4, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    domains = {d: {"dataset": {"name": "image-folder", "path": str(tmp_path / d)}} for d in "ab"}
    return tiny.values(*SETTINGS, "training.steps=9") | {"domains": domains}


def test_a_run_continues_without_its_cache_and_the_next_one_makes_it_again(tmp_path, photographs):
    config = parse_config(photographs, plugins=tiny.plugins())
    train(config, tmp_path / "whole", plugins=tiny.plugins())

    def vanish():
        shutil.rmtree(tmp_path / "data")
        raise KeyError("power")

    with pytest.raises(KeyError):
        train(config, tmp_path / "parts", plugins=tiny.AfterStep(4, vanish).plugins())
    train(config, tmp_path / "parts", resume=True, plugins=tiny.plugins())
    assert_same(tmp_path / "whole", tmp_path / "parts")
    swift = tiny.AfterStep(4, lambda: shutil.rmtree(tmp_path / "data"))
    train(config, tmp_path / "swift", plugins=swift.plugins())
    assert_same(tmp_path / "whole", tmp_path / "swift")


def test_a_data_set_without_one_of_its_images_is_another_data_set(tmp_path, photographs):
    config = parse_config(photographs, plugins=tiny.plugins())
    train(config, tmp_path / "run", plugins=tiny.plugins())
    (tmp_path / "a/3.png").unlink()
    more = config.model_copy(update={"training": config.training.model_copy(update={"steps": 12})})
    with pytest.raises(InputError, match=r"on other data:\n  domains\.a: image-folder:\w+:(\d+) of \1:\w+ -> image"):
        train(more, tmp_path / "run", resume=True, plugins=tiny.plugins())


# -- memory ------------------------------------------------------------------------------------------


def exhausted(number):
    raise {
        "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ..."),
        "numpy": MemoryError("Unable to allocate 2.00 GiB"),
    }[number]


@pytest.mark.parametrize("kind", ["GPU", "numpy", "CPU"])
def test_an_out_of_memory_error_names_the_sizes_and_what_to_lower(tmp_path, monkeypatch, kind):
    settings = ("training.steps=9",)
    run(tmp_path / "whole", *settings)
    one_step = StepInputs.take_step

    def full(inputs, step, *rest):
        if step == 4:
            torch.empty(2**55) if kind == "CPU" else exhausted(kind)
        return one_step(inputs, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(StepInputs, "take_step", full)
        with pytest.raises(RunError) as error:
            run(tmp_path / "parts", *settings)
    message = str(error.value)
    for part in (
        "out of memory at step 5 on cpu",
        "training.batch_size is 4 for each of 2 domains",
        "generators 'linear', 304 numbers; discriminators 'linear', ",
        "raise training.accumulate",
        "lower training.batch_size or the architectures' width",
        "continue with --resume",
    ):
        assert part in message
    assert "\n" not in message
    assert status(tmp_path / "parts") == "failed"
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_an_out_of_memory_error_before_the_first_step_says_when(train, monkeypatch):
    monkeypatch.setattr("coupling.training.setup.assemble", lambda *arguments: exhausted("GPU"))
    result = train("--output", "out")
    assert result.exit_code == 1
    assert "error: out of memory before the first step: training.batch_size is 4" in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("out").exists()


def test_other_errors_are_not_out_of_memory_errors():
    with pytest.raises(RuntimeError) as error:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(error.value)
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))
