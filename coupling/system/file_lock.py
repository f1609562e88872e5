"""One process trains in a run directory: a lock that the kernel takes back when its holder ends.

It is ``flock`` on ``<run>/.lock``, a file that names the holder. However a process ends, kill -9 and
a crash too, its lock ends with it: a file that a dead one left is stale and locks nothing. Locks hold
among the processes of one machine, and among machines where the file system passes them on (NFS
from Linux does); one that knows no locks gets a remark instead of a lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from pathlib import Path

from coupling.errors import InputError
from coupling.system.terminal import print_line

FILE = ".lock"


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class RunLock:
    """Holds a run directory until :meth:`release`, or the process's end."""

    def __init__(self, folder: Path) -> None:
        """Raises :class:`InputError` naming the holder, or OSError where the file cannot be written."""
        self.path = folder / FILE
        self._handle: int | None = self._acquire()

    def release(self) -> None:
        """Let others have the directory. A second call does nothing."""
        if self._handle is not None:
            with contextlib.suppress(OSError):  # gone, or it stays and is stale
                self.path.unlink()  # while it is locked: nobody else's
            os.close(self._handle)
            self._handle = None

    def _acquire(self) -> int:
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _flock(handle, fcntl.LOCK_EX, self.path)
                if self._is_current(handle):  # else its holder deleted it between our opening and locking
                    os.ftruncate(handle, 0)
                    os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _is_current(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except FileNotFoundError:
            return False


def check_not_in_use(folder: Path) -> None:
    """Raise :class:`InputError` where a living process holds ``folder``; takes nothing."""
    try:
        handle = os.open(folder / FILE, os.O_RDONLY)
    except OSError:  # none there; what else is wrong is said when the lock is taken
        return
    try:
        _flock(handle, fcntl.LOCK_SH, folder / FILE)
    finally:
        os.close(handle)


def _flock(handle: int, kind: int, path: Path) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{path.parent}: in use by {_holder(path)}: wait for it or end it, or give another --output"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print_line(f"{path.parent}: this file system knows no locks; see that no other process writes here")


def _holder(path: Path) -> str:
    """Who holds the lock, as its file says."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or is just ending
        return "another process"
