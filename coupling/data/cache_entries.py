"""What this package keeps in the data directory and can make again: decoded images, unfinished streams, probes.

Files of users lie there too. So a file counts only if its name and its record show that this package wrote it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coupling.data.images.cache import STALE, array_path
from coupling.system.data_directory import data_directory
from coupling.system.file_lock import FileLock

_NAME = re.compile(
    r"\.?(?P<name>[0-9a-f]{32})\."
    r"(npy|json|part|lock|journal\.json|numbers|numbers\.safetensors|safetensors)"
    r"(?P<temporary>\.[0-9a-f]{12}\.tmp)?"
)
_OWN = ("image-folder", "huggingface", "probes", "kernels")
"""Folders that hold nothing else."""

_PLACES = ("images", "frames", "dataset", "celeba", "mnist-m", "digits")
"""Entries of keys that say what the images were made of."""


@dataclass
class CacheEntry:
    """Files that belong together."""

    folder: str
    """Their folder in the data directory, with ``/``."""
    name: str
    """32 hexadecimal digits, with which the names of the files begin."""
    files: list[Path] = field(default_factory=list)
    source: str = "unknown"
    """What they were made of."""
    content: str = "incomplete"
    """What they hold, in words."""
    is_gone: bool = False
    """Whether the folder or zip that they were made of is no longer there."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(_stat(path)[0] for path in self.files)

    @property
    def modified(self) -> float:
        """Time of the last change, in seconds since 1970."""
        return max((_stat(path)[1] for path in self.files), default=0.0)

    def holder(self) -> str | None:
        """The process that writes these files now, in words; None: none does."""
        if any(path.suffix == ".tmp" and time.time() - _stat(path)[1] < STALE for path in self.files):
            return "another process"
        for path in self.files:
            if path.suffix == ".lock":
                lock = FileLock(path)
                if not lock.acquire():
                    return lock.holder()
                lock.release()
        return None

    def remove(self) -> None:
        """Delete the files; the record last, so that an interrupted call can be repeated. Raises OSError."""
        for path in sorted(self.files, key=lambda path: path.suffix == ".json"):
            path.unlink(missing_ok=True)


def cache_entries() -> list[CacheEntry]:
    """All entries in the data directory, the largest first."""
    root = data_directory("any").parent
    found: dict[tuple[str, str], CacheEntry] = {}
    for place in _folders(root):
        folder = place.relative_to(root).as_posix()
        for path in _files(place):
            if matched := _NAME.fullmatch(path.name):
                name = matched["name"]
                found.setdefault((folder, name), CacheEntry(folder, name)).files.append(path)
    return sorted((entry for entry in found.values() if _recognised(entry)), key=lambda entry: -entry.size)


def _folders(root: Path) -> Iterator[Path]:
    """Folders in the data directory, and those in them."""
    for depth in ("*", "*/*"):
        yield from sorted(path for path in root.glob(depth) if path.is_dir())


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def _recognised(entry: CacheEntry) -> bool:
    """Fill in what an entry holds; whether this package wrote it."""
    suffixes = {path.name.removeprefix(".").partition(".")[2]: path for path in entry.files}
    if "json" in suffixes and (record := _record(suffixes["json"])):
        _describe(entry, record, is_complete="npy" in suffixes)
        return True
    if entry.folder == "kernels":
        entry.source, entry.content = "this machine", "the fastest kernels"
        return True
    if entry.folder == "probes":
        entry.source, entry.content = "held-out samples", "probe of metrics"
        return True
    journal = _json(suffixes["journal.json"]) if "journal.json" in suffixes else {}
    if "rows" in journal and "stamp" in journal:
        entry.source, entry.content = str(journal["stamp"]), f"{journal['rows']:,} images of an unfinished stream"
        return True
    return entry.folder in _OWN or all(path.suffix == ".tmp" for path in entry.files)


def _record(path: Path) -> dict[str, Any] | None:
    """The record of images, if the file's name is that of its key."""
    record = _json(path)
    key = record.get("key")
    is_own = isinstance(key, dict) and array_path(path.parent, key).with_suffix(".json") == path
    return record if is_own and isinstance(record.get("shape"), list) else None


def _describe(entry: CacheEntry, record: Mapping[str, Any], *, is_complete: bool) -> None:
    key = record["key"]
    place = next((str(key[name]) for name in _PLACES if name in key), None)
    entry.source = entry.folder if place is None else place
    entry.is_gone = "images" in key and not Path(str(key["images"])).exists()
    if is_complete:
        count, height, width = record["shape"][:3]
        entry.content = f"{count:,} images of {height}x{width}"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _stat(path: Path) -> tuple[int, float]:
    """Bytes and time of the last change; 0 where the file has vanished."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0.0
    return found.st_size, found.st_mtime
