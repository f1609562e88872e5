"""The image files of a zip."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

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

# All that zipfile raises for bytes that are damaged or packed in a way it does not know.
_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    OSError,
    RuntimeError,
    ValueError,
)
_LARGEST = 2**29  # bytes of one image file in a zip, at most: a zip may promise any size


class ZipFiles(ImageFiles):
    """The images of a zip, read where they lie: nothing is unpacked to disk, so no path in it can do harm."""

    def __init__(self, root: Path) -> None:
        """Raises :class:`DataError` where it is damaged, or there are no images in it."""
        self.root = root
        self._archive: zipfile.ZipFile | None = None
        self.ignored = Counter()
        members: dict[str, zipfile.ZipInfo] = {}
        for member in self._opened().infolist():
            name = member.filename.replace("\\", "/")
            *folders, own_name = [part for part in name.split("/") if part not in ("", ".", "..")] or [""]
            if member.is_dir() or any(is_hidden(folder) for folder in folders):
                continue
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            if is_link or not (is_image(own_name) or (may_be_image(own_name) and self._starts_as_image(member))):
                self.ignored["link" if is_link else kind_of(own_name)] += 1
                continue
            if name in members:  # the later one replaces the earlier: so any unpacker has it
                self.ignored["replaced"] += 1
            members[name] = member
        self.close()
        if not members:
            raise no_images(root, self.ignored)
        files = [ImageFile(name, m.file_size, str(m.CRC), name.rpartition("/")[2]) for name, m in members.items()]
        self.files = tuple(sorted_files(files))
        self._members = [members[file.name] for file in self.files]

    @contextmanager
    def open(self, index: int) -> Iterator[BinaryIO]:
        """Image ``index``, in memory: its checksum is known to hold only once it was read to its end."""
        member, name = self._members[index], self.files[index].name
        if member.flag_bits & 0x1:
            raise UnreadableImage(f"{name}: is encrypted; pack the images again without a password")
        if member.file_size > _LARGEST:
            raise UnreadableImage(
                f"{name}: unpacks to {member.file_size:,} bytes, more than any image here ({_LARGEST:,})"
            )
        try:
            content = self._opened().read(member)
        except _ERRORS as error:
            raise UnreadableImage(f"{name}: {error}") from error
        with BytesIO(content) as file:
            yield file

    def _starts_as_image(self, member: zipfile.ZipInfo) -> bool:
        try:
            with self._opened().open(member) as file:
                return starts_as_image(file.read(START))
        except _ERRORS:
            return False

    def _start(self, index: int) -> bytes | None:
        return None

    def _checksum(self, index: int) -> int | None:
        return self._members[index].CRC

    def close(self) -> None:
        """Close the zip."""
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def _opened(self) -> zipfile.ZipFile:
        if self._archive is None:
            try:
                self._archive = zipfile.ZipFile(self.root)
            # The archive's list of members is missing, of an unknown kind, or holds impossible numbers.
            except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
                raise DataError(f"{self.root}: {_damage(self.root)} ({error}); download or pack it again") from None
            except OSError as error:
                raise DataError(f"{self.root}: cannot be read: {error.strerror or error}") from None
        return self._archive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None}  # another process opens it for itself


def _damage(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip()
    except OSError:
        return "not a zip"
    if start.startswith(b"<"):
        return "not a zip but a web page that was saved under its name"
    return "a zip that is damaged or not whole" if start.startswith(b"PK") else "not a zip"
