"""The data set table: rows of numbers of a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from coupling.data.csv_file import CsvFile, standardised
from coupling.data.dataset import Dataset
from coupling.domain import Column
from coupling.errors import ConfigError, DataError, nearest
from coupling.system.file_names import expand_home
from coupling.system.terminal import print_line


class Table(Dataset):
    """Rows of a CSV file: each row is a sample, each column of numbers a value of it, standardised.

    Samples are float32 (columns,) in [-limit, limit]: the value minus the column's mean, divided by its standard
    deviation, both over all rows of the file (or of another, `standardised_by`). `coupling sample` writes them back in
    the column's own units. The first line of the file names the columns. Domains that read one file, with equal
    columns or others, get disjoint rows.

    Raises:
        ConfigError: ``path`` is not a file.
        DataError: it is not CSV in UTF-8, has no rows, or a value is not a number; the message names line and column.
    """

    drawn_by = "bars"

    def __init__(
        self,
        *,
        path: Annotated[str, Field(min_length=1, description="the CSV file; ~ is your home directory")],
        columns: Annotated[
            list[str] | None,
            Field(min_length=1, description="the columns to read, in this order; default: all columns of numbers"),
        ] = None,
        standardised_by: Annotated[
            str | None,
            Field(min_length=1, description="CSV file whose means and standard deviations are used; default: its own"),
        ] = None,
        limit: Annotated[
            float, Field(ge=1, le=100, description="standard deviations beyond which values are cut off")
        ] = 4.0,
    ) -> None:
        file = _read(path, "path")
        names = file.numeric if columns is None else columns
        _check_columns(file, names, given=columns is not None)
        values = file.numbers(names)
        other = file if standardised_by is None else _read(standardised_by, "standardised_by")
        self.columns = _columns(other, names)
        numbers = standardised(values, self.columns)
        self._samples = torch.from_numpy(np.clip(numbers, -limit, limit).astype(np.float32))
        self.shape = (len(names),)
        self.range = (-float(limit), float(limit))
        self.source = f"table:{file.digest}"
        if beyond := int((np.abs(numbers) > limit).sum()):
            print_line(
                f"{file.path}: {beyond:,} of {numbers.size:,} values lie more than {limit:g} standard deviations from "
                "the mean of their column and are cut off there; a higher limit keeps them"
            )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._samples)

    def __getitem__(self, index: int) -> Tensor:
        """A row: (columns,) in [-limit, limit]."""
        return self._samples[index]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Rows by number: (len(indices), columns)."""
        return self._samples[list(indices)]

    def fingerprint(self) -> str:
        """The file's content, and which columns are read and how."""
        columns = ",".join(f"{column.name}={column.centre:.9g}+{column.scale:.9g}" for column in self.columns)
        return f"{self.source}:{columns}:{self.range[1]:g}"


def _read(path: str, key: str) -> CsvFile:
    """The CSV file that the option ``key`` names."""
    place = expand_home(path, key)
    try:
        if place.is_file():
            return CsvFile.read(place)
        if place.exists():
            raise ConfigError(f"{key} '{path}' is not a file; a table is a CSV file")
        siblings = [file.name for file in place.parent.glob("*.csv")]
    except OSError as error:  # a loop of links, a name too long
        raise ConfigError(f"{key} '{path}': {error.strerror or error}") from None
    if siblings:
        fix = f"its folder has other CSV files: {nearest(place.name, siblings)}"
    elif place.is_absolute():
        fix = "its folder is not there, or has no CSV file"
    else:
        fix = f"the path begins in the directory where `coupling` was started, {Path.cwd()}"
    raise ConfigError(f"{key} '{path}': there is no such file; {fix}")


def _check_columns(file: CsvFile, names: Sequence[str], *, given: bool) -> None:
    """Raise :class:`DataError` if there are no columns; print which ones are left out."""
    if len(set(names)) < len(names):
        raise ConfigError(f"columns: {', '.join(names)} names a column twice")
    if not names:
        raise DataError(f"{file.path}: has no column of numbers: {', '.join(file.header)}")
    left = [name for name in file.header if name not in names]
    if left and not given:
        print_line(f"{file.path}: left out, because their values are not numbers: {', '.join(left)}")


def _columns(file: CsvFile, names: Sequence[str]) -> tuple[Column, ...]:
    """The columns with their means and standard deviations in ``file``."""
    values = file.numbers(names)
    means, deviations = values.mean(0), values.std(0)
    for name, deviation in zip(names, deviations, strict=True):
        if not deviation > 0:
            raise DataError(f"{file.path}: every value of the column '{name}' is the same; name other columns")
    return tuple(Column(*column) for column in zip(names, means.tolist(), deviations.tolist(), strict=True))
