"""The image files of one place, a folder or a zip: their names, their content, and what two places share."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from coupling.data.dataset import PartialOverlap
from coupling.errors import DataError, nearest
from coupling.system.terminal import warn

SUFFIXES = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Suffixes of image files. Files without a suffix are recognised by their content; others are ignored and counted."""

_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")  # of JPEG, PNG and TIFF

START = 16
"""Bytes that :func:`starts_as_image` needs."""


_PROBED = 10_000  # files of equal name and size whose contents are compared, at most


_CERTAIN = 16  # if the first pairs compared are all equal, so many of them, the other pairs are taken to be equal


class ImageFile(NamedTuple):
    """One image file, as its place lists it."""

    name: str
    """Its path in the folder or zip, with ``/``."""
    size: int
    """Bytes, unpacked."""
    stamp: str
    """Changes when the content does: times of the last changes of content and entry, or the checksum."""
    own_name: str
    """The last part of its path; of a link, that of the file it leads to."""


class ImageFiles(ABC):
    """The images of one place, in the order of their identities. Can be sent to other processes."""

    root: Path
    """The folder or zip, absolute and without links."""
    files: tuple[ImageFile, ...]
    ignored: Counter[str]
    """Other files and folders beside them, by kind: "hidden", ".gif", "without suffix", "run directory"."""

    def __len__(self) -> int:
        return len(self.files)

    @property
    def identities(self) -> list[str]:
        """A name of each image that is the same on every system, see :func:`identities_of`."""
        return identities_of([file.name for file in self.files])

    @property
    def size(self) -> int:
        """Bytes of all images."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 of names, sizes and stamps: another one when the place has changed."""
        listed = [file[:3] for file in self.files]
        return hashlib.sha256(repr(listed).encode("utf-8", "surrogatepass")).hexdigest()

    @abstractmethod
    def open(self, index: int) -> AbstractContextManager[BinaryIO]:
        """A context manager: image ``index`` as a binary file. Raises :class:`UnreadableImage`."""

    def close(self) -> None:  # noqa: B027  (a folder holds nothing open)
        """Close what is open; :meth:`open` opens it again."""

    def in_common(self, other: ImageFiles) -> str | None:
        """The images that are in two places, under whatever path, in words; None: none were found.

        Files of equal names and sizes are compared by content. This finds a folder in another, links, copies,
        and a folder beside its zip; it does not find renamed files. A :class:`PartialOverlap` where each place has
        other images too.
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
        same = self._same(other, pairs)
        if not same:
            return None
        some = "at least " if len(pairs) > _PROBED and len(same) < len(pairs) else ""
        name = min(other.files[index].own_name for index in same)
        images = f"1 image, {name}, is" if len(same) == 1 else f"{some}{len(same):,} images, {name} for one, are"
        message = f"{images} in {self.root} and in {other.root}"
        contained = len(same) == len(other) or len(set().union(*same.values())) == len(self)
        return message if contained else PartialOverlap(message)

    def _same(self, other: ImageFiles, pairs: Sequence[tuple[int, list[int]]]) -> dict[int, list[int]]:
        """The pairs (an image of ``other``, images that may equal it) whose contents are equal."""
        same: dict[int, list[int]] = {}
        for probed, (index, alike) in enumerate(pairs[:_PROBED], start=1):
            if equal := [one for one in alike if self._is_same(one, other, index)]:
                same[index] = equal
            if probed == len(same) == _CERTAIN:
                return dict(pairs)
        return same

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
        """CRC-32 of an image; None: it cannot be read, which decoding it will report."""


def identities_of(names: Sequence[str]) -> list[str]:
    """Names of files that are the same on every system and wherever their folder lies.

    Unicode is composed (NFC), as some systems store names decomposed. Folders that all files lie in are left out, so
    a folder's files have the same identities as those of a zip that holds the folder. Names that would be equal then
    stay as they are.
    """
    split = [[part for part in name.split("/") if part not in ("", ".")] for name in names]
    folders = [parts[:-1] for parts in split]
    first, last = min(folders, default=[]), max(folders, default=[])
    common = next((n for n, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None)
    depth = min(len(first), len(last)) if common is None else common
    plain = ["/".join(parts[depth:]) for parts in split]
    composed = [unicodedata.normalize("NFC", name) for name in plain]
    counts = Counter(composed)
    return [whole if counts[whole] == 1 else name for whole, name in zip(composed, plain, strict=True)]


def sorted_files(files: Iterable[ImageFile]) -> list[ImageFile]:
    """Files in the order of their identities, whatever the order in which a system lists them."""
    listed = sorted(files)
    keys = identities_of([file.name for file in listed])
    return [listed[number] for number in sorted(range(len(listed)), key=keys.__getitem__)]


def classes_of(files: ImageFiles, classes: Sequence[str]) -> list[int]:
    """The class of each image: the number in ``classes`` of the folder it lies in, the innermost that is one of them.

    Warns of classes without images. Raises :class:`DataError` where a class comes twice, or an image lies in
    no folder of a class.
    """
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(classes)}
    twice = next((name for number, name in enumerate(classes) if name in classes[:number]), None)
    if twice is not None:
        raise DataError(f"classes: names the folder '{twice}' twice; name each once")
    found: list[int] = []
    folders: dict[str, None] = {}
    for file in files.files:
        above = file.name.split("/")[-2::-1]
        folders |= dict.fromkeys(above)
        number = next((numbers[folder] for folder in above if folder in numbers), None)
        if number is None:
            raise DataError(
                f"classes: {file.name} in {files.root} lies in no folder that is a class ({', '.join(classes)}); "
                "name all of them, or keep other images elsewhere"
            )
        found.append(number)
    for number, name in enumerate(classes):
        if number not in found:
            warn(f"classes: no image in {files.root} lies in a folder '{name}'; {nearest(name, folders)}")
    return found


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or added to a zip by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not is_hidden(name) and Path(name).suffix.lower() in SUFFIXES


def may_be_image(name: str) -> bool:
    """Whether a file must be opened to know that it is an image: its name has no suffix."""
    return not is_hidden(name) and not Path(name).suffix


def starts_as_image(start: bytes) -> bool:
    """Whether a file with these first bytes is a JPEG, PNG, TIFF or WebP."""
    return start.startswith(_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def kind_of(name: str) -> str:
    """The kind of a file that is not taken for an image, in words."""
    return "hidden" if is_hidden(name) else Path(name).suffix.lower() or "without suffix"


def in_words(ignored: Counter[str], most: int = 4) -> str:
    """The number of files and their kinds: "3 hidden or other files (2 .gif, 1 hidden)"."""
    kinds = [f"{count} {kind}" for kind, count in ignored.most_common(most)]
    if len(ignored) > most:
        kinds.append("others")
    return f"{ignored.total()} hidden or other files" + (f" ({', '.join(kinds)})" if kinds else "")


def no_images(root: Path, others: Counter[str]) -> DataError:
    """The error for a place without images, which says what else it holds."""
    return DataError(
        f"{root} holds no images, not even in subfolders, but {in_words(others)}; "
        f"images are files named {', '.join(sorted(SUFFIXES))}"
    )
