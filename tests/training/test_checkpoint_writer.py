"""A checkpoint is written while the next steps compute, with the guarantees of one that they wait for."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from coupling.errors import RunError
from coupling.runs import checkpoint
from coupling.runs.checkpoint import Snapshot
from coupling.system.signals import Interrupted
from coupling.training.checkpoint_writer import CheckpointWriter
from coupling.training.inputs import StepInputs
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny
from tests.training.test_prefetch import assert_same

SETTINGS = ("training.steps=9", "training.checkpoint_every=3", "training.log_every=5", "training.sample_every=9")
"""Step 3 is saved; step 4 writes nothing; step 5 writes a line."""


def run(path, *overrides, plugins=None, resume=False):
    return train(tiny.config(*SETTINGS, *overrides), path, plugins=plugins or tiny.plugins(), resume=resume)


def summary(path):
    return json.loads((path / "summary.json").read_text())


_write = Snapshot.write


class Held:
    """The checkpoint of step 3 is not written before ``until`` steps have begun; then ``write`` is called."""

    def __init__(self, monkeypatch, until, write=_write):
        self.begun, self.until = 0, until
        self.ready = threading.Event()
        self.seen = []
        """The steps that had begun when the writing began, and the lines of the log when it had ended."""
        one_step = StepInputs.take_step

        def stepping(inputs, step, *rest):
            self.begun = step + 1
            if self.begun >= until:
                self.ready.set()
            return one_step(inputs, step, *rest)

        def held(snapshot, folder):
            if snapshot.step != 3:
                return _write(snapshot, folder)
            assert self.ready.wait(60)
            self.seen.append(self.begun)
            made = write(snapshot, folder)
            log = folder.parent / "metrics.jsonl"
            self.seen.append(log.read_text() if log.exists() else "")
            self.seen.append(summary(folder.parent)["step"])
            return made

        monkeypatch.setattr(StepInputs, "take_step", stepping)
        monkeypatch.setattr(Snapshot, "write", held)


def full(snapshot, folder):
    raise RunError(f"{folder}: cannot be written: No space left on device; continue with --resume")


def test_steps_go_on_but_write_nothing_before_the_checkpoint_is_there(tmp_path, monkeypatch):
    """What a kill leaves tells of no step from which the run could not be known to have a checkpoint."""
    run(tmp_path / "whole")
    held = Held(monkeypatch, until=5)
    run(tmp_path / "run")
    assert held.seen == [5, "", 0]
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("until", [4, 5])
def test_an_error_of_the_writer_ends_the_run_at_its_step(tmp_path, monkeypatch, until):
    run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        Held(patch, until, full)
        with pytest.raises(RunError, match=r"cannot be written: No space left on device; .*continue with --resume"):
            run(tmp_path / "run")
    assert (summary(tmp_path / "run")["status"], summary(tmp_path / "run")["step"]) == ("failed", 3)
    assert not (tmp_path / "run/metrics.jsonl").exists()
    run(tmp_path / "run", resume=True)  # although it has no checkpoint: it is not taken for one whose files are gone
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_an_error_of_the_last_checkpoint_is_the_runs(tmp_path, monkeypatch):
    def last(snapshot, folder):
        return (full if snapshot.step == 9 else _write)(snapshot, folder)

    with monkeypatch.context() as patch:
        patch.setattr(Snapshot, "write", last)
        with pytest.raises(RunError, match="No space left"):
            run(tmp_path / "run")
    assert summary(tmp_path / "run")["status"] == "failed"
    assert checkpoint.newest(tmp_path / "run/checkpoints")[0].step == 6


def test_an_error_of_a_step_lets_the_checkpoint_be_completed(tmp_path, monkeypatch):
    run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        held = Held(patch, until=4)
        one_step = StepInputs.take_step

        def failing(inputs, step, *rest):
            losses = one_step(inputs, step, *rest)
            if step == 3:
                raise KeyError("a bug in a plugin")
            return losses

        patch.setattr(StepInputs, "take_step", failing)
        with pytest.raises(KeyError):
            run(tmp_path / "run")
    assert held.seen[0] == 4
    assert checkpoint.newest(tmp_path / "run/checkpoints")[0].step == 3
    assert [p.name for p in (tmp_path / "run").rglob(".*")] == []
    run(tmp_path / "run", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_signal_waits_for_its_checkpoint(tmp_path, monkeypatch):
    slow = threading.Event()

    def slowly(snapshot, folder):
        slow.wait(0.3)
        return _write(snapshot, folder)

    monkeypatch.setattr(Snapshot, "write", slowly)
    stop = tiny.AfterStep(5, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match="SIGTERM at step 5: saved in"):
        run(tmp_path / "run", plugins=stop.plugins())
    assert checkpoint.newest(tmp_path / "run/checkpoints")[0].step == 5
    assert (summary(tmp_path / "run")["status"], summary(tmp_path / "run")["step"]) == ("interrupted", 5)


def test_old_checkpoints_stay_until_the_new_one_is_on_the_disk(tmp_path, monkeypatch):
    there = []

    def noted(snapshot, folder):
        before = sorted(p.name for p in Path(folder).glob("step-*"))
        made = _write(snapshot, folder)
        there.append((before, sorted(p.name for p in Path(folder).glob("step-*"))))
        return made

    monkeypatch.setattr(Snapshot, "write", noted)
    run(tmp_path / "run", "training.keep_checkpoints=1")
    names = [f"step-{n:07d}" for n in (3, 6, 9)]
    assert there == [([], names[:1]), (names[:1], names[:2]), (names[1:2], names[1:])]
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == names[2:]


def test_callbacks_of_later_steps_find_the_checkpoint(tmp_path, monkeypatch):
    Held(monkeypatch, until=5)
    found = []

    class Callback:
        def after_step(self, run, step):
            found.append((step, sorted(p.name for p in run.checkpoints.glob("step-*"))))

        def after_training(self, run):
            found.append(("end", sorted(p.name for p in run.checkpoints.glob("step-*"))))

    train(tiny.config(*SETTINGS), tmp_path / "run", plugins=tiny.plugins(), callbacks=[Callback()])
    names = [f"step-{n:07d}" for n in (3, 6, 9)]
    assert found == [(5, names[:1]), (9, names[:2]), ("end", names)]


def test_the_copy_is_that_of_its_step(tmp_path, monkeypatch):
    """The steps after it change the weights, moments and averages in place."""
    run(tmp_path / "short", "training.steps=3")
    Held(monkeypatch, until=5)
    run(tmp_path / "run")
    ours, theirs = (checkpoint.verified(tmp_path / n / "checkpoints/step-0000003") for n in ("run", "short"))
    for one, other in ((ours.model(), theirs.model()), (ours.state(), theirs.state())):
        assert all((one[name] == other[name]).all() for name in other)
    assert ours.metadata()["step"] == 3


def test_a_writer_that_failed_can_write_again():
    writer, done = CheckpointWriter(), []
    writer.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.finish()
    writer.finish()
    writer.start(lambda: done.append(1))
    writer.finish()
    assert (done, writer.pending, writer.done) == ([1], False, False)
