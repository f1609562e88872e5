"""A run directory belongs to one living process; a dead one's lock is none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from coupling.errors import InputError
from coupling.runs.directory import RunDirectory
from coupling.system.file_lock import FILE, RunLock, check_not_in_use
from coupling.training.trainer import Trainer
from tests.conftest import refused
from tests.support import tiny_plugin as tiny


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path):
    lock = RunLock(tmp_path)
    whose = rf"in use by process {os.getpid()} on {socket.gethostname()}"
    for take in (RunLock, check_not_in_use):
        with pytest.raises(InputError, match=whose):
            take(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []
    check_not_in_use(tmp_path)
    RunLock(tmp_path).release()


def test_to_look_is_not_to_take(tmp_path):
    check_not_in_use(tmp_path)
    (tmp_path / FILE).write_text("")
    check_not_in_use(tmp_path)
    RunLock(tmp_path).release()


def test_a_holder_that_has_not_written_its_name_holds_all_the_same(tmp_path):
    lock = RunLock(tmp_path)
    (tmp_path / FILE).write_text("")
    with pytest.raises(InputError, match="in use by another process"):
        RunLock(tmp_path)
    lock.release()


def test_a_lock_whose_file_was_deleted_under_us_is_taken_anew(tmp_path, monkeypatch):
    """The holder deletes the file and lets go between our opening and locking it: ours would lock nothing."""
    (tmp_path / FILE).write_text("")
    flock, calls = fcntl.flock, []

    def late(handle, kind):
        if not calls:
            (tmp_path / FILE).unlink()
        calls.append(kind)
        flock(handle, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = RunLock(tmp_path)
    assert len(calls) == 2
    with pytest.raises(InputError):
        RunLock(tmp_path)
    lock.release()


def test_a_file_system_without_locks_is_remarked_and_used(tmp_path, monkeypatch, capsys):
    def none(handle, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    RunLock(tmp_path).release()
    assert "knows no locks" in capsys.readouterr().err


def hold(folder):
    """Another process that holds ``folder`` until it is killed."""
    imports = "from pathlib import Path; from coupling.system.file_lock import RunLock"
    code = f"{imports}; lock = RunLock(Path({str(folder)!r}))"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print('held', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_of_a_living_process_is_refused_and_that_of_a_killed_one_is_not(train):
    assert train("--output", "out").exit_code == 0
    assert not Path("out", FILE).exists()
    before = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    with hold("out") as holder:
        try:
            message = refused(train("training.steps=4", "--output", "out", "--resume"), "out: in use by process")
            assert f"process {holder.pid} on {socket.gethostname()}" in message
            assert {p: p.read_bytes() for p in before} == before
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
    assert json.loads(Path("out", FILE).read_text())["pid"] == holder.pid  # stale: the kernel has taken it back
    result = train("training.steps=4", "--output", "out", "--resume")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("out/summary.json").read_text())["step"] == 4
    assert not Path("out", FILE).exists()


def test_a_new_run_is_held_from_its_first_file_to_its_end(tmp_path):
    run = RunDirectory.create(tiny.config(), tmp_path / "run")
    with pytest.raises(InputError, match="in use by process"):
        RunLock(tmp_path / "run")
    run.release()
    run.release()
    RunLock(tmp_path / "run").release()


def test_two_that_start_at_once_do_not_share_a_directory(tmp_path, monkeypatch):
    """Both have seen an empty directory; the second comes when the first is at work, or has even ended."""
    monkeypatch.setattr(RunDirectory, "_make", staticmethod(lambda config, output: output))
    path = tmp_path / "run"
    path.mkdir()
    first = RunDirectory.create(tiny.config(), path)
    with pytest.raises(InputError, match="in use by process"):
        RunDirectory.create(tiny.config("seed=1"), path)
    first.release()
    with pytest.raises(InputError, match="exists already"):
        RunDirectory.create(tiny.config("seed=1"), path)
    assert "seed: 0" in (path / "config.yaml").read_text()
    RunLock(path).release()  # none of them has kept it


def test_a_run_that_cannot_begin_lets_go(tmp_path):
    """In a notebook the process lives on after a refusal."""
    config = tiny.config("training.steps=2")
    trainer = Trainer(config, tiny.plugins())
    trainer.open(tmp_path / "run", resume=False)
    trainer.run()
    again = Trainer(tiny.config("training.steps=1"), tiny.plugins())
    with pytest.raises(InputError, match="is less than the 2 steps"):
        again.open(tmp_path / "run", resume=True)
    RunLock(tmp_path / "run").release()
    assert "steps: 2" in (tmp_path / "run/config.yaml").read_text()
