"""The image files of a folder and its subfolders."""

from __future__ import annotations

import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from coupling.data.images.files import (
    START,
    ImageFile,
    ImageFiles,
    is_hidden,
    is_image,
    kind_of,
    may_be_image,
    no_images,
    sorted_files,
    starts_as_image,
)
from coupling.data.images.image import UnreadableImage
from coupling.errors import DataError
from coupling.system.data_directory import data_directory


class FolderFiles(ImageFiles):
    """The images of a folder and its subfolders; links are followed, but not in circles.

    Hidden folders, directories of runs and sweeps, the data directory and special files (pipes, sockets, devices)
    below the folder are left out.
    """

    def __init__(self, root: Path) -> None:
        """Raises :class:`DataError` where there are none, or the folder cannot be listed."""
        self.root = root
        images: list[ImageFile] = []
        self.ignored = Counter()
        for entry in self._entries_below(root, frozenset()):
            by_content = may_be_image(entry.name)
            if not is_image(entry.name) and not by_content:
                self.ignored[kind_of(entry.name)] += 1
                continue
            if _is_special(entry):
                self.ignored["special"] += 1
                continue
            if by_content and not _starts_as_image(entry):
                self.ignored[kind_of(entry.name)] += 1
                continue
            try:
                found = entry.stat()
            except OSError:  # a link to nothing: decoding it will say so
                found = entry.stat(follow_symlinks=False)
            own_name = Path(entry.path).resolve().name if entry.is_symlink() else entry.name
            name = Path(entry.path).relative_to(root).as_posix()
            images.append(ImageFile(name, found.st_size, f"{found.st_mtime_ns} {found.st_ctime_ns}", own_name))
        if not images:
            raise no_images(root, self.ignored)
        self.files = tuple(sorted_files(images))

    def _entries_below(self, folder: Path, above: frozenset[Path]) -> Iterator[os.DirEntry[str]]:
        """Files in and under ``folder``; ``above``: the folders that it lies in, so that links lead in no circle."""
        real = folder.resolve()
        if real in above:
            return
        for entry in entries_of(folder):
            if not entry.is_dir():
                yield entry
            elif is_hidden(entry.name):
                continue
            elif kind := written_by_coupling(Path(entry.path)):
                self.ignored[kind] += 1
            else:
                yield from self._entries_below(Path(entry.path), above | {real})

    @contextmanager
    def open(self, index: int) -> Iterator[BinaryIO]:
        """Image ``index``."""
        name = self.files[index].name
        try:
            file = open(self.root / name, "rb")  # noqa: SIM115  (errors of the block are not those of opening)
        except OSError as error:
            raise UnreadableImage(f"{name}: {error.strerror or error}") from error
        with file:
            yield file

    def _start(self, index: int) -> bytes | None:
        try:
            with self.open(index) as file:
                return file.read(4096)
        except (OSError, UnreadableImage):
            return None

    def _checksum(self, index: int) -> int | None:
        try:
            with self.open(index) as file:
                return zlib.crc32(file.read())
        except (OSError, UnreadableImage):
            return None


def written_by_coupling(folder: Path) -> str | None:
    """The kind of a folder whose files `coupling` wrote and that are no samples; None: it is another folder."""
    if (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir():
        return "run directory"
    if (folder / "sweep.yaml").is_file() and (folder / "table.md").is_file():
        return "sweep directory"
    return "data directory" if folder.resolve() == data_directory("any").resolve().parent else None


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether a file is a pipe, a socket or a device: reading one may wait forever."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # a link to nothing is named when it is decoded
        return False
    return not stat.S_ISREG(mode)


def _starts_as_image(entry: os.DirEntry[str]) -> bool:
    try:
        with open(entry.path, "rb") as file:
            return starts_as_image(file.read(START))
    except OSError:
        return False


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """The files and folders in ``folder``; raises :class:`DataError` where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror or error}") from error
