"""A run directory belongs to one living process; the lock of a dead one holds nobody off."""

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
from coupling.system import file_lock
from coupling.system.file_lock import FILE, FileLock, RunLock, check_not_in_use
from coupling.training.recorder import open_run
from coupling.training.setup import set_up
from coupling.training.trainer import Trainer
from tests.conftest import rejected
from tests.support import tiny_plugin as tiny


def test_a_second_holder_is_rejected_with_the_name_of_the_first(tmp_path):
    lock = RunLock(tmp_path)
    whose = rf"in use by process {os.getpid()} on {socket.gethostname()}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d: wait"
    for take in (RunLock, check_not_in_use):
        with pytest.raises(InputError, match=whose):
            take(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []
    check_not_in_use(tmp_path)
    RunLock(tmp_path).release()


def test_a_check_does_not_take_the_lock(tmp_path):
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


def test_a_lock_is_taken_again_if_its_file_was_deleted_meanwhile(tmp_path, monkeypatch):
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


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, capsys):
    number = errno.ENOLCK

    def none(handle, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    RunLock(tmp_path).release()
    assert capsys.readouterr().err.startswith(f"warning: {tmp_path}: this file system has no locks; ")
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        RunLock(tmp_path)


def test_a_holder_that_cannot_write_its_name_leaves_no_lock(tmp_path, monkeypatch):
    def full(handle, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            RunLock(tmp_path)
    assert list(tmp_path.iterdir()) == []
    RunLock(tmp_path).release()


def test_two_checks_at_once_do_not_take_each_other_for_a_holder(tmp_path, monkeypatch):
    (tmp_path / FILE).write_text("")
    other = os.open(tmp_path / FILE, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr(file_lock, "sleep", lambda seconds: fcntl.flock(other, fcntl.LOCK_UN))
    check_not_in_use(tmp_path)
    os.close(other)


def test_a_lock_that_is_waited_for_is_had_when_its_holder_is_killed(tmp_path):
    lock = FileLock(tmp_path / FILE)
    with hold(tmp_path) as holder:
        try:
            assert not lock.acquire()
            assert lock.holder().startswith(f"process {holder.pid} on ")
        finally:
            holder.send_signal(signal.SIGKILL)
    lock.wait()
    assert lock.holder().startswith(f"process {os.getpid()} on ")
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_the_first_byte_is_blank_as_windows_lets_nobody_read_it(tmp_path):
    lock = RunLock(tmp_path)
    assert (tmp_path / FILE).read_bytes()[:2] == b" {"
    lock.release()


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


def test_a_run_of_a_living_process_is_not_resumed_and_that_of_a_killed_one_is(train):
    assert train("--output", "out").exit_code == 0
    assert not Path("out", FILE).exists()
    before = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    with hold("out") as holder:
        try:
            message = rejected(train("training.steps=4", "--output", "out", "--resume"), "out: in use by process")
            assert f"process {holder.pid} on {socket.gethostname()}" in message
            assert {p: p.read_bytes() for p in before} == before
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
    assert json.loads(Path("out", FILE).read_text())["pid"] == holder.pid  # stale: the system has released the lock
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
    """In a notebook the process lives on after an error."""
    config = tiny.config("training.steps=2")
    session = set_up(config, tiny.plugins())
    Trainer(session, open_run(session, tmp_path / "run", resume=False)).run()
    again = set_up(tiny.config("training.steps=1"), tiny.plugins())
    with pytest.raises(InputError, match="is less than the 2 steps"):
        open_run(again, tmp_path / "run", resume=True)
    RunLock(tmp_path / "run").release()
    assert "steps: 2" in (tmp_path / "run/config.yaml").read_text()
