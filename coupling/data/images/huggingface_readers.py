"""Readers of a split that the library `datasets` reads: a table with random access, or a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupling.data.dataset import PartialOverlap
from coupling.data.images.decoding import Fit, OnError
from coupling.data.images.huggingface_columns import (
    Columns,
    Scalar,
    Wanted,
    choose_columns,
    matching_rows,
    whole_numbers,
)
from coupling.data.images.huggingface_images import TableCache, decode_value, keep_encoded, open_value, sample_name
from coupling.data.images.huggingface_table import Place, contents, library
from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.image_cache import Cache
from coupling.data.images.pixels import DECODER, decode_image
from coupling.data.images.stream_cache import ImageStream, StreamCache
from coupling.errors import ConfigError, CouplingError, DataError, cause

LABEL, ATTRIBUTE = "label:", "attribute:"
"""Prefixes of the names of known numbers: the label, and other columns."""


@dataclass(frozen=True)
class Selection:
    """The samples that a user asks for: a split, its columns, a filter, a number."""

    place: Place
    image: str | None
    label: str | None
    wanted: Wanted
    limit: int | None

    @classmethod
    def of(
        cls,
        place: Place,
        image: str | None,
        label: str | None,
        filter: Mapping[str, Scalar | list[Scalar]] | None,
        limit: int | None,
    ) -> Selection:
        """The selection that the options of the data set describe."""
        wanted = {
            column: tuple(values) if isinstance(values, list) else (values,)
            for column, values in sorted((filter or {}).items())
        }
        return cls(place, image, label, wanted, limit)

    def of_split(self, split: str) -> Selection:
        """All samples of another split, selected in the same way."""
        return replace(self, place=replace(self.place, split=split), limit=None)

    @property
    def key(self) -> dict[str, object]:
        """The parts of it that decoded images depend on, as JSON values."""
        taken = {column: list(values) for column, values in self.wanted.items()}
        return self.place.key | {"image": self.image, "filter": taken}

    @property
    def source(self) -> str:
        """Names the samples as a data set's source."""
        taken = [f"{column}={list(values)}" for column, values in self.wanted.items()]
        return "&".join([f"huggingface:{self.place}", *taken, *([] if self.limit is None else [f"limit={self.limit}"])])


class Reader(ABC):
    """Reads the samples of a selection, in the order of the split."""

    count: int
    """Number of samples, before any is left out."""

    def __init__(self, selection: Selection, on_error: OnError) -> None:
        self.selection = selection
        self.place = selection.place
        self.on_error: OnError = on_error

    @property
    @abstractmethod
    def key(self) -> dict[str, object]:
        """Further JSON values that decoded images depend on."""

    def check(self) -> None:  # noqa: B027  (a table is checked when its rows are counted)
        """Raise an error if the split lacks a column that is asked for; called if nothing is cached."""

    @abstractmethod
    def encoded(self) -> Iterable[tuple[str, Any]]:
        """The name and encoded image of each sample."""

    @abstractmethod
    def cache(self, directory: Path, fit: Fit) -> Cache:
        """The decoded images, which are made when they are first read."""

    @abstractmethod
    def numbers(self, cache: Cache) -> dict[str, NDArray[np.int64]]:
        """Whole numbers known of each sample, (count,) each, -1 where unknown, by prefixed name of the column."""

    @property
    def leaves_out(self) -> bool:
        """Whether unreadable samples are left out, so that there are fewer than :attr:`count`."""
        return False

    def image_key(self, fit: Fit) -> dict[str, object]:
        """All that the decoded images depend on, as JSON values."""
        return self.selection.key | {"resize": fit.resize, "crop": fit.crop, "decoder": DECODER} | self.key

    @property
    def class_names(self) -> list[str] | None:
        """Names of the label's classes by number; None: they have none, or are not known."""
        return None

    def class_counts(self) -> dict[str, int] | None:
        """Number of samples of each class, by name; None: they have none, or are not known."""
        return None

    @property
    def has_test(self) -> bool:
        """Whether the split `test` holds other samples."""
        return False

    def in_common(self, other: Reader) -> str | None:
        """The samples that both take, in words; None: none. :class:`PartialOverlap`: each takes others too."""
        if not self.place.same_split(other.place):
            return None
        if isinstance(self, TableReader) and isinstance(other, TableReader):
            common = len(np.intersect1d(self.rows, other.rows))
            message = f"{common:,} rows of {self.place}"
            if 0 < common < min(self.count, other.count):
                return PartialOverlap(f"{message}, which are {self.count:,} of one and {other.count:,} of the other")
            return message if common else None
        wanted, others = self.selection.wanted, other.selection.wanted
        apart = any(
            not set(values) & set(others.get(name, values)) and _all_text(values) == _all_text(others.get(name, values))
            for name, values in wanted.items()  # names and numbers of classes cannot be compared
        )
        return None if apart else f"both read {self.place}, and no column's filter keeps them apart"

    def first_size(self) -> tuple[int, int]:
        """(height, width) of the first image, upright; with "skip" of the first that can be opened."""
        for name, value in self.encoded():
            try:
                with open_value(value, name) as file:
                    image = decode_image(file, sample_name(value, name))
                    return image.height, image.width
            except UnreadableImage:
                if self.on_error == "stop":
                    raise
        raise DataError(f"none of the images of {self.place} can be opened")


class TableReader(Reader):
    """Reads a split with random access; it is downloaded if it is not there."""

    @cached_property
    def columns(self) -> Columns:
        """The columns that are read."""
        selection = self.selection
        return choose_columns(self.place.table.features, self.place, selection.image, selection.label, selection.wanted)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Numbers of the table's rows that are the samples."""
        limit, wanted = self.selection.limit, self.selection.wanted
        rows = matching_rows(self.place.table, self.columns.wanted, self.place)
        if limit is not None and len(rows) < limit:
            raise DataError(
                f"limit: {limit:,}, but {self.place} has {len(rows):,} samples"
                f"{' that the filter takes' if wanted else ''}; lower it, or leave it out"
            )
        return rows[:limit]

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of rows that the filter takes."""
        return len(self.rows)

    @property
    def key(self) -> dict[str, object]:
        """The files that hold the table."""
        return {"content": contents(self.place.table)}

    def encoded(self) -> Iterable[tuple[str, Any]]:
        """The rows that the filter takes."""
        column = self.columns.image
        table = keep_encoded(self.place.table, column)
        return ((f"row {row}", table[int(row)][column]) for row in self.rows)

    def cache(self, directory: Path, fit: Fit) -> Cache:
        """The decoded images."""
        return TableCache(directory, self.image_key(fit), self.place, self.rows, self.columns.image, fit, self.on_error)

    def numbers(self, cache: Cache) -> dict[str, NDArray[np.int64]]:
        """The columns of whole numbers."""
        numbers = whole_numbers(self.place.table, self.columns.known, self.rows)
        return {_prefixed(name, self.columns): column for name, column in numbers.items()}

    @property
    def leaves_out(self) -> bool:
        """Unreadable rows are left out with "skip"."""
        return self.on_error == "skip"

    @property
    def class_names(self) -> list[str] | None:
        """Names of the label's classes."""
        names = (
            None
            if self.columns.label is None
            else getattr(self.place.table.features[self.columns.label], "names", None)
        )
        return None if names is None else list(names)

    def class_counts(self) -> dict[str, int] | None:
        """Number of rows of each class."""
        if self.class_names is None or self.columns.label is None:
            return None
        numbers = whole_numbers(self.place.table, [self.columns.label], self.rows)[self.columns.label]
        return {name: int((numbers == number).sum()) for number, name in enumerate(self.class_names)}

    @property
    def has_test(self) -> bool:
        """Whether there is a split `test`, and this is another."""
        return "test" in self.place.splits and self.place.used != "test"


class StreamReader(Reader):
    """Reads the first samples of a split, without downloading it."""

    def __init__(self, selection: Selection, on_error: OnError) -> None:
        """Raises :class:`ConfigError` where no limit is given."""
        super().__init__(selection, on_error)
        if selection.limit is None:
            raise ConfigError(
                "streaming: the length of a stream is unknown, and parts and epochs depend on it; give limit, the "
                "number of samples to take from its beginning"
            )
        self.count = selection.limit

    @property
    def key(self) -> dict[str, object]:
        """The label: the columns of whole numbers are kept beside the images."""
        return {"label": self.selection.label}

    def check(self) -> None:
        """Open the stream once; when its images are cached, the hub is not asked again."""
        _Stream(self.selection, None)

    def encoded(self) -> Iterable[tuple[str, Any]]:
        """The samples from the beginning of the stream."""
        return (sample[:2] for sample in _Stream(self.selection, None).samples())

    def cache(self, directory: Path, fit: Fit) -> StreamCache:
        """The decoded images; with "skip" the next samples of the stream replace unreadable ones."""
        return StreamCache(
            directory,
            self.image_key(fit),
            self.count,
            fit.shape,
            partial(_Stream, self.selection, fit),
            title=f"Images of {self.place}",
            on_error=self.on_error,
        )

    def numbers(self, cache: Cache) -> dict[str, NDArray[np.int64]]:
        """The numbers that are kept beside the images, which are read first."""
        assert isinstance(cache, StreamCache)
        return cache.numbers


def _all_text(values: tuple[Scalar, ...]) -> bool:
    return all(isinstance(value, str) for value in values)


def _prefixed(column: str, columns: Columns) -> str:
    return (LABEL if column == columns.label else ATTRIBUTE) + column


class _Stream(ImageStream):
    """The samples that the filter takes, in the order of the split."""

    def __init__(self, selection: Selection, fit: Fit | None) -> None:
        """``fit`` None: for :meth:`samples` alone."""
        self._place = selection.place
        stream = self._place.stream()
        if stream.features is None:
            raise DataError(
                f"{self._place}: the kinds of its columns cannot be known from the beginning of a stream; leave "
                "streaming out"
            )
        self._columns = choose_columns(stream.features, self._place, selection.image, selection.label, selection.wanted)
        self._stream = keep_encoded(stream.select_columns(self._columns.all), self._columns.image)
        self._fit = fit
        self._row = 0
        self.numbers = tuple(_prefixed(name, self._columns) for name in self._columns.known)
        self.stamp = f"{self._place.version} datasets {library().__version__}"  # positions are the library's own

    def samples(self) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
        """Name, encoded image and numbers of each sample."""
        examples = iter(self._stream)
        while True:
            try:
                example = next(examples)
            except StopIteration:
                return
            except CouplingError:
                raise
            except Exception as error:
                raise DataError(
                    f"{self._place}: the stream broke off after {self._row:,} rows: {cause(error)}; try again, and it "
                    "continues near there"
                ) from error
            self._row += 1
            if all(example[name] in values for name, values in self._columns.wanted.items()):
                numbers = tuple(-1 if example[name] is None else int(example[name]) for name in self._columns.known)
                yield f"row {self._row - 1}", example[self._columns.image], numbers

    def __iter__(self) -> Iterator[tuple[ImageArray | UnreadableImage, tuple[int, ...]]]:
        assert self._fit is not None
        for name, value, numbers in self.samples():
            try:
                yield decode_value(value, name, self._fit), numbers
            except UnreadableImage as error:
                yield error, numbers

    def position(self) -> Any:
        """The library's own position, and the number of rows before it."""
        return {"row": self._row, "state": self._stream.state_dict()}

    def seek(self, position: Any) -> None:
        """Continue at a position."""
        self._row = position["row"]
        self._stream.load_state_dict(position["state"])
