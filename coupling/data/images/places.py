"""The place of images: a folder or a zip, found by its path."""

from __future__ import annotations

import zipfile
from pathlib import Path

from coupling.data.images.files import ImageFiles, is_hidden
from coupling.data.images.folder_files import FolderFiles, entries_of
from coupling.data.images.zip_files import ZipFiles
from coupling.errors import ConfigError, nearest
from coupling.system.file_names import expand_home


def image_files(path: str) -> ImageFiles:
    """The images of the folder or zip at ``path`` (``~`` is the home directory).

    Raises:
        ConfigError: it is neither, or not there.
        DataError: it holds no images, or cannot be read.
    """
    root = real_path(path)
    if root.is_dir():
        return FolderFiles(root)
    if not root.is_file():  # reading a pipe or a device may wait forever
        raise ConfigError(f"path '{path}' is a special file; images come from a folder or a zip")
    if root.suffix.lower() == ".zip" or zipfile.is_zipfile(root):
        return ZipFiles(root)
    kind = "another kind of archive: unpack it, or pack it as a zip" if _is_archive(root) else "neither folder nor zip"
    raise ConfigError(f"path '{path}' is a file, {kind}; images come from a folder or a zip")


def image_paths(folder: Path) -> list[Path]:
    """The image files of a folder and its subfolders, in the same order on every system.

    Hidden files and folders, files with other suffixes, special files, directories of runs and sweeps, and the data
    directory are left out.

    Args:
        folder: an existing folder.

    Raises:
        DataError: it holds no images, or cannot be listed.
    """
    found = FolderFiles(folder)
    return [folder / file.name for file in found.files]


def real_path(path: str) -> Path:
    """``path``, absolute and without links; a :class:`ConfigError` with the nearest name where nothing is there."""
    try:
        found = expand_home(path).resolve()
        there = found.exists()
    except (RuntimeError, OSError) as error:  # a loop of links, a name too long
        raise ConfigError(f"path '{path}': {getattr(error, 'strerror', None) or error}") from None
    if there:
        return found
    while not found.parent.is_dir():
        found = found.parent
    siblings = [
        entry.name
        for entry in entries_of(found.parent)
        if not is_hidden(entry.name) and (entry.is_dir() or entry.name.lower().endswith(".zip"))
    ]
    folder = f"{found.parent}, the current directory" if found.parent == Path.cwd() else str(found.parent)
    hint = nearest(found.name, siblings) if siblings else "nor any folder or zip: give the path from the root"
    raise ConfigError(f"path '{path}': there is no '{found.name}' in {folder}; {hint}")


def _is_archive(path: Path) -> bool:
    return any(suffix.lower() in {".tar", ".tgz", ".7z", ".rar", ".gz", ".bz2", ".xz"} for suffix in path.suffixes)
