"""Images as the library `datasets` holds them, not yet decoded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from coupling.data.images.cache import cached_images
from coupling.data.images.decoding import Fit, OnError
from coupling.data.images.huggingface_table import Place, library
from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.image_cache import Cache
from coupling.data.images.pixels import decode_image
from coupling.errors import DataError, cause

_QUICK = 2000  # images that one process decodes about as fast as others start


def keep_encoded(table: Any, column: str) -> Any:
    """The column of a table or stream, its images not decoded."""
    kinds = library()
    if isinstance(table.features[column], kinds.Image):
        table = table.cast_column(column, kinds.Image(decode=False))
    return table


def sample_name(value: Any, name: str) -> str:
    """A sample's name in messages: its number, and its file where that is known."""
    path = value.get("path") if isinstance(value, Mapping) else None
    return f"{name} ({PurePath(path).name})" if path else name


def open_value(value: Any, name: str) -> AbstractContextManager[BinaryIO]:
    """An encoded image as a binary file.

    Raises :class:`UnreadableImage` where there is none, or :class:`DataError` where it cannot be fetched.
    """
    path = value.get("path") if isinstance(value, Mapping) else None
    content = value.get("bytes") if isinstance(value, Mapping) else value
    if isinstance(content, bytes):
        return BytesIO(content)
    if path is None:
        raise UnreadableImage(f"{name}: holds no image")
    if "://" in str(path):
        import fsspec  # comes with datasets

        try:
            with fsspec.open(path, "rb") as file:
                return BytesIO(file.read())
        except Exception as error:
            raise DataError(
                f"{path} cannot be fetched: {cause(error)}; try again, and it continues from there"
            ) from error
    if Path(path).exists() and not Path(path).is_file():
        raise UnreadableImage(f"{sample_name(value, name)}: is not a regular file")
    try:
        return open(path, "rb")
    except OSError as error:
        raise UnreadableImage(f"{sample_name(value, name)}: {error.strerror or error}") from error


@dataclass(frozen=True)
class TableDecoder:
    """Makes sample ``index``: uint8 (height, width, channels)."""

    table: Any
    rows: NDArray[np.int64]
    column: str
    fit: Fit

    def __call__(self, index: int) -> ImageArray:
        """Decode the image."""
        row = int(self.rows[index])
        return decode_value(self.table[row][self.column], f"row {row}", self.fit)


def decode_value(value: Any, name: str, fit: Fit) -> ImageArray:
    """The pixels of an encoded image. Raises :class:`UnreadableImage`, which names it."""
    with open_value(value, name) as file:
        return fit(decode_image(file, sample_name(value, name)), sample_name(value, name))


class TableCache(Cache):
    """The decoded images of a table's rows; the table is read only if they are not there."""

    def __init__(
        self,
        directory: Path,
        key: Mapping[str, object],
        place: Place,
        rows: NDArray[np.int64],
        column: str,
        fit: Fit,
        on_error: OnError,
    ) -> None:
        super().__init__(
            directory,
            key,
            len(rows),
            fit.shape,
            title=f"Images of {place}",
            on_error=on_error,
            place=("dataset", "config", "split", "revision"),
            state=("content", "decoder"),
        )
        self._place, self._rows, self._column, self._fit = place, rows, column, fit

    def _open(self) -> ImageArray:
        table = keep_encoded(self._place.table, self._column)
        return cached_images(
            self.directory,
            self.key,
            self.count,
            self.shape,
            TableDecoder(table, self._rows, self._column, self._fit),
            title=self.title,
            processes=1 if self.count < _QUICK else None,
            on_error=self.on_error,
        )
