"""The files of encoded samples: PNGs in folders, a zip for each domain, or shards of a WebDataset.

Samples are written in parts of a fixed number. A part that is done is on the disk; one that a killed process has left
unfinished is written again. No file holds times or user names: the same samples are the same bytes.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeAlias

from coupling.errors import InputError
from coupling.system.atomic_files import replacing

Format: TypeAlias = Literal["folder", "zip", "webdataset"]


Add: TypeAlias = Callable[[int, str, bytes], None]
"""Adds one sample of one domain to a part: its number, its domain, the PNG."""


class SampleFiles(ABC):
    """The files of one set of samples. All methods raise OSError if they cannot write."""

    def __init__(self, root: Path, domains: Sequence[str]) -> None:
        self.root, self.domains = root, list(domains)

    @abstractmethod
    def part(self, number: int) -> AbstractContextManager[Add]:
        """Write part ``number``, counted from 0; it is done when the block ends without an error."""

    @abstractmethod
    def names(self, count: int, parts: int) -> Iterator[str]:
        """Paths, relative to the root, of the files of a whole set of ``count`` samples in ``parts`` parts."""

    def finish(self, parts: int) -> None:  # noqa: B027  (most formats consist of their parts)
        """Make the files that readers open from all parts. Can be repeated."""

    def sweep(self) -> None:  # noqa: B027
        """Remove files that are not needed once all is finished. Can be repeated."""


class Folders(SampleFiles):
    """``<domain>/000000.png``."""

    @contextmanager
    def part(self, number: int) -> Iterator[Add]:
        """Write one file for each sample and domain."""
        for name in self.domains:
            (self.root / name).mkdir(exist_ok=True)

        def add(sample: int, domain: str, png: bytes) -> None:
            (self.root / domain / f"{sample:06d}.png").write_bytes(png)

        yield add
        if hasattr(os, "sync"):  # Windows has none. Once for thousands of files: to wait for each would take longer
            os.sync()

    def names(self, count: int, parts: int) -> Iterator[str]:
        """One file for each sample and domain."""
        return (f"{name}/{sample:06d}.png" for name in self.domains for sample in range(count))


class Shards(SampleFiles):
    """``pairs-000000.tar`` with members ``000000.<domain>.png``: the images of one code stand together."""

    stem = "pairs-"

    def __init__(self, root: Path, domains: Sequence[str]) -> None:
        """Raise :class:`InputError` if readers, which ignore the case of suffixes, would take two domains for one."""
        super().__init__(root, domains)
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

            def add(sample: int, domain: str, png: bytes) -> None:
                member = tarfile.TarInfo(f"{sample:06d}.{domain}.png")  # dated 1970, without an owner
                member.size = len(png)
                tar.addfile(member, BytesIO(png))

            yield add

    def names(self, count: int, parts: int) -> Iterator[str]:
        """One tar for each part."""
        return (self._path(number).name for number in range(parts))

    def _path(self, number: int) -> Path:
        return self.root / f"{self.stem}{number:06d}.tar"


class Zips(Shards):
    """``<domain>.zip`` with ``000000.png`` ..., which the data set ``image-folder`` reads.

    A zip ends with its table of contents and cannot grow part by part. So the parts are hidden tars until all is done.
    """

    stem = ".part-"

    def names(self, count: int, parts: int) -> Iterator[str]:
        """One zip for each domain."""
        return (f"{name}.zip" for name in self.domains)

    def finish(self, parts: int) -> None:
        """Write the zips from the tars."""
        with ExitStack() as stack:
            zips = {
                name: stack.enter_context(
                    zipfile.ZipFile(
                        stack.enter_context(replacing(self.root / f"{name}.zip")), "w"
                    )  # PNGs are compressed already
                )
                for name in self.domains
            }
            for number in range(parts):
                with tarfile.open(self._path(number)) as tar:
                    for member in tar:
                        sample, domain, _ = member.name.split(".")
                        entry = zipfile.ZipInfo(f"{sample}.png")  # dated 1980, the first year that a zip can have
                        entry.external_attr = 0o644 << 16
                        content = tar.extractfile(member)
                        assert content is not None
                        zips[domain].writestr(entry, content.read())

    def sweep(self) -> None:
        """Remove the hidden tars."""
        for path in self.root.glob(f"{self.stem}*.tar"):
            path.unlink()


FORMATS: dict[Format, type[SampleFiles]] = {"folder": Folders, "zip": Zips, "webdataset": Shards}
