"""Locks that the operating system releases when their holder ends, by kill -9 or a crash too.

A lock is on a file, which also names the holder. A file that a dead process left names it, but locks nothing. Locks
hold among the processes of one machine, and among machines if the file system passes them on (NFS from Linux does).
Where a file system has no locks, a warning takes the lock's place.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from datetime import datetime
from pathlib import Path
from time import sleep

from filelock import lock_descriptor

from coupling.errors import InputError
from coupling.system.terminal import warn

FILE = ".lock"
"""The name of the lock's file in the directory that it locks."""


_LOCKED = 1
"""Bytes at the file's start that Windows lets nobody read while they are locked: a blank before the holder's name."""


class FileLock:
    """A lock on a file, which is made if needed and removed at the release."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Take the lock, unless another process has it; whether it was taken. Raises OSError."""
        while self._handle is None:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                locked = _lock(handle, self.path)
            except BaseException:
                os.close(handle)
                raise
            if not locked:
                os.close(handle)
                return False
            if not self._is_current(handle):  # its holder has removed it before it was locked here
                os.close(handle)
                continue
            self._handle = handle
            try:
                _write_holder(handle)
            except BaseException:
                self.release()
                raise
        return True

    def wait(self) -> None:
        """Take the lock as soon as no other process has it. Raises OSError."""
        while not self.acquire():
            sleep(_PAUSE)

    def holder(self) -> str:
        """Who holds the lock, as its file tells: "process 123 on host, since 2026-07-01 12:00:00"."""
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(_LOCKED)
                values = json.loads(file.read())
            since = datetime.fromisoformat(values["since"])
            return f"process {values['pid']} on {values['host']}, since {since:%Y-%m-%d %H:%M:%S}"
        except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or is just ending
            return "another process"

    def release(self) -> None:
        """Let others have the lock. A second call does nothing."""
        if self._handle is None:
            return
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # it is gone, or stays and locks nothing
                self.path.unlink()  # while it is locked: it cannot be another process's
        os.close(self._handle)
        self._handle = None
        if sys.platform == "win32":  # an open file cannot be removed there, so nobody can have opened it again
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _is_current(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except FileNotFoundError:
            return False


class RunLock:
    """The lock of a directory that one process at a time writes into, until :meth:`release` or the process's end."""

    def __init__(self, folder: Path) -> None:
        """Raises :class:`InputError` naming the holder, or OSError if the lock's file cannot be written."""
        self._lock = FileLock(folder / FILE)
        if not self._lock.acquire():
            raise _in_use(self._lock)

    def release(self) -> None:
        """Let others have the directory. A second call does nothing."""
        self._lock.release()


def check_not_in_use(folder: Path) -> None:
    """Raise :class:`InputError` if a living process holds ``folder``; does not take the lock."""
    lock = FileLock(folder / FILE)
    try:
        handle = os.open(lock.path, os.O_RDONLY)
    except OSError:  # there is none; other errors are reported when the lock is taken
        return
    try:
        if not _lock(handle, lock.path):
            raise _in_use(lock)
    finally:
        os.close(handle)


def _in_use(lock: FileLock) -> InputError:
    return InputError(f"{lock.path.parent}: in use by {lock.holder()}: wait for it or end it, or give another --output")


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


_TRIALS, _PAUSE = 3, 0.05
"""A process that only looks holds the lock for an instant; so try again after these seconds."""


def _lock(handle: int, path: Path) -> bool:
    """Lock an open file; whether that succeeded. Warns if the file system has no locks, and answers True."""
    try:
        for trial in range(_TRIALS):
            if lock_descriptor(handle, blocking=False):
                return True
            if trial + 1 < _TRIALS:
                sleep(_PAUSE)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warn(f"{path.parent}: this file system has no locks; make sure that no other process writes here")
        return True
    return False


def _write_holder(handle: int) -> None:
    """Write this process's name into the lock's file."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    values = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(handle, 0)
    os.write(handle, b" " * _LOCKED + json.dumps(values).encode())
