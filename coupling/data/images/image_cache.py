"""The cache of a data set's images: where it lies, what it depends on, and what fills it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupling.data.images.cache import CachedRecord, MakeImage, cached_images, cached_record, remove_outdated
from coupling.data.images.decoding import OnError
from coupling.data.images.image import ImageArray


class Cache(ABC):
    """Images that are made once and then read from one file."""

    def __init__(
        self,
        directory: Path,
        key: Mapping[str, object],
        count: int,
        shape: tuple[int, int, int],
        *,
        title: str,
        on_error: OnError = "stop",
        place: Sequence[str] = (),
        state: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.key = dict(key)
        self.count = count
        self.shape = shape
        self.title = title
        self.on_error: OnError = on_error
        self._opened: CachedRecord | None = None  # of the open images: the files may be removed meanwhile
        self._of_place, self._of_state = tuple(place), tuple(state)

    @abstractmethod
    def _open(self) -> ImageArray:
        """The images, made if they are not there."""

    @cached_property
    def images(self) -> ImageArray:
        """The images, read-only and memory-mapped: uint8 (number of readable ones, height, width, channels).

        They are made when they are first read, which can take minutes.
        """
        is_new = self.record is None
        images = self._open()
        self._opened = self.record
        if is_new and self._of_place:
            remove_outdated(self.directory, self.key, self._of_place, self._of_state)
        return images

    @property
    def is_open(self) -> bool:
        """Whether :attr:`images` have been read in this process."""
        return "images" in self.__dict__

    @property
    def record(self) -> CachedRecord | None:
        """Count, digest and missing samples of the images; None: they are not made yet."""
        return cached_record(self.directory, self.key, self.count, self.shape)

    @property
    def sha256(self) -> str:
        """SHA-256 of all images in hexadecimal digits; "removed" if another process removed them at once."""
        _ = self.images
        return "removed" if self._opened is None else self._opened.sha256

    @property
    def readable(self) -> NDArray[np.intp]:
        """Numbers of the samples that could be read, in ascending order: (len(images),)."""
        _ = self.images
        return np.delete(np.arange(self.count), () if self._opened is None else self._opened.missing)

    def __getstate__(self) -> dict[str, Any]:  # another process opens the file; it needs no copy
        return {name: value for name, value in self.__dict__.items() if name != "images"}


class ImageCache(Cache):
    """Images that are made once, each by its number, and then read from one file.

    Args:
        directory: where the file lies; it is made if necessary.
        key: all that the images depend on, as JSON values; the same key opens the same file.
        count: number of samples, at least 1.
        shape: (height, width, channels) of each image.
        make: makes sample ``i`` as uint8 of ``shape``, the same each time. It is pickled for worker processes. It
            raises :class:`UnreadableImage` for a sample that cannot be read.
        title: what the progress bar and messages name, such as ``"Drawing avatars"``.
        processes: worker processes; by default one for each core, and none for few images; 1: this process.
        on_error: "stop" raises one error for all unreadable samples; "skip" leaves them out and reports them.
        place: entries of the key that name the place which the samples come from. When images are made, those that
            were made of an earlier state of the same place are removed.
        state: entries of the key that tell the state of the place.

    Raises:
        DataError: from :attr:`images`: a sample is unreadable or not as declared, none is left, or the directory
            cannot be written.
        RunError: from :attr:`images`: a worker process died.
    """

    def __init__(
        self,
        directory: Path,
        key: Mapping[str, object],
        count: int,
        shape: tuple[int, int, int],
        make: MakeImage,
        *,
        title: str,
        processes: int | None = None,
        on_error: OnError = "stop",
        place: Sequence[str] = (),
        state: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, key, count, shape, title=title, on_error=on_error, place=place, state=state)
        self._make = make
        self._processes = processes

    def _open(self) -> ImageArray:
        return cached_images(
            self.directory,
            self.key,
            self.count,
            self.shape,
            self._make,
            title=self.title,
            processes=self._processes,
            on_error=self.on_error,
        )
