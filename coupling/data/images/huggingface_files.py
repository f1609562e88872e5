"""The files of a folder that the library `datasets` reads, without those that this package wrote."""

from __future__ import annotations

import glob
import importlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from coupling.data.images.folder_files import written_by_coupling

_OWN_LISTS = ("README.md", ".huggingface.yaml")
"""Files in which a data set's author may name its files."""


def own_files(folder: Path) -> dict[str, list[str]] | None:
    """The files of each split, chosen by the rules of `datasets`, where the folder also holds runs or caches.

    Args:
        folder: absolute, without links.

    Returns:
        Patterns of the files by split. None where nothing has to be left out, or where the author names the files.

    Raises:
        Exception: as `datasets`, where no files are left.
    """
    excluded = _written_below(folder)
    if not excluded or any("data_files" in _text(folder / name) for name in _OWN_LISTS):
        return None
    library = importlib.import_module("datasets.data_files")

    def resolve(pattern: str) -> list[str]:
        files = library.resolve_pattern(pattern, base_path=folder.as_posix())
        return [file for file in files if not any(Path(file).is_relative_to(place) for place in excluded)]

    try:
        patterns: dict[str, list[str]] = library._get_data_files_patterns(resolve)
    except FileNotFoundError:
        raise library.EmptyDatasetError(f"{folder} holds no data files beside {excluded[0]}") from None
    return {split: _files(resolve, found) for split, found in patterns.items()}


def _files(resolve: Callable[[str], list[str]], patterns: Iterable[str]) -> list[str]:
    """A pattern for each file that is found, in order."""
    found: dict[str, None] = {}
    for pattern in patterns:
        with suppress(FileNotFoundError):
            found |= dict.fromkeys(resolve(pattern))
    return [glob.escape(file) for file in found]


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
