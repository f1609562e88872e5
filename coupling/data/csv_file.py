"""Columns of numbers in a CSV file, and rows of numbers as CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from coupling.domain import Column
from coupling.errors import DataError, nearest

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CsvFile:
    """The content of a CSV file: commas between the values, the names of the columns in the first line."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    """The values of each line as text, as many as there are columns."""
    lines: list[int]
    """The line of each row in the file, from 1."""
    digest: str
    """SHA-256 of the file."""

    @classmethod
    def read(cls, path: Path) -> CsvFile:
        """Read a file of UTF-8 text; raises :class:`DataError` if it has no rows, or rows of different lengths."""
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not text in UTF-8 (byte {error.start}); save it as CSV in UTF-8") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header: list[str] = []
        rows, lines = [], []
        try:
            for row in reader:
                if not any(value.strip() for value in row):
                    continue
                if not header:
                    header = [name.strip() for name in row]
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: has {len(row)} values, the first line names {len(header)} "
                        "columns; give every row one value a column, with commas between them"
                    )
                rows.append(row)
                lines.append(reader.line_num)
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: is not CSV: {error}") from None
        if not rows:
            raise DataError(f"{path}: holds no rows; the first line names the columns, each further line is a sample")
        twice = [name for number, name in enumerate(header) if name in header[:number]]
        if twice:
            raise DataError(f"{path}: names the column '{twice[0]}' twice; give each column a name of its own")
        return cls(path, header, rows, lines, hashlib.sha256(content).hexdigest())

    @property
    def numeric(self) -> list[str]:
        """The columns whose first value is a number."""
        return [name for name, value in zip(self.header, self.rows[0], strict=True) if _number(value) is not None]

    def numbers(self, columns: Sequence[str]) -> Numbers:
        """The values of columns: (rows, len(columns)).

        Raises:
            DataError: the file has no such column, or a value is not a finite number; the message names its line.
        """
        found = np.empty((len(self.rows), len(columns)))
        for place, name in enumerate(columns):
            if name not in self.header:
                raise DataError(f"{self.path}: has no column '{name}'; {nearest(name, self.header)}")
            column = self.header.index(name)
            for row, line in zip(range(len(self.rows)), self.lines, strict=True):
                value = _number(self.rows[row][column])
                if value is None:
                    raise DataError(
                        f"{self.path}, line {line}, column '{name}': {self.rows[row][column]!r} is not a finite "
                        "number; correct it, leave the row out, or name other columns"
                    )
                found[row, place] = value
        return found


def write_rows(file: io.TextIOBase, rows: Iterable[Numbers]) -> None:
    """Write rows of numbers, with nine significant digits: as many as float32 numbers need."""
    for row in rows:
        file.write(",".join(f"{value:.9g}" for value in row.tolist()) + "\r\n")


def write_header(file: io.TextIOBase, columns: Sequence[Column]) -> None:
    """Write the line with the names of the columns."""
    csv.writer(file).writerow([column.name for column in columns])


def standardised(values: Numbers, columns: Sequence[Column]) -> Numbers:
    """Values in the units of their columns, (n, len(columns)), as numbers of a sample."""
    centres, scales = np.array([[column.centre, column.scale] for column in columns]).T
    numbers: Numbers = (values - centres) / scales
    return numbers


def original(numbers: npt.NDArray[np.float32], columns: Sequence[Column]) -> Numbers:
    """Numbers of samples, (n, len(columns)), in the units of their columns: the inverse of :func:`standardised`."""
    centres, scales = np.array([[column.centre, column.scale] for column in columns]).T
    values: Numbers = centres + numbers.astype(np.float64) * scales
    return values


def _number(text: str) -> float | None:
    """The finite number that a text is; None if it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
