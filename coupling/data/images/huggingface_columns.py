"""The columns of a data set that the library `datasets` reads: images, labels, other numbers, and the filter."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from coupling.data.images.huggingface_table import Place
from coupling.errors import ConfigError, DataError, nearest

Scalar: TypeAlias = bool | int | float | str


Wanted: TypeAlias = Mapping[str, tuple[Scalar, ...]]
"""{column: values}: a sample is taken if each of the columns has one of its values."""


_SHOWN = 20
"""Values in a message, at most."""


@dataclass(frozen=True)
class Columns:
    """The columns that are read, by name, and the values wanted, as the table holds them."""

    image: str
    label: str | None
    numbers: tuple[str, ...]
    """Other columns of classes, truth values and whole numbers."""
    wanted: Wanted

    @property
    def all(self) -> list[str]:
        """Every column that is read, once."""
        label = [] if self.label is None else [self.label]
        return list(dict.fromkeys([self.image, *label, *self.numbers, *self.wanted]))

    @property
    def known(self) -> tuple[str, ...]:
        """The columns of whole numbers, the label first."""
        return (*(() if self.label is None else (self.label,)), *self.numbers)


def choose_columns(
    features: Mapping[str, Any], place: Place, image: str | None, label: str | None, wanted: Wanted
) -> Columns:
    """Check the columns that a user names against those of the data set; raises :class:`ConfigError`.

    ``features``: the kind of each column, as `datasets` describes it.
    """
    for option, column in (("image", image), ("label", label), *((f"filter.{name}", name) for name in wanted)):
        if column is not None and column not in features:
            raise ConfigError(f"{option}: {place} has no column '{column}'; {nearest(column, features)}")
    described = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    if image is None:
        images = [name for name, feature in features.items() if _kind(feature) == "image"]
        if len(images) != 1:
            raise ConfigError(
                f"image: {place} has {'no column' if not images else 'several columns'} of images; give the one that "
                f"holds them, of: {described}"
            )
        image = images[0]
    elif _kind(features[image]) not in ("image", "bytes"):
        raise ConfigError(
            f"image: column '{image}' of {place} holds no images but {_kind(features[image])}; its columns: {described}"
        )
    if label is None:
        classes = [name for name, feature in features.items() if _kind(feature) == "classes"]
        label = classes[0] if len(classes) == 1 else None
    elif _kind(features[label]) not in _WHOLE:
        raise ConfigError(
            f"label: column '{label}' of {place} is of {_kind(features[label])}; a label is a class, a truth value or "
            f"a whole number; its columns: {described}"
        )
    numbers = [name for name, feature in features.items() if _kind(feature) in _WHOLE and name != label]
    converted = {
        name: tuple(_as_held(value, features[name], name) for value in values) for name, values in wanted.items()
    }
    return Columns(image, label, tuple(numbers), converted)


_WHOLE = ("classes", "truth values", "whole numbers")


def _kind(feature: Any) -> str:
    """A column's kind in words."""
    name, dtype = type(feature).__name__, str(getattr(feature, "dtype", ""))
    if name == "Image":
        return "image"
    if name == "ClassLabel":
        return "classes"
    if name != "Value":
        return f"{name}"
    if dtype == "bool":
        return "truth values"
    if re.fullmatch(r"u?int\d+", dtype):
        return "whole numbers"
    if dtype.startswith("float"):
        return "numbers"
    return {"string": "text", "large_string": "text", "binary": "bytes", "large_binary": "bytes"}.get(dtype, dtype)


_HELD: dict[str, tuple[type, ...]] = {
    "truth values": (bool,),
    "whole numbers": (int,),
    "numbers": (int, float),
    "text": (str,),
}


def _as_held(value: Scalar, feature: Any, column: str) -> Scalar:
    """A wanted value as the table holds it: a class by its number."""
    kind = _kind(feature)
    if kind == "classes":
        if isinstance(value, str):
            if value not in feature.names:
                raise ConfigError(f"filter.{column}: there is no class '{value}'; {nearest(value, feature.names)}")
            return int(feature.names.index(value))
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(feature.names):
            return value
        raise ConfigError(
            f"filter.{column}: {value!r} is not a class; give a name or one of 0 to {len(feature.names) - 1}"
        )
    if kind not in _HELD:
        raise ConfigError(f"filter.{column}: a column of {kind} cannot be filtered by value")
    if not isinstance(value, _HELD[kind]) or (isinstance(value, bool) and kind != "truth values"):
        raise ConfigError(f"filter.{column}: {value!r} is not one of the column's values, which are {kind}")
    return value


def matching_rows(table: Any, wanted: Wanted, place: Place) -> NDArray[np.int64]:
    """Numbers of the rows that have the wanted values, ascending; raises :class:`DataError` where there are none."""
    rows = np.arange(len(table))
    if wanted:
        arrow, compute = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.compute")
        columns = table.with_format("arrow").select_columns(list(wanted))[:]
        for name, values in wanted.items():
            column = columns.column(name)
            held = compute.is_in(column, value_set=arrow.array(values, type=column.type)).to_numpy()
            rows = np.intersect1d(rows, np.flatnonzero(held), assume_unique=True)
            if not len(rows):
                there = [str(value) for value in compute.unique(column).to_pylist()[: _SHOWN + 1]]
                more = ", ..." if len(there) > _SHOWN else ""
                raise DataError(
                    f"filter.{name}: no sample of {place} that the filter takes so far has "
                    f"{' or '.join(map(str, values))}; the column holds {', '.join(there[:_SHOWN])}{more}"
                )
    return rows


def whole_numbers(table: Any, columns: Sequence[str], rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Columns of classes, truth values and whole numbers at ``rows``, (len(rows),) each; -1 for missing values."""
    if not columns:
        return {}
    compute = importlib.import_module("pyarrow.compute")
    read = table.with_format("arrow").select_columns(list(columns))[:]
    return {
        name: compute.fill_null(read.column(name).cast("int64", safe=False), -1).to_numpy()[rows] for name in columns
    }
