"""NumPy's files (.npy) and tables (.csv) that a user gives, as samples of a domain."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from coupling.data.csv_file import CsvFile, standardised
from coupling.domain import Domain
from coupling.errors import DataError
from coupling.generation.given_sample import GivenSample

SUFFIX = ".npy"


def arrays_at(path: Path, domain: Domain) -> Iterator[GivenSample | str]:
    """Each sample in a .npy, or in those of a folder (with its subfolders) or a zip, or why a file cannot be used.

    A file holds one sample, (*shape), or several, (n, *shape), in the domain's range. ``path`` exists.
    """
    if path.is_file() and path.suffix.lower() == ".zip":
        yield from _in_zip(path, domain)
        return
    files = sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file()) if path.is_dir() else [path]
    if not files:
        yield f"{path}: holds no {SUFFIX}; {_fits(domain)}"
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            yield f"{file}: cannot be read: {error.strerror or error}"
            continue
        yield from _read(BytesIO(content), file, domain)


def rows_at(path: Path, domain: Domain) -> Iterator[GivenSample | str]:
    """Each row of a .csv that has the domain's columns, or why it cannot be used."""
    try:
        file = CsvFile.read(path)
        values = file.numbers([column.name for column in domain.columns])
    except DataError as error:
        yield str(error)
        return
    yield from _samples(standardised(values, domain.columns), path, domain)


def _in_zip(path: Path, domain: Domain) -> Iterator[GivenSample | str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.lower().endswith(SUFFIX))
            if not names:
                yield f"{path}: holds no {SUFFIX}; {_fits(domain)}"
            for name in names:
                yield from _read(BytesIO(archive.read(name)), path / name, domain)
    except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:  # RuntimeError: encrypted
        yield f"{path}: cannot be read: {error}"


def _read(content: BinaryIO, file: Path, domain: Domain) -> Iterator[GivenSample | str]:
    """The samples in one .npy, or why it cannot be used."""
    try:
        array: npt.NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError):
        yield f"{file}: not a .npy, damaged, or of Python objects; {_fits(domain)}"
        return
    if array.shape == domain.shape:
        samples = array[None]
    elif array.shape[1:] == domain.shape:
        samples = array
    else:
        yield f"{file}: holds an array of shape {array.shape}; {_fits(domain)}"
        return
    if array.dtype.kind not in "fiu":
        yield f"{file}: holds values of type {array.dtype}; give real numbers"
        return
    if not len(samples):
        yield f"{file}: holds no sample; {_fits(domain)}"
    yield from _samples(samples, file, domain, numbered=array.shape != domain.shape)


def _samples(
    samples: npt.NDArray[Any], file: Path, domain: Domain, *, numbered: bool = True
) -> Iterator[GivenSample | str]:
    """Each of the samples (n, *shape) of a file, or why it cannot be used."""
    low, high = domain.range
    for number, sample in enumerate(samples):
        name = file.with_name(f"{file.stem}-{number:06d}{file.suffix}") if numbered else file
        least, most = sample.min(), sample.max()
        if not (low <= least and most <= high):  # also where there are NaNs
            yield f"{name}: values lie in [{least:g}, {most:g}]; scale them into [{low:g}, {high:g}]"
        else:
            yield GivenSample(name, torch.from_numpy(sample.astype(np.float32)))


def _fits(domain: Domain) -> str:
    low, high = domain.range
    return (
        f"samples of domain '{domain.name}' are arrays of shape {domain.shape}, or (n, ...) of several, in "
        f"[{low:g}, {high:g}]"
    )
