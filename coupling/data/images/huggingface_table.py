"""Data sets that the library `datasets` reads, from the Hugging Face hub or a folder, and what can go wrong with them.

The library is an option (``pip install 'coupling-gan[huggingface]'``) and is imported when it is
needed. It is used for reading alone: images come out of it as they are encoded.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from coupling.data.images.huggingface_files import own_files
from coupling.data.images.places import real_path
from coupling.errors import ConfigError, CouplingError, DataError, cause, nearest
from coupling.system.file_names import expand_home

_INSTALL = "pip install 'coupling-gan[huggingface]'"


def library() -> Any:
    """The package `datasets`; a :class:`ConfigError` that says how to install it where it is missing."""
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise ConfigError(f"the package 'datasets' is needed and cannot be imported ({error}): {_INSTALL}") from None


@dataclass(frozen=True)
class Place:
    """One split of one configuration of a data set. Opening it twice reads it once."""

    path: str
    config: str | None
    split: str | None
    revision: str | None
    folder: Path | None = field(init=False)
    """The folder, absolute and without links; None: the data set is on the hub."""

    def __post_init__(self) -> None:
        folder = None
        if expand_home(self.path).exists() or not re.fullmatch(r"[\w.-]*\w(/[\w.-]+)?", self.path):
            folder = real_path(self.path)
            if not folder.is_dir():
                raise ConfigError(f"path: {self.path} is a file; give the folder that it lies in")
            if self.revision is not None:
                raise ConfigError(f"revision: {self.path} is a folder, which has no revisions; leave it out")
        elif self.path in getattr(library().packaged_modules, "_PACKAGED_DATASETS_MODULES", ()):
            raise ConfigError(f"path: '{self.path}' is a format, not a data set; give the folder that holds its files")
        object.__setattr__(self, "folder", folder)

    def __str__(self) -> str:
        named = f"{self.folder or self.path}" + (f"@{self.revision}" if self.revision else "")
        parts = [f"{key} {value}" for key, value in (("config", self.config), ("split", self.split)) if value]
        return f"{named} ({', '.join(parts)})" if parts else named

    def __getstate__(self) -> dict[str, object]:  # another process opens it for itself
        return {name: getattr(self, name) for name in ("path", "config", "split", "revision", "folder")}

    @property
    def key(self) -> dict[str, object]:
        """Identifies the split, as JSON values."""
        where = str(self.folder or self.path)
        return {"dataset": where, "config": self.config, "split": self.split, "revision": self.revision}

    def same_split(self, other: Place) -> bool:
        """Whether both are one split, of any revision; a key that is not given means its default."""
        if (self.folder or self.path) != (other.folder or other.path):
            return False
        configs = {self.config, other.config} - {None}
        return len(configs) <= 1 and (self.split or "train") == (other.split or "train")

    @cached_property
    def table(self) -> Any:
        """The split with random access; downloaded if it is not there."""
        name = self.used  # a missing split is an error before anything is downloaded
        with self._explained():
            if self._saved is not None:
                return self._saved
            self._builder.download_and_prepare()
            return self._builder.as_dataset(split=name)

    def stream(self) -> Any:
        """The split from its beginning, in its order; only what describes its columns is downloaded yet."""
        name = self.used
        with self._explained():
            if self._saved is not None:
                return self._saved.to_iterable_dataset()
            return self._builder.as_streaming_dataset(split=name)

    @property
    def splits(self) -> list[str]:
        """The splits of the data set that are known before the table is opened."""
        if self.folder is not None and (self.folder / "dataset_dict.json").is_file():
            return sorted(folder.name for folder in self.folder.iterdir() if folder.is_dir())
        if self._saved is not None:
            return [str(self._saved.split or self.split or "train")]
        with self._explained():
            return [str(name) for name in self._builder.info.splits or self._builder.config.data_files or ()]

    @property
    def used(self) -> str:
        """The split that is read; raises :class:`ConfigError` where it is not there."""
        known = self.splits
        if self.split is None:
            if "train" in known or not known:
                return "train"
            if len(known) == 1:
                return known[0]
            raise ConfigError(f"split: {self} has no split 'train'; give one of {', '.join(known)}")
        if known and self.split not in known:
            raise ConfigError(f"split: {self} has no split '{self.split}'; {nearest(self.split, known)}")
        return self.split

    @property
    def version(self) -> str:
        """A text that changes when the data change; needs no download."""
        if self._saved is not None:
            return repr(contents(self._saved))
        return f"{self._builder.hash}"

    @cached_property
    def _saved(self) -> Any:
        """The data that ``save_to_disk`` wrote; None: it is another kind of folder, or on the hub."""
        if self.folder is None or not any((self.folder / f).is_file() for f in ("state.json", "dataset_dict.json")):
            return None
        if self.config is not None:
            raise ConfigError(f"config: {self.folder} was saved without configurations; leave it out")
        with self._explained():
            if (self.folder / "dataset_dict.json").is_file():
                return library().load_from_disk(str(self.folder / self.used))
            return library().load_from_disk(str(self.folder))

    @cached_property
    def _builder(self) -> Any:
        with self._explained():
            if self.folder is None:
                return library().load_dataset_builder(self.path, self.config, revision=self.revision)
            return library().load_dataset_builder(str(self.folder), self.config, data_files=own_files(self.folder))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the library, with what to do about them."""
        try:
            yield
        except CouplingError:
            raise
        except Exception as error:
            raise self._explanation(error) from error

    def _explanation(self, error: Exception) -> CouplingError:
        text = " ".join(str(error).split())
        known = re.search(r"(?:Available: |available configs: )\[(.*?)\]", text)
        if known is not None:
            names = re.findall(r"'([^']*)'", known[1])
            if self.config is None:
                return ConfigError(f"config: {self} has several configurations; give one of {', '.join(names)}")
            return ConfigError(f"config: {self.path} has no '{self.config}'; {nearest(self.config, names)}")
        if "gated dataset" in text:
            return DataError(
                f"{self.path} is gated: ask for access at https://huggingface.co/datasets/{self.path}, then log in "
                "with `hf auth login`, or set HF_TOKEN"
            )
        if "scripts are no longer supported" in text:
            return DataError(
                f"{self.path} is loaded by a script of its own, and no code of a data set is run; the hub often has a "
                "copy without one: `revision: refs/convert/parquet`"
            )
        if type(error).__name__ == "DatasetNotFoundError":
            return DataError(
                f"{text} Write path as USER/NAME, or give a folder (there is no folder of this name here); a private "
                "data set needs `hf auth login`, or HF_TOKEN"
            )
        if type(error).__name__ in ("EmptyDatasetError", "DataFilesNotFoundError"):
            return DataError(f"{self}: there are no files that `datasets` can read: {text}")
        if isinstance(error, OSError):
            return DataError(
                f"{self} cannot be reached or read: {text}. Without a network, give the path of a folder that "
                "holds it: a clone of it, or the output of `save_to_disk`; earlier downloads are found automatically"
            )
        return DataError(f"{self}: `datasets` cannot read it: {cause(error)}")


def contents(table: Any) -> list[tuple[str, int, int, int]]:
    """The files that hold a table: name, bytes, times of the last changes of content and entry."""
    names = [str(file["filename"]) for file in table.cache_files]
    found = [(name, Path(name).stat()) for name in names]
    return [(name, about.st_size, about.st_mtime_ns, about.st_ctime_ns) for name, about in found]
