"""Images of the Hugging Face hub, or of a folder that its library `datasets` reads, as a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import PurePath
from typing import Annotated, Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from coupling.data.dataset import Dataset
from coupling.data.images.cache import CachedRecord, cached_images, cached_record
from coupling.data.images.cached_dataset import CachedImages
from coupling.data.images.decoding import (
    CropOption,
    Fit,
    ModeOption,
    OnErrorOption,
    ResizeOption,
    SizeOption,
    height_and_width,
    open_image,
    upright_size,
)
from coupling.data.images.huggingface_table import (
    Columns,
    Place,
    Scalar,
    Wanted,
    choose_columns,
    contents,
    library,
    matching_rows,
    whole_numbers,
)
from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.stream_cache import ImageStream, streamed_images, streamed_numbers, streamed_record
from coupling.errors import ConfigError, CouplingError, DataError, cause
from coupling.system.data_directory import data_directory

_QUICK = 2000  # images that one process decodes about as fast as others start


_LABEL, _ATTRIBUTE = "label:", "attribute:"  # what a kept column of a stream is


class HuggingFace(CachedImages):
    """Images of a data set on the Hugging Face hub, or in a folder, decoded once and then read from one file.

    Samples are float32 (3 or 1, height, width) in [-1, 1], in the order of the data set. Needs the
    package `datasets`: `pip install 'coupling-gan[huggingface]'`. A split is downloaded whole when
    it is first named, by `coupling check` too. With `streaming` only its first `limit` samples are
    read, when they are first needed, and nothing but the decoded images is kept; a stream that is
    interrupted goes on where it was. No code of a data set is ever run.

    Raises:
        ConfigError: `datasets` is not installed; there is no such configuration, split, column or
            class; a column holds no images, or no values of the filter's kind.
        DataError: the data set cannot be had, or has fewer samples than `limit`; :meth:`prepare`:
            an image is damaged or not of 8 bits (these `on_error: skip` leaves out), or not as
            large as the others.
    """

    _kind = "huggingface"

    def __init__(
        self,
        *,
        path: Annotated[
            str,
            Field(min_length=1, description="USER/NAME on the hub; or a folder: Parquet, images, save_to_disk ..."),
        ],
        config: Annotated[str | None, Field(description="which of its configurations; default: the only one")] = None,
        split: Annotated[str | None, Field(description="which of its splits; default: train, or the only one")] = None,
        revision: Annotated[
            str | None, Field(description="branch, tag or commit on the hub; only a commit never changes")
        ] = None,
        image: Annotated[str | None, Field(description="column of the images; default: the only one")] = None,
        label: Annotated[
            str | None, Field(description="column of the labels; default: the only one of classes, if there is one")
        ] = None,
        filter: Annotated[
            dict[str, Scalar | list[Scalar]] | None,
            Field(description="{column: value or list of values}: samples that have these alone; classes by name"),
        ] = None,
        limit: Annotated[
            int | None, Field(ge=1, description="samples, from the first on; default: all; streaming needs it")
        ] = None,
        streaming: Annotated[
            bool, Field(description="read `limit` samples in their order instead of downloading the split")
        ] = False,
        size: SizeOption = None,
        crop: CropOption = None,
        resize: ResizeOption = "none",
        mode: ModeOption = "rgb",
        on_error: OnErrorOption = "stop",
    ) -> None:
        library()
        self._place = Place(path, config, split, revision)
        self._wanted: Wanted = {
            column: tuple(values) if isinstance(values, list) else (values,)
            for column, values in sorted((filter or {}).items())
        }
        self._names = image, label
        self._limit = limit
        self._streaming = streaming
        self._on_error = on_error
        crop = None if crop is None else height_and_width(crop)
        given = height_and_width(size) if size else crop
        self._key: dict[str, object] = self._place.key | {
            "image": image,
            "filter": {column: list(values) for column, values in self._wanted.items()},
            "resize": resize,
            "crop": crop,
        }
        if not streaming:
            self._key |= {"content": contents(self._table)}
            self._count = len(self._rows)
        elif limit is None:
            raise ConfigError(
                "streaming: a stream does not tell its length, on which parts and epochs depend; give limit, the "
                "number of samples to take from its beginning"
            )
        else:
            self._key |= {"label": label}  # the columns of whole numbers are kept beside the images
            self._count = limit
        height, width = given or self._first_size()
        self.shape = (3 if mode == "rgb" else 1, height, width)
        self._given: dict[str, Any] = {  # of a set that is read alike
            "path": path,
            "config": config,
            "revision": revision,
            "image": image,
            "label": label,
            "filter": filter,
            "size": (height, width),
            "crop": crop,
            "resize": resize,
            "mode": mode,
            "on_error": on_error,
        }
        self._fit = Fit(height, width, self.shape[0], resize, crop)
        if streaming and self._record() is None:  # once it is kept, the hub is not asked again
            self._open_stream()
        taken = [f"{column}={list(values)}" for column, values in self._wanted.items()]
        self.source = "&".join([f"huggingface:{self._place}", *taken, *([] if limit is None else [f"limit={limit}"])])

    @cached_property
    def labels(self) -> Tensor | None:
        """Class of each sample, from the label column: (len(self),) int64; None without one, or where none is known.

        Raises :class:`DataError` where only some are known.
        """
        found = [(name, numbers) for name, numbers in self._numbers.items() if name.startswith(_LABEL)]
        if not found or (found[0][1] < 0).all():
            return None
        name, numbers = found[0]
        unknown = int((numbers < 0).sum())
        if unknown:
            raise DataError(
                f"column '{name.removeprefix(_LABEL)}' names no class (null or negative) for {unknown:,} of "
                f"{len(self):,} samples; filter them out, or give another label"
            )
        return torch.from_numpy(numbers)

    def attributes(self) -> Mapping[str, Tensor]:
        """The other columns of classes, truth values and whole numbers, where they are 0 or more everywhere."""
        return {
            name.removeprefix(_ATTRIBUTE): torch.from_numpy(numbers)
            for name, numbers in self._numbers.items()
            if name.startswith(_ATTRIBUTE) and (numbers >= 0).all()
        }

    def held_out(self) -> Dataset | None:
        """The split `test`, read and filtered in the same way, where there is one; none of a stream."""
        if self._streaming or "test" not in self._place.splits or self._place.used == "test":
            return None
        return HuggingFace(**self._given, split="test")

    def overlap(self, other: Dataset) -> str | None:
        """Rows of one split that are in both; of streams, whether their filters keep them apart."""
        if not isinstance(other, HuggingFace) or not self._place.same_split(other._place):
            return None
        if self._streaming or other._streaming:
            apart = any(
                not set(values) & set(others) and _all_text(values) == _all_text(others)  # else: names and numbers
                for name, values in self._wanted.items()
                for others in [other._wanted.get(name, values)]
            )
            return None if apart else f"both read {self._place}, and no column's filter keeps them apart"
        common = len(np.intersect1d(self._rows, other._rows))
        return f"{common:,} rows of {self._place}" if common else None

    # -- the table, or the stream --------------------------------------------------------------

    @property
    def _table(self) -> Any:
        return self._place.table

    @cached_property
    def _columns(self) -> Columns:
        return choose_columns(self._table.features, self._place, *self._names, self._wanted)

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """Numbers of the table's rows that are the samples."""
        rows = matching_rows(self._table, self._columns.wanted, self._place)
        if self._limit is not None and len(rows) < self._limit:
            raise DataError(
                f"limit: {self._limit:,}, but {self._place} has {len(rows):,} samples"
                f"{' that the filter takes' if self._wanted else ''}; lower it, or leave it out"
            )
        return rows[: self._limit]

    def _open_stream(self) -> _Stream:
        return _Stream(self._place, *self._names, self._wanted, getattr(self, "_fit", None))

    def _first_size(self) -> tuple[int, int]:
        """(height, width) of the first image, upright; with "skip" of the first that can be opened."""
        if self._streaming:
            values: Iterator[tuple[str, Any]] = (sample[:2] for sample in self._open_stream().samples())
        else:
            encoded = _encoded_images(self._table, self._columns.image)
            values = ((f"row {row}", encoded[int(row)][self._columns.image]) for row in self._rows)
        for name, value in values:
            try:
                with _opened(value, name) as file, open_image(file, _named(value, name)) as image:
                    return upright_size(image)
            except UnreadableImage:
                if self._on_error == "stop":
                    raise
        raise DataError(f"none of the images of {self._place} can be opened")

    def _make(self) -> ImageArray:
        shape = (self._fit.height, self._fit.width, self._fit.channels)
        directory, title = data_directory("huggingface"), f"Images of {self._place}"
        if self._streaming:
            return streamed_images(
                directory, self._key, self._count, shape, self._open_stream, title=title, on_error=self._on_error
            )
        column = self._columns.image
        return cached_images(
            directory,
            self._key,
            self._count,
            shape,
            _Decoder(_encoded_images(self._table, column), self._rows, column, self._fit),
            title=title,
            processes=1 if self._count < _QUICK else None,
            on_error=self._on_error,
        )

    def _record(self) -> CachedRecord | None:
        shape = (self._fit.height, self._fit.width, self._fit.channels)
        directory = data_directory("huggingface")
        if self._streaming:
            return streamed_record(directory, self._key, self._count, shape, self._on_error)
        return cached_record(directory, self._key, self._count, shape)

    @cached_property
    def _numbers(self) -> dict[str, NDArray[np.int64]]:
        """What is known of each sample, (len(self),) each, -1 where it is not; names begin with what it is."""
        if self._streaming:
            self.prepare()
            record = self._record()
            assert record is not None
            return streamed_numbers(data_directory("huggingface"), record)
        numbers = whole_numbers(self._table, self._columns.known, self._rows)
        kept = slice(None) if self._on_error == "stop" else self._kept()
        return {_kept_name(name, self._columns): column[kept] for name, column in numbers.items()}


def _all_text(values: tuple[Scalar, ...]) -> bool:
    return all(isinstance(value, str) for value in values)


def _kept_name(column: str, columns: Columns) -> str:
    return (_LABEL if column == columns.label else _ATTRIBUTE) + column


# -- images as they are encoded --------------------------------------------------------------------


def _encoded_images(table: Any, column: str) -> Any:
    """The column of a table or stream, its images not decoded."""
    kinds = library()
    if isinstance(table.features[column], kinds.Image):
        table = table.cast_column(column, kinds.Image(decode=False))
    return table


def _named(value: Any, name: str) -> str:
    """A sample's name in messages: its number, and its file where that is known."""
    path = value.get("path") if isinstance(value, Mapping) else None
    return f"{name} ({PurePath(path).name})" if path else name


def _opened(value: Any, name: str) -> AbstractContextManager[BinaryIO]:
    """An encoded image as a binary file. Raises :class:`UnreadableImage`, :class:`DataError` if it is far away."""
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
            raise DataError(f"{path} cannot be fetched: {cause(error)}; try again: it goes on from there") from error
    try:
        return open(path, "rb")
    except OSError as error:
        raise UnreadableImage(f"{_named(value, name)}: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Decoder:
    """Makes sample ``index``: uint8 (height, width, channels)."""

    table: Any
    rows: NDArray[np.int64]
    column: str
    fit: Fit

    def __call__(self, index: int) -> ImageArray:
        row = int(self.rows[index])
        return _decoded(self.table[row][self.column], f"row {row}", self.fit)


def _decoded(value: Any, name: str, fit: Fit) -> ImageArray:
    with _opened(value, name) as file, open_image(file, _named(value, name)) as image:
        return fit(image, _named(value, name))


class _Stream(ImageStream):
    """The samples that the filter takes, in the order of the split."""

    def __init__(self, place: Place, image: str | None, label: str | None, wanted: Wanted, fit: Fit | None) -> None:
        """``fit`` None: for :meth:`samples` alone."""
        stream = place.stream()
        if stream.features is None:
            raise DataError(
                f"{place}: the kinds of its columns cannot be told from the beginning of a stream; leave streaming out"
            )
        self._columns = choose_columns(stream.features, place, image, label, wanted)
        self._stream = _encoded_images(stream.select_columns(self._columns.all), self._columns.image)
        self._place = place
        self._fit = fit
        self._row = 0
        self.numbers = tuple(_kept_name(name, self._columns) for name in self._columns.known)
        self.stamp = f"{place.version} datasets {library().__version__}"  # positions are the library's own

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
                    f"{self._place}: the stream broke off after {self._row:,} rows: {cause(error)}; try again: it goes "
                    "on near there"
                ) from error
            self._row += 1
            if all(example[name] in values for name, values in self._columns.wanted.items()):
                numbers = tuple(-1 if example[name] is None else int(example[name]) for name in self._columns.known)
                yield f"row {self._row - 1}", example[self._columns.image], numbers

    def __iter__(self) -> Iterator[tuple[ImageArray | UnreadableImage, tuple[int, ...]]]:
        assert self._fit is not None
        for name, value, numbers in self.samples():
            try:
                yield _decoded(value, name, self._fit), numbers
            except UnreadableImage as error:
                yield error, numbers

    def position(self) -> Any:
        """The library's own position, and the number of rows before it."""
        return {"row": self._row, "state": self._stream.state_dict()}

    def seek(self, position: Any) -> None:
        """Go on at a position."""
        self._row = position["row"]
        self._stream.load_state_dict(position["state"])
