"""CelebA's lists: the attributes of each image, and the partition it belongs to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from coupling import ConfigError, DataError, nearest
from coupling_faces.official_files import ATTRIBUTES, PARTITION, find, read_list, reject_cut, reject_other_list

NAMES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose"),
    *("Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses"),
    *("Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache"),
    *("Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks"),
    *("Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick"),
    *("Wearing_Necklace", "Wearing_Necktie", "Young"),
)
"""The 40 attributes, in the order of the list's columns."""

PARTITIONS = ("train", "valid", "test")
"""Meaning of the numbers 0, 1 and 2 in the partition list."""

_SPACES = b" \t\r"

Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FaceList:
    """The content of ``list_attr_celeba.txt``."""

    path: Path
    names: tuple[str, ...]
    """File names of the images, ``000001.jpg`` and so on, in the order of the rows."""
    flags: Flags
    """(images, 40): which attributes an image has, in the order of :data:`NAMES`."""

    def where(self, attributes: dict[str, bool]) -> Flags:
        """(images,): which images have, or lack, all of ``attributes`` as it says.

        Raises :class:`ConfigError` for one that CelebA does not have.
        """
        chosen = np.ones(len(self.names), np.bool_)
        for name, present in attributes.items():
            if name not in NAMES:
                raise ConfigError(f"attributes: {unknown(name)}")
            chosen &= self.flags[:, NAMES.index(name)] == present
        return chosen


def face_list(folder: Path, verify: bool) -> FaceList:
    """The attribute list in ``folder``; read once, however many domains ask for it.

    Accepts either kind of line end and any spacing. Raises :class:`DataError` where the list is
    missing, damaged, cut off, and, if ``verify``, not the official one.
    """
    path = find(folder, ATTRIBUTES)
    return _face_list(path, folder, verify, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _face_list(path: Path, folder: Path, verify: bool, modified: int) -> FaceList:
    content = read_list(path, folder)
    count, header, *rows = _rows(content, path)
    if not count.strip().isdigit():
        raise DataError(f"{path}: line 1 is '{_shown(count)}'; the official list begins with the number of its images")
    if not rows and int(count):
        reject_cut(path, "0", f"{int(count):,} images", folder)
    _reject_other_columns(header, path)
    names: list[str] = []
    flags: list[bytes] = []
    for number, row in enumerate(rows, start=3):
        name, _, values = row.strip().replace(b"\t", b" ").partition(b" ")
        marks = values.translate(None, _SPACES).replace(b"-1", b"-")
        if len(marks) != len(NAMES) or marks.strip(b"1-"):
            if number == len(rows) + 2 and len(marks) < len(NAMES):  # it ends in the middle of this line
                break
            raise DataError(
                f"{path}: line {number} is '{_shown(row)}'; each has an image and {len(NAMES)} times 1 or -1"
            )
        names.append(name.decode("utf-8", "replace"))
        flags.append(marks)
    if len(names) < int(count):
        reject_cut(path, f"{len(names):,}", f"{int(count):,} images", folder)
    _reject_disorder(path, names, int(count))
    if verify:
        reject_other_list(path, content, ATTRIBUTES)
    marked = np.frombuffer(b"".join(flags), np.uint8).reshape(len(names), len(NAMES))
    return FaceList(path, tuple(names), marked == ord("1"))


def _rows(content: bytes, path: Path) -> list[bytes]:
    """The lines, without empty ones at the end; at least two."""
    rows = content.removeprefix(b"\xef\xbb\xbf").rstrip().split(b"\n")
    if len(rows) < 2:
        raise DataError(f"{path}: is one line, '{_shown(content)}'; it is not CelebA's list of attributes")
    return rows


def _reject_other_columns(header: bytes, path: Path) -> None:
    columns = header.decode("utf-8", "replace").split()
    for number, (column, name) in enumerate(zip(columns, NAMES, strict=False), start=1):
        if column != name:
            raise DataError(f"{path}: line 2 calls attribute {number} '{column}', the official list has '{name}' there")
    if len(columns) != len(NAMES):
        raise DataError(f"{path}: line 2 names {len(columns)} attributes; CelebA has {len(NAMES)}")


def _reject_disorder(path: Path, names: list[str], count: int) -> None:
    if len(names) > count:
        raise DataError(f"{path}: line 1 says {count:,} images, but {len(names):,} follow; get the official list")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"{path}: names '{twice}' more than once; get the official list")


def partition_numbers(folder: Path, faces: FaceList, verify: bool) -> NDArray[np.int64]:
    """(images,): 0, 1 or 2 for each image of ``faces``, a number into :data:`PARTITIONS`.

    Raises :class:`DataError` where the partition list is missing, damaged, cut off, of other images
    than the attribute list and, if ``verify``, not the official one.
    """
    path = find(folder, PARTITION)
    return _partition(path, folder, faces, verify, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _partition(path: Path, folder: Path, faces: FaceList, verify: bool, modified: int) -> NDArray[np.int64]:
    content = read_list(path, folder)
    rows = content.removeprefix(b"\xef\xbb\xbf").rstrip().split(b"\n")
    numbers: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        words = row.split()
        if len(words) != 2 or words[1] not in (b"0", b"1", b"2"):
            if number == len(rows) and len(words) < 2:  # it ends in the middle of this line
                break
            raise DataError(f"{path}: line {number} is '{_shown(row)}'; each has an image and 0, 1 or 2")
        numbers[words[0].decode("utf-8", "replace")] = int(words[1])
    missing = [name for name in faces.names if name not in numbers]
    if missing and list(numbers) == list(faces.names[: len(numbers)]):
        reject_cut(path, f"{len(numbers):,}", f"{len(faces.names):,} images", folder)
    if missing:
        raise DataError(
            f"{path}: has no row for {len(missing):,} images of {faces.path.name}, '{missing[0]}' for one; the two "
            "lists are not of the same data set: get the one that goes with the other"
        )
    if verify:
        reject_other_list(path, content, PARTITION)
    return np.array([numbers[name] for name in faces.names], np.int64)


def unknown(attribute: str) -> str:
    """The message for an attribute that CelebA does not have."""
    return f"no attribute is called '{attribute}'; {nearest(attribute, NAMES)}"


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return text if len(text) <= 60 else text[:60] + "..."
