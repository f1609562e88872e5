"""The images of CelebA, as they lie on disk: in the zip or in a folder.

A worker process needs one image at a time, from anywhere. Python's zipfile would have each of them
read the directory of all 202,599 first (two seconds and 80 MB); so that is done once, and a worker
is sent where each image begins.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupling import DataError, print_line
from coupling_faces.lists import FaceList
from coupling_faces.official_files import IMAGES, find, reject_cut, reject_other_zip, reject_page

_HEADER = struct.Struct("<4s22xHH")  # of a member: signature, ..., lengths of its name and of its extra field
_ENCRYPTED = 1  # a bit of a member's flags
_REPACK = "pack the images anew, or unpack them into a folder"


@dataclass(frozen=True, eq=False)
class FolderImages:
    """Image files in a folder."""

    path: Path
    names: tuple[str, ...]
    content: str
    """Digest of the files' names and sizes."""
    identity: str
    """A text that also depends on their places and times of change."""

    def __call__(self, number: int) -> bytes:
        """The file of image ``number``. Raises :class:`DataError` where it cannot be read."""
        path = self.path / self.names[number]
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error

    def place(self, number: int) -> str:
        """Name of image ``number`` in messages."""
        return str(self.path / self.names[number])


@dataclass(frozen=True, eq=False)
class ZipImages:
    """Image files in a zip, stored or deflated, read from where they begin."""

    path: Path
    names: tuple[str, ...]
    """Names of the members."""
    begins: NDArray[np.int64]
    """Offset of each member's local header, in bytes."""
    packed: NDArray[np.int64]
    """Bytes of each, as they lie in the zip."""
    deflated: NDArray[np.bool_]
    checks: NDArray[np.uint32]
    """CRC-32 of each member's content."""
    content: str
    """Digest of those."""

    def __call__(self, number: int) -> bytes:
        """The file of image ``number``. Raises :class:`DataError` where it is not what the zip's directory says."""
        try:
            with open(self.path, "rb") as file:
                file.seek(int(self.begins[number]))
                signature, name, extra = _HEADER.unpack(file.read(_HEADER.size))
                file.seek(name + extra, os.SEEK_CUR)
                content = file.read(int(self.packed[number]))
            if self.deflated[number]:
                content = zlib.decompress(content, -zlib.MAX_WBITS)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except (struct.error, zlib.error):
            signature = b""
        if signature != b"PK\3\4" or zlib.crc32(content) != self.checks[number]:
            raise DataError(f"{self.place(number)}: is damaged in the zip (its CRC-32 is wrong); get the zip again")
        return content

    @property
    def identity(self) -> str:
        """Other files, another text."""
        return self.content

    def place(self, number: int) -> str:
        """Name of image ``number`` in messages."""
        return f"{self.path}: {self.names[number]}"


Images = FolderImages | ZipImages


def images_of(folder: Path, faces: FaceList, verify: bool, notes: Path) -> Images:
    """The images that ``faces`` lists, in that order; looked up once, however many domains ask for them.

    ``notes``: where to note that the zip was verified. Raises :class:`DataError` where there are no
    images, the zip is damaged, cut off and, if ``verify``, not the official one, and where images
    of the list are missing.
    """
    path = find(folder, IMAGES)
    if path.is_dir():
        return _folder(path, faces, path.stat().st_mtime_ns)
    return _zip(path, folder, faces, verify, notes, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _folder(path: Path, faces: FaceList, modified: int) -> FolderImages:
    if (path / path.name).is_dir():  # as some unpack it
        path = path / path.name
    try:
        with os.scandir(path) as entries:
            files = {entry.name: entry for entry in entries if entry.name.endswith(".jpg")}
        _reject_missing(path, faces, files)
        content, changes = sha256(), sha256(str(path).encode("utf-8", "surrogatepass"))
        for name in faces.names:
            found = files[name].stat()
            if not stat.S_ISREG(found.st_mode):  # reading a pipe may wait forever
                raise DataError(f"{path / name}: is not a regular file; get the images again")
            content.update(f"{name}:{found.st_size}\n".encode())
            changes.update(f"{found.st_mtime_ns} {found.st_ctime_ns}\n".encode())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return FolderImages(path, faces.names, content.hexdigest(), content.hexdigest() + changes.hexdigest())


@lru_cache(maxsize=2)
def _zip(path: Path, folder: Path, faces: FaceList, verify: bool, notes: Path, modified: int) -> ZipImages:
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            reject_page(path, file.read(1024), folder)
        if verify and size < IMAGES.size:
            reject_cut(path, f"{size:,}", f"{IMAGES.size:,} bytes", folder)
        with zipfile.ZipFile(path) as opened:
            members = {member.filename.rpartition("/")[2]: member for member in opened.infolist()}
    except zipfile.BadZipFile:
        raise DataError(
            f"{path}: is not a zip, or has lost its end, where the directory is ({size:,} bytes; the official one has "
            f"{IMAGES.size:,}); get it again"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    _reject_missing(path, faces, members)
    chosen = [members[name] for name in faces.names]
    for member in chosen:
        if member.flag_bits & _ENCRYPTED:
            raise DataError(f"{path}: {member.filename} is encrypted; {_REPACK}")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{path}: {member.filename} is compressed in a way that is not deflate; {_REPACK}")
    if verify:
        reject_other_zip(path, notes)
    return ZipImages(
        path,
        tuple(member.filename for member in chosen),
        np.array([member.header_offset for member in chosen], np.int64),
        np.array([member.compress_size for member in chosen], np.int64),
        np.array([member.compress_type == zipfile.ZIP_DEFLATED for member in chosen], np.bool_),
        np.array([member.CRC for member in chosen], np.uint32),
        sha256(repr([(member.CRC, member.file_size) for member in chosen]).encode()).hexdigest(),
    )


def _reject_missing(path: Path, faces: FaceList, there: dict[str, Any]) -> None:
    """Raise :class:`DataError` where images of the list are missing; say how many others are not in the list."""
    missing = [name for name in faces.names if name not in there]
    if missing:
        raise DataError(
            f"{path}: lacks {len(missing):,} of the {len(faces.names):,} images of {faces.path.name}, '{missing[0]}' "
            f"for one; unpack {IMAGES.name} anew, put the zip itself there, or bring the list that goes with the images"
        )
    others = sum(name.endswith(".jpg") for name in there.keys() - set(faces.names))
    if others:
        print_line(f"{path}: {others:,} images that {faces.path.name} does not name are left out")
