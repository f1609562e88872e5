"""The cache of a stream's images: an interrupted stream continues where it was.

A stream has no random access, so its first ``count`` images are written one after the other to the file
that :mod:`coupling.data.images.cache` would have made. A journal beside the growing file says how many
images are safely in it, and the stream's position after them. Whatever ends the process, the next one
continues from there. When all images are in, the file takes its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from coupling.data.images import cache
from coupling.data.images.cache import CachedRecord, cached_record
from coupling.data.images.decoding import OnError
from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.image_cache import Cache
from coupling.data.images.notes import Note, collect_notes, print_notes
from coupling.errors import DataError, RunError
from coupling.system.file_lock import FileLock
from coupling.system.terminal import print_line, progress

_EVERY = 256
"""Images after which the journal is written: an interruption loses at most so many."""


class ImageStream(ABC):
    """Images in a fixed order, and a position in it that can be written down.

    Iterating raises :class:`DataError` where the stream breaks off.
    """

    stamp: str
    """Names the version of the data: a position is valid for one version only."""

    numbers: tuple[str, ...]
    """Names of the whole numbers that are known of each image."""

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[ImageArray | UnreadableImage, tuple[int, ...]]]:
        """Each image, uint8 (height, width, channels), or why it cannot be read; and its :attr:`numbers`."""

    @abstractmethod
    def position(self) -> Any:
        """The position of the next image, as JSON values."""

    @abstractmethod
    def seek(self, position: Any) -> None:
        """Continue with the image at ``position``."""


@dataclass
class _Journal:
    """The images that are safely in the growing files."""

    stamp: str
    numbers: tuple[str, ...]
    rows: int = 0
    position: Any = None
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> _Journal | None:
        try:
            saved = json.loads(path.read_text("utf-8"))
            return cls(
                saved["stamp"], tuple(saved["numbers"]), int(saved["rows"]), saved["position"], saved["left_out"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


class StreamCache(Cache):
    """The first ``count`` images of a stream, written to a file as they come and then read from it.

    Args:
        directory: where the file lies; it is made if necessary.
        key: all that the images depend on, as JSON values; the same key opens the same file.
        count: number of images, at least 1.
        shape: (height, width, channels) of each image.
        open_stream: called if images are missing.
        title: what the progress bar and messages name.
        on_error: "stop" raises an error for the first image that cannot be read; "skip" takes the next images in its
            place, and reports it.

    Raises:
        DataError: from :attr:`images`: an image is unreadable, the stream ends early or breaks off, or the directory
            cannot be written or has too little space.
    """

    def __init__(
        self,
        directory: Path,
        key: Mapping[str, object],
        count: int,
        shape: tuple[int, int, int],
        open_stream: Callable[[], ImageStream],
        *,
        title: str,
        on_error: OnError = "stop",
    ) -> None:
        super().__init__(directory, {**key, "on_error": on_error}, count, shape, title=title, on_error=on_error)
        self._open_stream = open_stream

    def _open(self) -> ImageArray:
        directory, key, count, shape, title = self.directory, self.key, self.count, self.shape, self.title
        record, images = _opened(directory, key, count, shape)
        if images is None:
            if record is not None:
                path = cache.array_path(directory, record.key)
                print_line(f"{title}: {path} is damaged or incomplete; reading it again")
            with _alone(directory, key, shape, title):
                record, images = _opened(directory, key, count, shape)  # another process may have done it
                if images is None:
                    _Reading(directory, key, count, shape, title, self.on_error).finish(self._open_stream())
                    record, images = _opened(directory, key, count, shape)
        if record is None or images is None:
            raise RunError(f"{title}: the images in {directory} were changed while they were being written")
        if record.left_out:
            print_line(f"{title}: left out {cache.shortened(record.left_out, count + len(record.left_out))}")
        print_notes(record.notes, title)
        return images

    @property
    def numbers(self) -> dict[str, NDArray[np.int64]]:
        """Whole numbers known of each image: {name: (count,)}; the images are read first."""
        _ = self.images
        record = self.record
        if record is None:
            raise RunError(f"{self.title}: the images in {self.directory} were removed after they were read")
        path = _numbers_path(cache.array_path(self.directory, record.key))
        try:
            return safetensors.numpy.load(path.read_bytes())
        except (OSError, safetensors.SafetensorError) as error:
            raise DataError(f"{path}: cannot be read ({error}); delete it to have the stream read again") from None


def _opened(
    directory: Path, key: Mapping[str, object], count: int, shape: tuple[int, int, int]
) -> tuple[CachedRecord | None, ImageArray | None]:
    record = cached_record(directory, key, count, shape)
    if record is None or not _numbers_are_sound(_numbers_path(cache.array_path(directory, record.key)), record):
        return record, None
    return record, cache.open_array(directory, record)


def _numbers_are_sound(path: Path, record: CachedRecord) -> bool:
    try:
        return record.numbers_sha256 in (None, hashlib.sha256(path.read_bytes()).hexdigest())
    except OSError:
        return False


def _numbers_path(array: Path) -> Path:
    return array.with_suffix(".numbers.safetensors")


def _part(directory: Path, key: Mapping[str, object], shape: tuple[int, int, int]) -> Path:
    """The growing file. Its name does not depend on the count: a larger count continues where a smaller one ended."""
    return cache.array_path(directory, cache.full_key(key, 0, shape)).with_suffix(".part")


@contextlib.contextmanager
def _alone(directory: Path, key: Mapping[str, object], shape: tuple[int, int, int], title: str) -> Iterator[None]:
    """Let one process at a time read a stream; others wait for it."""
    lock = FileLock(_part(directory, key, shape).with_suffix(".lock"))
    with cache.writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if not lock.acquire():
            print_line(f"{title}: {lock.holder()}, is reading it; waiting")
            lock.wait()
    try:
        yield
    finally:
        lock.release()


class _Reading:
    """One attempt at a stream: from the journal's position to ``count`` images."""

    def __init__(
        self,
        directory: Path,
        key: Mapping[str, object],
        count: int,
        shape: tuple[int, int, int],
        title: str,
        on_error: str,
    ) -> None:
        self.directory, self.count, self.shape, self.title, self.on_error = directory, count, shape, title, on_error
        self.key = cache.full_key(key, count, shape)
        self.array = cache.array_path(directory, self.key)
        self.part = _part(directory, key, shape)
        self.journal_path = self.part.with_suffix(".journal.json")
        self.numbers_path = self.part.with_suffix(".numbers")
        self.image_size = int(np.prod(shape))
        self.notes: dict[str, Note] = {}

    def finish(self, stream: ImageStream) -> None:
        """Read the missing images, and give the files their names."""
        with cache.writing(self.directory), _growing(self.part) as images, _growing(self.numbers_path) as numbers:
            cache.write_header(images, (0, *self.shape))
            start = images.tell()
            journal = self._journal(stream, start, images, numbers)
            for file, size in ((images, self.image_size), (numbers, 8 * len(journal.numbers))):
                file.truncate((start if file is images else 0) + min(journal.rows, self.count) * size)
                file.seek(0, os.SEEK_END)
            journal.rows = min(journal.rows, self.count)
            if journal.rows < self.count:
                self._check_disk_space(journal.rows)
                with collect_notes() as self.notes:
                    self._read(stream, journal, images, numbers)
            self._complete(journal, start, images, numbers)
        with cache.writing(self.directory):  # the files are closed: Windows renames no open file
            os.replace(self.part, self.array)
            self.journal_path.unlink(missing_ok=True)
            self.numbers_path.unlink(missing_ok=True)

    def _journal(self, stream: ImageStream, start: int, images: BinaryIO, numbers: BinaryIO) -> _Journal:
        """The journal, if it belongs to this version of the stream and the files hold its images; else a new one."""
        found = _Journal.read(self.journal_path)
        fresh = _Journal(stream.stamp, stream.numbers)
        if found is None:
            return fresh
        held = os.fstat(images.fileno()).st_size >= start + found.rows * self.image_size
        held &= os.fstat(numbers.fileno()).st_size >= found.rows * 8 * len(found.numbers)
        if not held or (found.stamp, found.numbers) != (fresh.stamp, fresh.numbers):
            why = "are of another version" if held else "are damaged"
            print_line(f"{self.title}: the {found.rows:,} images that are there {why}; starting again")
            return fresh
        if found.rows < self.count:
            print_line(f"{self.title}: continuing after the {found.rows:,} images that are there")
            stream.seek(found.position)
        return found

    def _read(self, stream: ImageStream, journal: _Journal, images: BinaryIO, numbers: BinaryIO) -> None:
        with progress(self.title, self.count) as advance:
            advance(journal.rows)
            for image, known in stream:
                if isinstance(image, UnreadableImage):
                    if self.on_error == "stop":
                        raise DataError(f"{self.title}: {image}\n`on_error: skip` takes the next image in its place.")
                    journal.left_out.append(str(image))
                    continue
                if image.shape != self.shape or image.dtype != np.uint8:
                    raise DataError(f"{self.title}: an image is {image.dtype} {image.shape}, expected {self.shape}")
                images.write(np.ascontiguousarray(image).data)
                numbers.write(np.array(known, np.int64).tobytes())
                journal.rows += 1
                advance(1)
                if journal.rows % _EVERY == 0 or journal.rows == self.count:
                    self._note(journal, stream.position(), images, numbers)
                if journal.rows == self.count:
                    return
        raise DataError(
            f"{self.title}: the stream ends after {journal.rows:,} images, fewer than the limit of {self.count:,}; "
            + (
                f"set limit: {journal.rows}"
                if journal.rows
                else "check which samples it has, and which of them the filter takes"
            )
        )

    def _note(self, journal: _Journal, position: Any, images: BinaryIO, numbers: BinaryIO) -> None:
        for file in (images, numbers):
            file.flush()
            os.fsync(file.fileno())
        journal.position = position
        with cache.replacing(self.journal_path) as file:
            file.write(json.dumps(asdict(journal)).encode())

    def _complete(self, journal: _Journal, start: int, images: BinaryIO, numbers: BinaryIO) -> None:
        images.seek(0)
        cache.write_header(images, (self.count, *self.shape))
        images.flush()
        os.fsync(images.fileno())
        images.seek(start)
        digest = hashlib.file_digest(images, "sha256").hexdigest()  # type: ignore[arg-type]
        numbers.seek(0)
        known = np.frombuffer(numbers.read(), np.int64).reshape(self.count, len(journal.numbers))
        columns = {name: np.ascontiguousarray(column) for name, column in zip(journal.numbers, known.T, strict=True)}
        packed = safetensors.numpy.save(columns)
        with cache.replacing(_numbers_path(self.array)) as file:
            file.write(packed)
        # The record first: if the images do not get their name, they are all there and no stream is read again.
        left_out, notes = tuple(journal.left_out), tuple(self.notes.values())
        record = CachedRecord(
            self.key,
            (self.count, *self.shape),
            digest,
            left_out,
            notes=notes,
            numbers_sha256=hashlib.sha256(packed).hexdigest(),
        )
        with cache.replacing(self.array.with_suffix(".json")) as file:
            file.write(json.dumps(asdict(record), indent=1).encode())

    def _check_disk_space(self, rows: int) -> None:
        needed, free = (self.count - rows) * self.image_size, shutil.disk_usage(self.directory).free
        if needed > free:
            raise DataError(
                f"{self.title}: {self.count - rows:,} images of {self.shape} need {needed / 1e9:.1f} GB, and "
                f"{self.directory} has {free / 1e9:.1f} GB left; lower limit or size, or set COUPLING_DATA to a "
                "directory elsewhere"
            )


@contextlib.contextmanager
def _growing(path: Path) -> Iterator[BinaryIO]:
    """A file open for reading and writing at its beginning; it is made if necessary."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        yield file
