"""The files of a folder that the library `datasets` reads, each once, without those that this package wrote."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

from coupling.data.images.folder_files import written_by_coupling
from coupling.system.terminal import warn

_OWN_LISTS = ("README.md", ".huggingface.yaml")
"""Files in which a data set's author may name its files."""


def own_files(folder: Path) -> dict[str, Any] | None:
    """The files of each split, chosen by the rules of `datasets`, without its mistakes.

    It takes runs and caches below the folder for data. It lists a file twice that two of a split's patterns match, as
    in ``train/train-a/``, so that two parts would have images in common. And it does not notice another content of
    equal time. Warns of files in two splits.

    Args:
        folder: absolute, without links.

    Returns:
        Its `DataFilesList` of each split. None where the author names the files, or there are none.

    Raises:
        Exception: as `datasets`, where no files are left without runs and caches.
    """
    if any("data_files" in _text(folder / name) for name in _OWN_LISTS):
        return None
    excluded = _written_below(folder)
    library = importlib.import_module("datasets.data_files")
    known = importlib.import_module("datasets.packaged_modules")._ALL_ALLOWED_EXTENSIONS

    def resolve(pattern: str, extensions: list[str] | None = None) -> list[str]:
        files = library.resolve_pattern(pattern, base_path=folder.as_posix(), allowed_extensions=extensions)
        return [file for file in files if not any(Path(file).is_relative_to(place) for place in excluded)]

    try:
        patterns: dict[str, list[str]] = library._get_data_files_patterns(resolve)
    except FileNotFoundError:
        if not excluded:
            return None  # the library's own error says more
        raise library.EmptyDatasetError(f"{folder} holds no data files beside {excluded[0]}") from None
    listed = {split: _files(lambda pattern: resolve(pattern, known), found) for split, found in patterns.items()}
    _warn_of_two_splits(folder, listed)
    return {split: library.DataFilesList(files, [_state(file) for file in files]) for split, files in listed.items()}


def _files(resolve: Callable[[str], list[str]], patterns: Iterable[str]) -> list[str]:
    """The files that any of the patterns matches, in order, each once."""
    found: dict[str, None] = {}
    for pattern in patterns:
        with suppress(FileNotFoundError):
            found |= dict.fromkeys(resolve(pattern))
    return list(found)


def _state(file: str) -> tuple[str]:
    """Changes when the file's content does: programs can set back the time of the content, but not of the entry."""
    found = os.stat(file)
    return (f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}",)


def _warn_of_two_splits(folder: Path, listed: Mapping[str, list[str]]) -> None:
    for (one, files), (other, others) in combinations(listed.items(), 2):
        if common := set(files).intersection(others):
            warn(
                f"{folder}: by their paths, {len(common):,} files ({Path(min(common)).relative_to(folder)} for one) "
                f"belong to both splits {one} and {other}; name the files of each split in README.md, or rename folders"
            )


def _written_below(folder: Path) -> list[Path]:
    """Directories below a folder that this package wrote."""
    found = []
    for place, names, _ in os.walk(folder):
        for name in list(names):
            if written_by_coupling(Path(place, name)):
                found.append(Path(place, name))
                names.remove(name)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace") if path.is_file() else ""
    except OSError:
        return ""
