"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from coupling.errors import DataError, InputError
from coupling.system.atomic_files import remove_torn, replacing, sync, try_writing, write_bytes, write_text, writing

WRITES = {
    "text": lambda path: write_text(path, "new " * 5000),
    "bytes": lambda path: write_bytes(path, b"new " * 5000),
}


def test_the_file_holds_the_written_content(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "Fräulein")
    assert path.read_bytes() == "Fräulein".encode()
    write_bytes(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert list(tmp_path.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask  # as any file


def test_a_file_gets_its_name_when_all_is_written(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"0123456789")
        file.seek(2)
        file.write(b"xx")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"01xx456789"


@pytest.mark.parametrize("error", [KeyError("a bug"), KeyboardInterrupt()])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def writing():
        with replacing(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)):
        writing()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("size", [0, 1, 9000])
def test_a_full_disk_leaves_the_old_file(tmp_path, kind, size):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            WRITES[kind](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """Else a crash of the machine could leave an empty file under the name."""
    calls = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(("synced", os.fstat(handle).st_size)), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda self, path: (calls.append("named"), replace(self, path)))
    write_bytes(tmp_path / "file", b"12345")
    assert calls == [("synced", 5), "named"]
    sync(tmp_path)
    sync(tmp_path / "file")
    assert len(calls) == 4


def test_two_that_write_at_once_do_not_mix(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_a_torn_file_that_no_reader_takes_and_sweeping_removes(tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(b"old")
    program = (
        "import os, pathlib, signal, sys; from coupling.system.atomic_files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, path], check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (torn,) = set(tmp_path.iterdir()) - {path}
    assert torn.read_bytes() == b"new"
    assert torn not in set(tmp_path.glob("[!.]*"))
    (tmp_path / ".hidden").touch()
    remove_torn(tmp_path, "other.json")
    remove_torn(tmp_path, older_than=60)  # its writer might still live
    assert torn.exists()
    os.utime(torn, (0, 0))
    remove_torn(tmp_path, path.name, older_than=60)
    assert {p.name for p in tmp_path.iterdir()} == {"file.json", ".hidden"}
    for moment in (0, 2**32):  # also where the clock of a file server goes ahead
        torn.touch()
        os.utime(torn, (moment, moment))
        remove_torn(tmp_path)
        assert {p.name for p in tmp_path.iterdir()} == {"file.json", ".hidden"}


def test_a_missing_folder_is_an_error(tmp_path):
    for write in WRITES.values():
        with pytest.raises(FileNotFoundError):
            write(tmp_path / "missing" / "file")
    with contextlib.suppress(FileNotFoundError):
        remove_torn(tmp_path / "missing")


def test_an_error_while_writing_names_the_path_the_reason_and_the_fix(tmp_path):
    file = tmp_path / "missing" / "file"
    with pytest.raises(InputError) as caught, writing(file, "give another --output") as path:
        write_bytes(path, b"new")
    assert str(caught.value) == f"{file}: cannot be written: No such file or directory; give another --output"
    with pytest.raises(DataError) as without_fix, writing(file, error=DataError):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(without_fix.value) == f"{file}: cannot be written: No space left on device"
    with pytest.raises(InputError, match="the page: cannot be written: torn; again"), writing("the page", "again"):
        raise OSError("torn")  # without a number


def test_other_errors_while_writing_are_not_changed(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError("a bug")
    with pytest.raises(DataError, match="in the block"), writing(tmp_path):
        raise DataError("in the block")


def test_trying_to_write_leaves_nothing_behind(tmp_path):
    try_writing(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError):
        try_writing(tmp_path / "file" / "folder")
