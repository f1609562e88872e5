"""The files of encoded samples: PNGs and arrays in folders, a zip for each domain, or shards of a WebDataset.

A sample of images is a PNG. Any other sample is an array, and a PNG too if it can be drawn.

Samples are written in parts of a fixed number. A part that is done is on the disk; one that a killed process has left
unfinished is written again. No file holds times or user names: the same samples are the same bytes.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import numpy as np

from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.arrays import array_header, write_table
from coupling.system.atomic_files import replacing

Format: TypeAlias = Literal["folder", "zip", "webdataset"]


Suffix: TypeAlias = Literal["npy", "png"]


Add: TypeAlias = Callable[[int, str, Suffix, bytes], None]
"""Adds one sample of one domain to a part: its number, its domain, what it is, and the content of its file."""


def suffixes(domain: Domain) -> tuple[Suffix, ...]:
    """The files of one sample of a domain."""
    if domain.is_image:
        return ("png",)
    return ("npy", "png") if domain.is_drawable else ("npy",)


class SampleFiles(ABC):
    """The files of one set of samples. All methods raise OSError if they cannot write."""

    def __init__(self, root: Path, domains: Mapping[str, Domain], count: int) -> None:
        """Files of ``count`` samples of each of ``domains`` in the directory ``root``."""
        self.root, self.domains, self.count = root, dict(domains), count

    @abstractmethod
    def part(self, number: int) -> AbstractContextManager[Add]:
        """Write part ``number``, counted from 0; it is done when the block ends without an error."""

    @abstractmethod
    def names(self, parts: int) -> Iterator[str]:
        """Paths, relative to the root, of the files of a whole set in ``parts`` parts."""

    def finish(self, parts: int) -> None:  # noqa: B027  (most formats consist of their parts)
        """Make the files that readers open from all parts. Can be repeated."""

    def sweep(self) -> None:  # noqa: B027
        """Remove files that are not needed once all is finished. Can be repeated."""


class Folders(SampleFiles):
    """``<domain>/000000.png``, and ``<domain>.npy`` with the arrays of all samples, (count, *shape) float32.

    Rows of a table are ``<domain>.csv``, too, in the units of their columns.
    """

    @contextmanager
    def part(self, number: int) -> Iterator[Add]:
        """Write one picture for each sample and domain, and the rows of the arrays."""
        with ExitStack() as stack:
            arrays: dict[str, BinaryIO] = {}
            for name, domain in self.domains.items():
                if "png" in suffixes(domain):
                    (self.root / name).mkdir(exist_ok=True)
                if "npy" in suffixes(domain):
                    # Part 0 begins the file, also where a killed process has left a piece of it.
                    arrays[name] = stack.enter_context((self.root / f"{name}.npy").open("r+b" if number else "wb"))

            def add(sample: int, domain: str, suffix: Suffix, content: bytes) -> None:
                if suffix == "png":
                    (self.root / domain / f"{sample:06d}.png").write_bytes(content)
                else:
                    self._write_row(arrays[domain], sample, self.domains[domain], content)

            yield add
        if hasattr(os, "sync"):  # Windows has none. Once for thousands of files: to wait for each would take longer
            os.sync()

    def finish(self, parts: int) -> None:
        """Write the tables from the arrays."""
        for name, domain in self.domains.items():
            if domain.columns:
                with replacing(self.root / f"{name}.csv") as file:
                    write_table(file, np.load(self.root / f"{name}.npy", mmap_mode="r"), domain.columns)

    def _write_row(self, file: BinaryIO, sample: int, domain: Domain, content: bytes) -> None:
        """Write the array of one sample, the content of a .npy, into the array of all samples."""
        header = array_header((self.count, *domain.shape))
        row = content[-domain.size * np.dtype(np.float32).itemsize :]  # the numbers follow the header
        if sample == 0:
            file.write(header)
        file.seek(len(header) + sample * len(row))
        file.write(row)

    def names(self, parts: int) -> Iterator[str]:
        """One picture for each sample and domain, one array for each domain."""
        for name, domain in self.domains.items():
            if "npy" in suffixes(domain):
                yield f"{name}.npy"
            if domain.columns:
                yield f"{name}.csv"
            if "png" in suffixes(domain):
                yield from (f"{name}/{sample:06d}.png" for sample in range(self.count))


class Shards(SampleFiles):
    """``pairs-000000.tar`` with members ``000000.<domain>.png`` (or ``.npy``), those of one code beside each other."""

    stem = "pairs-"

    def __init__(self, root: Path, domains: Mapping[str, Domain], count: int) -> None:
        """Raise :class:`InputError` if readers, which ignore the case of suffixes, would take two domains for one."""
        super().__init__(root, domains, count)
        if len({name.lower() for name in domains}) < len(self.domains):
            raise InputError(
                f"the names of the domains, {', '.join(domains)}, differ only in upper and lower case, which "
                "readers of a webdataset ignore; give --format folder or zip"
            )

    @contextmanager
    def part(self, number: int) -> Iterator[Add]:
        """Write one tar, which is there as a whole or not at all."""
        with (
            replacing(self._path(number)) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):

            def add(sample: int, domain: str, suffix: Suffix, content: bytes) -> None:
                member = tarfile.TarInfo(f"{sample:06d}.{domain}.{suffix}")  # dated 1970, without an owner
                member.size = len(content)
                tar.addfile(member, BytesIO(content))

            yield add

    def names(self, parts: int) -> Iterator[str]:
        """One tar for each part."""
        return (self._path(number).name for number in range(parts))

    def _path(self, number: int) -> Path:
        return self.root / f"{self.stem}{number:06d}.tar"


class Zips(Shards):
    """``<domain>.zip`` with ``000000.png`` (or ``.npy``) ...; the data set ``image-folder`` reads the pictures.

    A zip ends with its table of contents and cannot grow part by part. So the parts are hidden tars until all is done.
    """

    stem = ".part-"

    def names(self, parts: int) -> Iterator[str]:
        """One zip for each domain."""
        return (f"{name}.zip" for name in self.domains)

    def finish(self, parts: int) -> None:
        """Write the zips from the tars."""
        with ExitStack() as stack:
            zips = {
                name: stack.enter_context(
                    zipfile.ZipFile(
                        stack.enter_context(replacing(self.root / f"{name}.zip")), "w"
                    )  # PNGs are compressed already, and numbers hardly can be
                )
                for name in self.domains
            }
            for number in range(parts):
                with tarfile.open(self._path(number)) as tar:
                    for member in tar:
                        sample, domain, suffix = member.name.split(".")
                        entry = zipfile.ZipInfo(f"{sample}.{suffix}")  # dated 1980, the first year that a zip can have
                        entry.external_attr = 0o644 << 16
                        content = tar.extractfile(member)
                        assert content is not None
                        zips[domain].writestr(entry, content.read())

    def sweep(self) -> None:
        """Remove the hidden tars."""
        for path in self.root.glob(f"{self.stem}*.tar"):
            path.unlink()


FORMATS: dict[Format, type[SampleFiles]] = {"folder": Folders, "zip": Zips, "webdataset": Shards}
