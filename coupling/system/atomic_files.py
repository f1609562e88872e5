"""Files that are replaced at once: a reader finds the old file or the new one, never a part.

Each is written under another name in its own directory, synced to the disk, and then renamed. If the process or the
machine stops meanwhile, at most a file ``.<name>.<hexadecimal>.tmp`` stays, which no reader takes for the real one and
:func:`remove_torn` removes.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from coupling.errors import CouplingError, InputError

P = TypeVar("P", Path, str)


_WINDOWS = os.name == "nt"


@contextmanager
def writing(path: P, fix: str = "", error: type[CouplingError] = InputError) -> Iterator[P]:
    """A block that writes ``path``; an operating-system error in it becomes "PATH: cannot be written: REASON; FIX".

    ``with writing(file, "give another --output"): write_bytes(file, content)``

    Args:
        path: a file or a folder, or a few words that name what is written. The block gets it: ``as path``.
        fix: what the user can do about it.
        error: the kind of error to raise.

    Raises:
        InputError: or the given ``error``, in place of an OSError.
    """
    try:
        yield path
    except OSError as reason:
        hint = f"; {fix}" if fix else ""
        raise error(f"{path}: cannot be written: {reason.strerror or reason}{hint}") from None


OTHER_OUTPUT = "give another --output"
"""The fix where a command's option names what cannot be written."""


def try_writing(folder: Path) -> None:
    """Try to write into a folder, or into the one that it would be made in; nothing is left. Raises OSError."""
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    with tempfile.TemporaryFile(dir=place):
        pass


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, seek in: it becomes ``path`` when the block ends well, and vanishes when it does not.

    Raises OSError where it cannot be written; ``path`` is then as it was.
    """
    # A name of its own: two processes may write the same file at once.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):  # gone already if all went well
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all: a reader finds the old content or the new one. Raises OSError.

    Args:
        path: the file; an existing one is replaced.
        content: its content.
    """
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Replace a file by UTF-8 text, completely or not at all; raises OSError."""
    write_bytes(path, printable(text).encode())


def printable(text: str) -> str:
    """Text that UTF-8 can encode: undecodable bytes of file names are escaped."""
    return text.encode(errors="backslashreplace").decode()


def remove_torn(folder: Path, name: str = "*", older_than: float = 0.0) -> None:
    """Remove what killed processes have left in ``folder``: of the file ``name``, or of all.

    It also removes the file of a process that still writes. So either hold a lock on the folder, or give
    ``older_than``: seconds for which no writing process pauses. Raises OSError if a file cannot be removed.
    """
    for torn in folder.glob(f".{name}.*.tmp"):
        with suppress(FileNotFoundError):  # another process was quicker
            if not older_than or time.time() - torn.stat().st_mtime > older_than:
                torn.unlink()


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's names, are on the disk.

    Windows opens no directory, and syncs a file only if it is open for writing.
    """
    if _WINDOWS and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if _WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
