"""Published files that users bring: compared with their checksum once, and found under a similar name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from coupling.errors import DataError, nearest
from coupling.system.atomic_files import write_text
from coupling.system.terminal import progress


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_PIECE = 2**22  # bytes that are read at once


def md5_of(path: Path, expected: str, note: Path) -> str:
    """The MD5 of a file, in hexadecimal digits.

    It takes seconds for each gigabyte. Therefore ``note`` remembers that the file had the ``expected`` digest, and the
    file is read again only if its size, the time of its content or that of its entry differs.

    Args:
        path: the file.
        expected: the digest of the official file.
        note: a small file that this function writes; its folder is made if necessary.

    Raises:
        DataError: the file cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        found = path.stat()
        times = {"modified": found.st_mtime_ns, "changed": found.st_ctime_ns}
        seen = {"path": str(path), "size": found.st_size, **times, "md5": expected}
        with suppress(OSError, ValueError):
            if json.loads(note.read_text("utf-8")) == seen:
                return expected
        with open(path, "rb") as file, progress(f"Checking {path}", found.st_size) as advance:
            while piece := file.read(_PIECE):
                digest.update(piece)
                advance(len(piece))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if digest.hexdigest() == expected:
        with suppress(OSError):  # a folder that cannot be written: it is read again next time
            note.parent.mkdir(parents=True, exist_ok=True)
            write_text(note, json.dumps(seen))
    return digest.hexdigest()


def similar_file(folder: Path, name: str, size: int, others: Collection[str] = ()) -> str:
    """A hint for the message that a file is missing: a file in the folder of the same size or of a similar name.

    Args:
        folder: where the file should be.
        name: its name.
        size: its size in bytes.
        others: names of files that are known for something else.

    Returns:
        A text that follows "is not there"; empty if there is no such file.
    """
    try:
        sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    except OSError:  # no such folder
        return ""
    for found, bytes_of_it in sizes.items():
        if bytes_of_it == size:
            return f", but '{found}' has its size: rename it"
    hint = nearest(name, sizes.keys() - {*others})
    return f"; {hint} Rename it if it is the official file" if hint.startswith("did you mean") else ""
