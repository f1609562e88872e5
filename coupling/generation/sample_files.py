"""How encoded samples lie in a directory: as files, as a zip a domain, or as shards of a WebDataset.

They come in parts of a fixed number of samples. A part that is done is on the disk; what a killed process leaves of
another is written again. No file says when or by whom it was written: the same samples are the same bytes.
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
"""Takes one sample of one domain into a part: its number, its domain, the PNG."""


class SampleFiles(ABC):
    """The files of one set of samples; all raise OSError where they cannot be written."""

    def __init__(self, root: Path, domains: Sequence[str]) -> None:
        self.root, self.domains = root, list(domains)

    @abstractmethod
    def part(self, number: int) -> AbstractContextManager[Add]:
        """Part ``number``, from 0: it takes samples, and is done when the block ends well."""

    @abstractmethod
    def names(self, count: int, parts: int) -> Iterator[str]:
        """The files of a whole set of ``count`` samples in ``parts`` parts, from the root."""

    def finish(self, parts: int) -> None:  # noqa: B027  (parts are what most formats consist of)
        """Make of all parts what readers open. Can be repeated."""

    def sweep(self) -> None:  # noqa: B027
        """Remove what is of no use any more once all is finished. Can be repeated."""


class Folders(SampleFiles):
    """``<domain>/000000.png``."""

    @contextmanager
    def part(self, number: int) -> Iterator[Add]:
        """Files, each by itself."""
        for name in self.domains:
            (self.root / name).mkdir(exist_ok=True)

        def add(sample: int, domain: str, png: bytes) -> None:
            (self.root / domain / f"{sample:06d}.png").write_bytes(png)

        yield add
        os.sync()  # one for thousands of files: to wait for each by itself would take longer than drawing it

    def names(self, count: int, parts: int) -> Iterator[str]:
        """A file a sample."""
        return (f"{name}/{sample:06d}.png" for name in self.domains for sample in range(count))


class Shards(SampleFiles):
    """``pairs-000000.tar`` with members ``000000.<domain>.png``: the parts of one sample stand together."""

    stem = "pairs-"

    def __init__(self, root: Path, domains: Sequence[str]) -> None:
        """Raises :class:`InputError` where readers would take two domains for one: they ignore the case of suffixes."""
        super().__init__(root, domains)
        if len({name.lower() for name in domains}) < len(self.domains):
            raise InputError(
                f"the names of the domains, {', '.join(domains)}, differ in their case alone, which readers of a "
                "webdataset ignore; give --format folder or zip"
            )

    @contextmanager
    def part(self, number: int) -> Iterator[Add]:
        """One tar, there as a whole or not at all."""
        with (
            replacing(self._path(number)) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):

            def add(sample: int, domain: str, png: bytes) -> None:
                member = tarfile.TarInfo(f"{sample:06d}.{domain}.png")  # of 1970, and nobody's
                member.size = len(png)
                tar.addfile(member, BytesIO(png))

            yield add

    def names(self, count: int, parts: int) -> Iterator[str]:
        """The tars."""
        return (self._path(number).name for number in range(parts))

    def _path(self, number: int) -> Path:
        return self.root / f"{self.stem}{number:06d}.tar"


class Zips(Shards):
    """``<domain>.zip`` with ``000000.png``, each of which is a data set ``image-folder``.

    A zip ends with its table of contents, and cannot grow piece by piece: so the parts wait in hidden tars.
    """

    stem = ".part-"

    def names(self, count: int, parts: int) -> Iterator[str]:
        """The zips."""
        return (f"{name}.zip" for name in self.domains)

    def finish(self, parts: int) -> None:
        """Pack the zips."""
        with ExitStack() as stack:
            zips = {
                name: stack.enter_context(
                    zipfile.ZipFile(stack.enter_context(replacing(self.root / f"{name}.zip")), "w")  # PNGs are packed
                )
                for name in self.domains
            }
            for number in range(parts):
                with tarfile.open(self._path(number)) as tar:
                    for member in tar:
                        sample, domain, _ = member.name.split(".")
                        entry = zipfile.ZipInfo(f"{sample}.png")  # of 1980, the first year that a zip knows
                        entry.external_attr = 0o644 << 16
                        content = tar.extractfile(member)
                        assert content is not None
                        zips[domain].writestr(entry, content.read())

    def sweep(self) -> None:
        """Remove the tars."""
        for path in self.root.glob(f"{self.stem}*.tar"):
            path.unlink()


FORMATS: dict[Format, type[SampleFiles]] = {"folder": Folders, "zip": Zips, "webdataset": Shards}
