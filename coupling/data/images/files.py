"""Image files in a folder or a zip: which there are, and how each is opened."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from coupling.data.images.image import UnreadableImage
from coupling.errors import ConfigError, DataError, nearest

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What files of images are called; others are ignored and counted."""


_LARGEST = 2**29  # bytes of one image file in a zip: more is no picture, whatever its directory promises


_PROBED = 10_000  # files of equal name and size whose contents are compared, at most


_CERTAIN = 16  # so many equal ones, and none that differs: the others are equal too


class ImageFile(NamedTuple):
    """One image file, as its place lists it."""

    name: str
    """Its path in the folder or zip, with ``/``."""
    size: int
    """Bytes, unpacked."""
    stamp: int
    """What changes when the content does: time of the last change, or checksum."""
    own_name: str
    """The last part of its path; of a link, that of the file it leads to."""


class ImageFiles(ABC):
    """The images of one place, in the order of their names. Can be sent to other processes."""

    root: Path
    """The folder or zip, absolute and without links."""
    files: tuple[ImageFile, ...]
    ignored: Counter[str]
    """Hidden and other files beside them, by kind: "hidden", ".gif", "without suffix"."""

    def __len__(self) -> int:
        return len(self.files)

    @property
    def size(self) -> int:
        """Bytes of all images."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """Of names, sizes and stamps: another one when the place has changed."""
        listed = [file[:3] for file in self.files]
        return hashlib.sha256(repr(listed).encode("utf-8", "surrogatepass")).hexdigest()

    @abstractmethod
    def open(self, index: int) -> AbstractContextManager[BinaryIO]:
        """A context manager: image ``index`` as a binary file. Raises :class:`UnreadableImage`."""

    def close(self) -> None:  # noqa: B027  (a folder holds nothing open)
        """Let go of what is open; :meth:`open` opens it again."""

    def in_common(self, other: ImageFiles) -> str | None:
        """In words, the images that two places hold both, under whatever path; None: none were found.

        Files of equal names and sizes are compared by content: so one folder in another, links, copies,
        and a folder beside its zip are found, and files that were renamed are not.
        """
        own: dict[tuple[str, int], list[int]] = {}
        for index, file in enumerate(self.files):
            own.setdefault((file.own_name, file.size), []).append(index)
        pairs = [
            (index, own[file.own_name, file.size])
            for index, file in enumerate(other.files)
            if (file.own_name, file.size) in own
        ]
        random.Random(0).shuffle(pairs)  # noqa: S311  (the same at every start; no secret)
        same: list[int] = []
        for probed, (index, alike) in enumerate(pairs[:_PROBED], start=1):
            if any(self._is_same(one, other, index) for one in alike):
                same.append(index)
            if probed == len(same) == _CERTAIN:  # so are the others
                same = [index for index, _ in pairs]
                break
        if not same:
            return None
        some = "at least " if len(pairs) > _PROBED and len(same) < len(pairs) else ""
        name = min(other.files[index].own_name for index in same)
        return f"{some}{len(same):,} images, {name} for one, are in {self.root} and in {other.root}"

    def _is_same(self, index: int, other: ImageFiles, other_index: int) -> bool:
        one, two = self._start(index), other._start(other_index)
        if one != two and None not in (one, two):
            return False
        checksum = self._checksum(index)
        return checksum is not None and checksum == other._checksum(other_index)

    @abstractmethod
    def _start(self, index: int) -> bytes | None:
        """The first bytes of an image; None: they cannot be had, or not cheaply."""

    @abstractmethod
    def _checksum(self, index: int) -> int | None:
        """CRC-32 of an image; None: it cannot be read, which will be told when it is decoded."""


class FolderFiles(ImageFiles):
    """The images of a folder and its subfolders; links are followed, but not round."""

    def __init__(self, root: Path) -> None:
        """Raises :class:`DataError` where there are none, or the folder cannot be listed."""
        self.root = root
        images: list[ImageFile] = []
        self.ignored = Counter()
        for entry in _entries_below(root, frozenset()):
            if not _is_image(entry.name):
                self.ignored[_kind(entry.name)] += 1
                continue
            try:
                found = entry.stat()
            except OSError:  # a link to nothing: decoding it will say so
                found = entry.stat(follow_symlinks=False)
            own_name = Path(entry.path).resolve().name if entry.is_symlink() else entry.name
            name = Path(entry.path).relative_to(root).as_posix()
            images.append(ImageFile(name, found.st_size, found.st_mtime_ns, own_name))
        if not images:
            raise _no_images(root, self.ignored)
        self.files = tuple(sorted(images))

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
            if member.is_dir() or any(_is_hidden(folder) for folder in folders):
                continue
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            if is_link or not _is_image(own_name):
                self.ignored["link" if is_link else _kind(own_name)] += 1
                continue
            if name in members:  # the later one replaces the earlier: so any unpacker has it
                self.ignored["replaced"] += 1
            members[name] = member
        self.close()
        if not members:
            raise _no_images(root, self.ignored)
        named = sorted(members.items())
        self._members = [member for _, member in named]
        self.files = tuple(ImageFile(name, m.file_size, m.CRC, name.rpartition("/")[2]) for name, m in named)

    @contextmanager
    def open(self, index: int) -> Iterator[BinaryIO]:
        """Image ``index``, in memory: only what was read to its end is known to have its checksum."""
        member, name = self._members[index], self.files[index].name
        if member.flag_bits & 0x1:
            raise UnreadableImage(f"{name}: is encrypted; pack the images again without a password")
        if member.file_size > _LARGEST:
            raise UnreadableImage(
                f"{name}: unpacks to {member.file_size:,} bytes, more than any image here ({_LARGEST:,})"
            )
        try:
            content = self._opened().read(member)
        # All that zipfile raises for bytes that are damaged or packed in a way it does not know.
        except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, OSError, RuntimeError) as error:
            raise UnreadableImage(f"{name}: {error}") from error
        with BytesIO(content) as file:
            yield file

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
            # A directory of the archive that is none, of an unknown kind, or with numbers that cannot be.
            except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
                raise DataError(f"{self.root}: {_damage(self.root)} ({error}); download or pack it again") from None
            except OSError as error:
                raise DataError(f"{self.root}: cannot be read: {error.strerror or error}") from None
        return self._archive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None}  # another process opens it for itself


def image_files(path: str) -> ImageFiles:
    """The images of the folder or zip at ``path`` (``~`` is the home directory).

    Raises:
        ConfigError: it is neither, or not there.
        DataError: it holds no images, or cannot be read.
    """
    root = real_path(path)
    if root.is_dir():
        return FolderFiles(root)
    if root.suffix.lower() == ".zip" or zipfile.is_zipfile(root):
        return ZipFiles(root)
    kind = "another kind of archive: unpack it, or pack it as a zip" if _is_archive(root) else "neither folder nor zip"
    raise ConfigError(f"path '{path}' is a file, {kind}; images come from a folder or a zip")


def real_path(path: str) -> Path:
    """``path``, absolute and without links; a :class:`ConfigError` with the nearest name where nothing is there."""
    try:
        found = Path(path).expanduser().resolve()
        there = found.exists()
    except (RuntimeError, OSError) as error:  # no such user, a loop of links, a name too long
        raise ConfigError(f"path '{path}': {getattr(error, 'strerror', None) or error}") from None
    if there:
        return found
    while not found.parent.is_dir():
        found = found.parent
    siblings = [
        entry.name
        for entry in _entries(found.parent)
        if not _is_hidden(entry.name) and (entry.is_dir() or entry.name.lower().endswith(".zip"))
    ]
    folder = f"{found.parent}, the current directory" if found.parent == Path.cwd() else str(found.parent)
    hint = nearest(found.name, siblings) if siblings else "nor any folder or zip: give the path from the root"
    raise ConfigError(f"path '{path}': there is no '{found.name}' in {folder}; {hint}")


def classes_of(files: ImageFiles, classes: Sequence[str]) -> list[int]:
    """For each image, the number in ``classes`` of the folder it lies in, the innermost that is one of them.

    Raises :class:`DataError` for a class without images and for images of no class.
    """
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(classes)}
    found: list[int] = []
    folders: dict[str, None] = {}
    for file in files.files:
        above = file.name.split("/")[-2::-1]
        folders |= dict.fromkeys(above)
        number = next((numbers[folder] for folder in above if folder in numbers), None)
        if number is None:
            raise DataError(
                f"classes: {file.name} in {files.root} lies in none of the folders {', '.join(classes)}; name all "
                "of them, or keep other images elsewhere"
            )
        found.append(number)
    for number, name in enumerate(classes):
        if number not in found:
            raise DataError(f"classes: no image in {files.root} lies in a folder '{name}'; {nearest(name, folders)}")
    return found


def _entries_below(folder: Path, above: frozenset[Path]) -> Iterator[os.DirEntry[str]]:
    """Files in and under ``folder``, hidden folders left out; ``above`` keeps links from leading round."""
    real = folder.resolve()
    if real in above:
        return
    for entry in _entries(folder):
        if not entry.is_dir():
            yield entry
        elif not _is_hidden(entry.name):
            yield from _entries_below(Path(entry.path), above | {real})


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror or error}") from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # what macOS puts beside the files of a zip


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and Path(name).suffix.lower() in SUFFIXES


def _kind(name: str) -> str:
    return "hidden" if _is_hidden(name) else Path(name).suffix.lower() or "without suffix"


def in_words(ignored: Counter[str], most: int = 4) -> str:
    """How many files, and of what kinds: "3 hidden or other files (2 .gif, 1 hidden)"."""
    kinds = [f"{count} {kind}" for kind, count in ignored.most_common(most)]
    if len(ignored) > most:
        kinds.append("others")
    return f"{ignored.total()} hidden or other files" + (f" ({', '.join(kinds)})" if kinds else "")


def _no_images(root: Path, others: Counter[str]) -> DataError:
    return DataError(
        f"{root} holds no images, in subfolders neither, but {in_words(others)}; "
        f"images are files named {', '.join(sorted(SUFFIXES))}"
    )


def _damage(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip()
    except OSError:
        return "not a zip"
    if start.startswith(b"<"):
        return "not a zip but a web page that was saved under its name"
    return "a zip that is damaged or not whole" if start.startswith(b"PK") else "not a zip"


def _is_archive(path: Path) -> bool:
    return any(suffix.lower() in {".tar", ".tgz", ".7z", ".rar", ".gz", ".bz2", ".xz"} for suffix in path.suffixes)
