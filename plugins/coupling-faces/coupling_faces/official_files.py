"""CelebA's official files: their names and places, and what can be wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from coupling import DataError, md5_of, similar_file

HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


class OfficialFile(NamedTuple):
    """A file as its authors publish it."""

    name: str
    size: int  # bytes
    md5: str
    folder: str  # in which it lies on the authors' drive


IMAGES = OfficialFile("img_align_celeba.zip", 1_443_490_838, "00d2c5bc6d35e252742224ab0c1e8fcb", "Img")
ATTRIBUTES = OfficialFile("list_attr_celeba.txt", 26_721_026, "75e246fa4810816ffd6ee81facbd244c", "Anno")
PARTITION = OfficialFile("list_eval_partition.txt", 2_836_386, "d32c9cbf5e040fd4025c592c306e6668", "Eval")
FILES = (IMAGES, ATTRIBUTES, PARTITION)

UNPACKED = "img_align_celeba"
"""The folder that is in the zip, which serves as well."""


def wanted(folder: Path) -> str:
    """The end of messages about missing files: which files to put where."""
    return (
        f"CelebA must not be redistributed, so `coupling` downloads nothing. From {HOME} (Align&Cropped Images: Img, "
        f"Anno and Eval) put into {folder}, as they are:\n"
        + "\n".join(f"  {file.name:<24} {file.size:>13,} bytes" for file in FILES)
        + f"\nThe zip may be unpacked there into {UNPACKED}/ instead; {PARTITION.name} is for `partition: train`, "
        "valid and test."
    )


def find(folder: Path, file: OfficialFile) -> Path:
    """The file, in ``folder`` or where the authors' drive has it below; for the images, the folder of them too.

    Raises :class:`DataError` where it is not there, naming what it may be called.
    """
    names = (file.name, UNPACKED) if file is IMAGES else (file.name,)
    for name in names:
        for path in (folder / name, folder / file.folder / name):
            if path.is_file() if name == file.name else path.is_dir():
                return path
    hint = similar_file(folder, file.name, file.size, [known.name for known in FILES])
    raise DataError(f"{folder}: {file.name} is not there{hint}. {wanted(folder)}")


def look_at_images(folder: Path) -> None:
    """Raise :class:`DataError` if there are no images, or a web page in their place: a quick check."""
    path = find(folder, IMAGES)
    if path.is_file():
        try:
            with path.open("rb") as file:
                beginning = file.read(1024)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        reject_page(path, beginning, folder)


def read_list(path: Path, folder: Path) -> bytes:
    """The content of a list. Raises :class:`DataError` where it cannot be read or is not a list."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    reject_page(path, content[:1024], folder)
    return content


def reject_page(path: Path, beginning: bytes, folder: Path) -> None:
    """Raise :class:`DataError` for an empty file, and for a web page that was saved in the file's place."""
    if not beginning:
        raise DataError(f"{path}: is empty; get it again. {wanted(folder)}")
    if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise DataError(
            f"{path}: is a web page, not the file (Google Drive says 'quota exceeded' on one, which is then saved "
            f"under the file's name); get the file itself. {wanted(folder)}"
        )


def reject_cut(path: Path, holds: str, whole: str, folder: Path) -> None:
    """Raise :class:`DataError` for a download that was cut off."""
    raise DataError(f"{path}: holds {holds} of {whole}: its download was cut off; get it again. {wanted(folder)}")


def reject_other_list(path: Path, content: bytes, file: OfficialFile) -> None:
    """Raise :class:`DataError` where a list is not the official one.

    The ends of its lines do not count: copies that went through git or an editor have others.
    """
    if not any(_md5(variant) == file.md5 for variant in _line_ends(content)):
        raise DataError(_other(path, _md5(content), file))


def _line_ends(content: bytes) -> Iterator[bytes]:
    yield content
    plain = content.replace(b"\r\n", b"\n")
    yield plain
    yield plain.replace(b"\n", b"\r\n")


def reject_other_zip(path: Path, notes: Path) -> None:
    """Raise :class:`DataError` where the zip is not the official one, byte for byte; ``notes``: a folder for a note."""
    md5 = md5_of(path, IMAGES.md5, notes / "verified.json")
    if md5 != IMAGES.md5:
        raise DataError(_other(path, md5, IMAGES))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _other(path: Path, md5: str, file: OfficialFile) -> str:
    return (
        f"{path}: is not the official file of {file.size:,} bytes: its MD5 is {md5}, expected {file.md5}; get it "
        "again, or set `verify: false` to read files of your own in the same format"
    )
