"""The official files of MNIST-M, packed or not."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from coupling import (
    DECODER,
    DataError,
    ImageArray,
    MakeImage,
    UnreadableImage,
    data_directory,
    decode_image,
    opaque,
    print_line,
    similar_file,
    write_bytes,
    writing,
)
from coupling_digits.download import PAGE
from coupling_digits.mnist_m_pool import SIDE, Pool, SplitName

ARCHIVE = "mnist_m.tar.gz"
ARCHIVE_MD5 = "859df31c91afe82e80e5012ba928f279"
SIZES = {"train": 59_001, "test": 9_001}
"""Images of the official files."""


class Official(Pool):
    """The official files, packed or not. Samples are in the order of the list of labels."""

    verb = "Decoding"
    place, state = ("mnist-m", "verified"), ("listing", "files")

    def __init__(self, split: SplitName, verify: bool) -> None:
        self.name = f"mnist-m/{split}"
        self._split: SplitName = split
        self._verify = verify
        self._directory = data_directory("mnist_m")
        self._folder = f"mnist_m_{split}"
        self._list = f"{self._folder}_labels.txt"

    @property
    def available(self) -> int:
        """Number of samples in the official split, or in your own list."""
        return SIZES[self._split] if self._verify else len(self._listing[0])

    @property
    def labels(self) -> NDArray[np.int64]:
        """The classes of the list, (available,)."""
        return self._listing[1]

    def key(self) -> dict[str, object]:
        """The list's content, and the state of unpacked images. An archive may be removed when it has been read."""
        names, labels = self._listing
        listing = hashlib.sha256(repr((names, labels.tolist())).encode()).hexdigest()
        # Official images have neither profiles nor orientation: all versions of the decoder give the same pixels.
        version = {} if self._verify else {"decoder": DECODER}
        files = {} if self._images is None else {"files": _files_digest(self._images, names)}
        return {"mnist-m": self._split, "listing": listing, "verified": self._verify, **version, **files}

    def make(self) -> MakeImage:
        """A function that decodes an image, from the folder if there is one."""
        names = self._listing[0]
        if self._images is not None:
            return _FromFolder(self._images, names)
        return _FromArchive(self._archive, self._folder, names, self._verify)

    @property
    def has_test(self) -> bool:
        """Whether there are test images: your own files need not have any."""
        if self._verify:
            return True
        try:
            return bool(Official("test", verify=False).available)
        except DataError:
            return False

    @property
    def _roots(self) -> list[Path]:
        """Folders in which the unpacked files may lie: the archive holds a folder of its own name."""
        return [self._directory, self._directory / "mnist_m"]

    @property
    def _images(self) -> Path | None:
        """The folder of unpacked images; None: they are in the archive."""
        return next((root / self._folder for root in self._roots if (root / self._folder).is_dir()), None)

    def _archive(self) -> Path:
        path = self._directory / ARCHIVE
        if not path.is_file():
            hint = similar_file(self._directory, ARCHIVE, -1)
            raise DataError(
                f"{self._directory}: neither {ARCHIVE} nor {self._folder}/ with {self._list} is there{hint}; put one "
                "of them there (MNIST-M is published by the authors of domain-adversarial training), or set "
                "'origin: made' to make it from MNIST and photographs"
            )
        return path

    @cached_property
    def _listing(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Names and labels of the images."""
        path = next((root / self._list for root in self._roots if (root / self._list).is_file()), None)
        if path is None:
            archive = self._archive()
            path = self._directory / self._list
            _write(path, _unpacked(archive, self._list, self._verify, self._list)[self._list])
        names, labels = _listed(path)
        if self._verify and len(names) != SIZES[self._split]:
            raise DataError(
                f"{path}: lists {len(names)} images, the official one {SIZES[self._split]}; bring the whole file, or "
                "set 'verify: false' to read your own files in this format"
            )
        return names, labels


def _files_digest(folder: Path, names: Sequence[str]) -> str:
    """A digest of the files' names, sizes and times of the last changes of content and entry."""
    digest = hashlib.sha256()
    for name in names:
        with suppress(OSError):  # decoding names a missing file
            found = (folder / name).stat()
            digest.update(repr((name, found.st_size, found.st_mtime_ns, found.st_ctime_ns)).encode())
    return digest.hexdigest()


def _listed(path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The lines `name label` of a list."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if text.lstrip().startswith("<"):
        raise DataError(f"{path}: {PAGE}; get it again")
    names, labels = [], []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if len(parts) != 2 or parts[1] not in set("0123456789") or "/" in parts[0]:
            raise DataError(f"{path}: line {number} is not `name label` with a label from 0 to 9: '{line[:60]}'")
        names.append(parts[0])
        labels.append(int(parts[1]))
    if not names:
        raise DataError(f"{path}: is empty")
    return tuple(names), np.array(labels, np.int64)


@dataclass(frozen=True)
class _FromFolder:
    """Decodes sample ``index`` of unpacked files."""

    folder: Path
    names: tuple[str, ...]

    def __call__(self, index: int) -> ImageArray:
        path = self.folder / self.names[index]
        try:
            if path.exists() and not path.is_file():  # reading a pipe may wait forever
                raise DataError(f"{path}: is not a regular file")
            return _decoded(path.read_bytes(), str(path))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class _FromArchive:
    """Decodes sample ``index`` of the archive, which is read once: its files are small, and it cannot be searched."""

    archive: Callable[[], Path]
    """Finds the archive. Raises DataError if there is none."""
    folder: str
    names: tuple[str, ...]
    verify: bool

    @cached_property
    def _files(self) -> dict[str, bytes]:
        return _unpacked(self.archive(), f"{self.folder}/", self.verify, *self.names)

    def __call__(self, index: int) -> ImageArray:
        name = self.names[index]
        return _decoded(self._files[name], f"{self.folder}/{name}")


def _decoded(content: bytes, name: str) -> ImageArray:
    try:
        image = decode_image(io.BytesIO(content), name)
    except UnreadableImage as error:
        raise DataError(f"{error}; get the images again") from error
    if image.size != (SIDE, SIDE):
        raise DataError(f"{name}: is {image.height} x {image.width} pixels, expected {SIDE} x {SIDE}")
    return np.asarray(opaque(image, "RGB"))


def _unpacked(archive: Path, place: str, verify: bool, *names: str) -> dict[str, bytes]:
    """Content of the archive's files ``names``: those in the folder ``place`` if it ends in /, or anywhere.

    Nothing of it is written to disk. Raises DataError where the archive is not the official one, or not whole.
    """
    if verify:
        _check_archive(archive)
    print_line(f"Reading {place} of {archive}")
    wanted, found = set(names), dict[str, bytes]()
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.name in wanted and member.isfile() and (place == path.name or f"{path.parent.name}/" == place):
                    file = tar.extractfile(member)
                    assert file is not None
                    found[path.name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        size = archive.stat().st_size
        raise DataError(f"{archive}: truncated or damaged archive, {size} bytes ({error}); get it again") from error
    missing = sorted(wanted - set(found))
    if missing:
        raise DataError(f"{archive}: holds no {place if place != missing[0] else ''}{missing[0]}")
    return found


def _check_archive(archive: Path) -> None:
    """Raise DataError where an archive is not the official one."""
    total = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file:
        start = file.read(2**20)
        if start.lstrip()[:1] == b"<":
            raise DataError(f"{archive}: {PAGE}; get it again")
        while start:
            total.update(start)
            start = file.read(2**20)
    if total.hexdigest() != ARCHIVE_MD5:
        raise DataError(
            f"{archive}: not the official archive: its MD5 is {total.hexdigest()}, expected {ARCHIVE_MD5}, with "
            f"{archive.stat().st_size} bytes (a download that was cut short?); fetch it again, or set 'verify: false' "
            "to read your own files in this format"
        )


def _write(path: Path, content: bytes) -> None:
    """Keep a small file of the archive beside it: it is read at each start, the archive only once."""
    with writing(path, "unpack the archive elsewhere", DataError):
        write_bytes(path, content)
