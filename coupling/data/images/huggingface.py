"""The data set ``huggingface``: images of the Hugging Face hub, or of a folder that its library `datasets` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from coupling.data.dataset import Dataset
from coupling.data.images.cached_dataset import CachedImages
from coupling.data.images.decoding import (
    CropOption,
    Fit,
    FlipOption,
    ModeOption,
    OnErrorOption,
    ResizeOption,
    SizeOption,
    WindowOption,
    height_and_width,
)
from coupling.data.images.huggingface_columns import Scalar
from coupling.data.images.huggingface_readers import ATTRIBUTE, LABEL, Reader, Selection, StreamReader, TableReader
from coupling.data.images.huggingface_table import Place, library
from coupling.errors import DataError
from coupling.system.data_directory import data_directory

PathOption: TypeAlias = Annotated[
    str, Field(min_length=1, description="USER/NAME on the hub; or a folder: Parquet, images, save_to_disk ...")
]
ConfigOption: TypeAlias = Annotated[str | None, Field(description="which of its configurations; default: the only one")]
SplitOption: TypeAlias = Annotated[
    str | None, Field(description="which of its splits; default: train, or the only one")
]
RevisionOption: TypeAlias = Annotated[
    str | None, Field(description="branch, tag or commit on the hub; only a commit never changes")
]
ImageOption: TypeAlias = Annotated[str | None, Field(description="column of the images; default: the only one")]
LabelOption: TypeAlias = Annotated[
    str | None, Field(description="column of the labels; default: the only one of classes, if there is one")
]
FilterOption: TypeAlias = Annotated[
    dict[str, Scalar | list[Scalar]] | None,
    Field(description="{column: value or list of values}: samples that have these alone; classes by name"),
]
LimitOption: TypeAlias = Annotated[
    int | None, Field(ge=1, description="samples, from the first on; default: all; streaming needs it")
]
StreamingOption: TypeAlias = Annotated[
    bool, Field(description="read `limit` samples in their order instead of downloading the split")
]


class SelectedImages(CachedImages):
    """The selected samples of a split, decoded once and then read from one file."""

    def __init__(self, reader: Reader, fit: Fit, window: tuple[int, int] | None, flip: bool) -> None:
        """``reader``: reads the samples. ``fit``: how a decoded image becomes a sample.

        ``window``, ``flip``: crops and mirror images of training, as the options of these names.
        """
        self._reader, self._fit = reader, fit
        cache = reader.cache(data_directory("huggingface"), fit)
        if cache.record is None:
            reader.check()
        super().__init__(cache, source=reader.selection.source, kind="huggingface", window=window, flip=flip)
        self.counted_by_prepare = reader.leaves_out
        self._classes: Sequence[str] | None = None

    @cached_property
    def labels(self) -> Tensor | None:
        """Class of each sample, from the label column: (len(self),) int64; None without one, or where none is known.

        Raises :class:`DataError` where only some are known.
        """
        found = [(name, numbers) for name, numbers in self._numbers.items() if name.startswith(LABEL)]
        if not found or (found[0][1] < 0).all():
            return None
        name, numbers = found[0]
        unknown = int((numbers < 0).sum())
        if unknown:
            raise DataError(
                f"column '{name.removeprefix(LABEL)}' names no class (null or negative) for {unknown:,} of "
                f"{len(self):,} samples; filter them out, or give another label"
            )
        own = self._reader.class_names
        if self._classes is None or own is None:
            return torch.from_numpy(numbers)
        places = {name: number for number, name in enumerate(self._classes)}
        return torch.tensor([places[name] for name in own])[torch.from_numpy(numbers)]

    def class_counts(self) -> Mapping[str, int] | None:
        """Number of samples of each class of the label column; None where classes have no names, or of a stream."""
        return self._reader.class_counts()

    def number_classes(self, names: Sequence[str]) -> None:
        """Let :attr:`labels` be numbers into ``names``."""
        self._classes = names

    def attributes(self) -> Mapping[str, Tensor]:
        """The other columns of classes, truth values and whole numbers, where they are 0 or more everywhere."""
        return {
            name.removeprefix(ATTRIBUTE): torch.from_numpy(numbers)
            for name, numbers in self._numbers.items()
            if name.startswith(ATTRIBUTE) and (numbers >= 0).all()
        }

    def identities(self) -> Sequence[str]:
        """The place of each sample among those that the filter takes."""
        kept = self.cache.readable.tolist() if self.counted_by_prepare else range(self.cache.count)
        return [f"{number:012d}" for number in kept]

    def held_out(self) -> Dataset | None:
        """The split `test`, read and filtered in the same way, where there is one; none for a stream."""
        if not self._reader.has_test:
            return None
        reader = TableReader(self._reader.selection.of_split("test"), self._reader.on_error)
        return SelectedImages(reader, self._fit, self.window, self.flip)

    def overlap(self, other: Dataset) -> str | None:
        """Rows of one split that are in both; for streams, whether their filters keep them apart."""
        return self._reader.in_common(other._reader) if isinstance(other, SelectedImages) else None

    @cached_property
    def _numbers(self) -> dict[str, NDArray[np.int64]]:
        """Whole numbers known of each sample, (len(self),) each, -1 where unknown; names begin with their kind."""
        numbers = self._reader.numbers(self.cache)
        if not self.counted_by_prepare:
            return numbers
        return {name: column[self.cache.readable] for name, column in numbers.items()}


class HuggingFace(SelectedImages):
    """Images of a data set on the Hugging Face hub, or in a folder, decoded once and then read from one file.

    Samples are float32 (3 or 1, height, width) in [-1, 1], in the order of the data set: their places in
    this order are their identities. Needs the package `datasets`: `pip install 'coupling-gan[huggingface]'`.
    A split is downloaded whole when it is first named, by `coupling check` too. With `streaming` only its
    first `limit` samples are read, when they are first needed, and only the decoded images are kept; a stream
    that is interrupted continues where it was. No code of a data set is ever run.

    Raises:
        ConfigError: `datasets` is not installed; there is no such configuration, split, column or
            class; a column holds no images, or no values of the filter's kind.
        DataError: the data set cannot be read, or has fewer samples than `limit`; :meth:`prepare`:
            an image is damaged, of pixels whose range is not known, or of another size that `resize`
            does not change. `on_error: skip` leaves such images out and counts them.
    """

    def __init__(
        self,
        *,
        path: PathOption,
        config: ConfigOption = None,
        split: SplitOption = None,
        revision: RevisionOption = None,
        image: ImageOption = None,
        label: LabelOption = None,
        filter: FilterOption = None,
        limit: LimitOption = None,
        streaming: StreamingOption = False,
        size: SizeOption = None,
        crop: CropOption = None,
        resize: ResizeOption = "none",
        window: WindowOption = None,
        flip: FlipOption = False,
        mode: ModeOption = "rgb",
        on_error: OnErrorOption = "stop",
    ) -> None:
        library()
        selection = Selection.of(Place(path, config, split, revision), image, label, filter, limit)
        reader: Reader = (StreamReader if streaming else TableReader)(selection, on_error)
        first = None if crop is None else height_and_width(crop)
        height, width = (height_and_width(size) if size else first) or reader.first_size()
        cut = None if window is None else height_and_width(window)
        super().__init__(reader, Fit(height, width, 3 if mode == "rgb" else 1, resize, first), cut, flip)
