"""Folders and zips made at random: the samples of a slow reader, or one error that names a file."""

from __future__ import annotations

import io
import os
import stat
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from coupling.data.images.folder import ImageFolder
from coupling.errors import CouplingError

SIZE = (6, 8)
SUFFIXES = {".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
FORMATS = ["BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP"]
STEMS = [
    "a",
    "b",
    "image",
    "\u00e4",
    "a\u0308",
    "x y",
    "[1]",
    "a.b",
    "#",
    "%41",
    "日本",
    "-n",
    "A",
    "'",
    "a\\b",
    "\udcff",
]
ENDINGS = [*sorted(SUFFIXES), ".PNG", "", ".txt", ".gif", ".zip", ".npy"]


@dataclass(frozen=True)
class Entry:
    """A file to be made."""

    folders: tuple[str, ...]
    name: str
    kind: str
    """regular, pipe, link (to a file), dangling (a link to nothing), circle (a link to the root) or folder."""
    content: bytes

    @property
    def path(self) -> str:
        """The path in its place."""
        return "/".join((*self.folders, self.name))


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    damage = draw(st.sampled_from(["none"] * 40 + ["cut", "empty", "text", "size", "zeros"]))
    if damage in ("empty", "text"):
        return b"" if damage == "empty" else b"<html>quota exceeded</html>"
    height, width = (3, 3) if damage == "size" else SIZE
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
    image = image.convert(draw(st.sampled_from(["RGB", "L"])))
    exif = Image.Exif()
    exif[0x0112] = draw(st.sampled_from([1, 1, 2, 3, 4]))
    file = io.BytesIO()
    kind = draw(st.sampled_from(FORMATS))
    image.save(file, kind, **({} if kind in ("BMP", "PPM") else {"exif": exif}))
    content = file.getvalue()
    half = len(content) // 2
    return {"cut": content[:half], "zeros": content[:half] + bytes(half)}.get(damage, content)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    kinds = ["regular"] * 25 + ["pipe", "link", "dangling", "circle", "folder"]
    one = st.builds(
        Entry,
        st.lists(st.sampled_from(["d", "e", ".hidden", "d.png", "__MACOSX"]), max_size=2).map(tuple),
        st.builds(lambda dot, stem, end: dot + stem + end, st.sampled_from([""] * 9 + ["."]),
                  st.sampled_from(STEMS), st.sampled_from(ENDINGS)),
        st.sampled_from(kinds),
        contents(),
    )  # fmt: skip
    return draw(st.lists(one, min_size=1, max_size=8))


def make_folder(root: Path, made: list[Entry]) -> None:
    elsewhere = root.parent / "elsewhere"
    root.mkdir()
    for number, entry in enumerate(made):
        path = root / entry.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path):
                continue
            if entry.kind == "regular":
                path.write_bytes(entry.content)
            elif entry.kind == "pipe":
                os.mkfifo(path)
            elif entry.kind == "folder":
                path.mkdir()
            else:
                elsewhere.mkdir(exist_ok=True)
                target = elsewhere / f"{number}.png"
                if entry.kind == "link":
                    target.write_bytes(entry.content)
                path.symlink_to(root if entry.kind == "circle" else target)
        except (FileExistsError, NotADirectoryError):  # one entry is both file and folder: the first counts
            continue


def make_zip(path: Path, made: list[Entry]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        names = set[str]()
        for entry in made:
            name = entry.path.encode("utf-8", "replace").decode().replace("\\", "/")
            if name not in names:
                names.add(name)
                info = zipfile.ZipInfo(name + "/" * (entry.kind == "folder"))
                is_link = entry.kind in ("link", "dangling", "circle")
                info.external_attr = ((stat.S_IFLNK if is_link else stat.S_IFREG) | 0o644) << 16
                archive.writestr(info, b"" if entry.kind == "folder" else entry.content)


# ------------------------------------------------------------------ the slow reader


def hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def is_image(name: str, read: Callable[[], bytes]) -> bool:
    suffix = Path(name).suffix.lower()
    if hidden(name) or suffix not in {*SUFFIXES, ""}:
        return False
    start = read()[:12] if not suffix else b""
    return bool(suffix) or start[:3] == b"\xff\xd8\xff" or start[:4] in (b"\x89PNG", b"II*\0", b"MM\0*", b"RIFF")


def files_of_folder(root: Path, below: str = "") -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Path and content of each image, one after the other; a missing one has no content."""
    for name in sorted(os.listdir(root / below)):
        path = root / below / name
        if path.is_dir():
            if not hidden(name) and not path.is_symlink():  # all links to folders made here are circles
                yield from files_of_folder(root, f"{below}{name}/")
        elif (path.is_file() or (not path.exists() and Path(name).suffix)) and is_image(name, path.read_bytes):
            yield f"{below}{name}", path.read_bytes


def files_of_zip(path: Path, _: str = "") -> Iterator[tuple[str, Callable[[], bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            *folders, name = info.filename.split("/")
            content = archive.read(info)
            is_link = stat.S_ISLNK(info.external_attr >> 16)
            if (
                not name
                or is_link
                or any(hidden(folder) for folder in folders)
                or not is_image(name, lambda c=content: c)
            ):
                continue
            yield info.filename, lambda c=content: c


def slow_pixels(content: bytes) -> np.ndarray[Any, Any] | None:
    """RGB by Pillow alone; None: it cannot be read, or is of another size."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception:
        return None
    return pixels if pixels.shape[:2] == SIZE else None


def identities(paths: list[str]) -> dict[str, str]:
    """The identity of each path: without the folders that are common to all, composed where that is unique."""
    split = {path: [part for part in path.split("/") if part] for path in paths}
    while len({tuple(parts[:1]) for parts in split.values()}) == 1 and all(len(parts) > 1 for parts in split.values()):
        split = {path: parts[1:] for path, parts in split.items()}
    plain = {path: "/".join(parts) for path, parts in split.items()}
    composed = {path: unicodedata.normalize("NFC", name) for path, name in plain.items()}
    return {p: c if list(composed.values()).count(c) == 1 else plain[p] for p, c in composed.items()}


@contextmanager
def places(made: list[Entry], packed: bool) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUPLING_DATA", f"{folder}/data")
        place = Path(folder).resolve() / ("x.zip" if packed else "x")
        (make_zip if packed else make_folder)(place, made)
        yield place


def check(made: list[Entry], packed: bool) -> None:
    with places(made, packed) as place:
        found = dict((files_of_zip if packed else files_of_folder)(place))
        pixels: Mapping[str, Any] = {path: slow_content(read) for path, read in found.items()}
        bad = [path for path, image in pixels.items() if image is None]
        if bad or not found:
            with pytest.raises(CouplingError) as caught:
                ImageFolder(path=str(place), size=SIZE).prepare()
            assert caught.value.exit_code == 2
            assert any(name in str(caught.value) for name in bad or [str(place)])
            return
        images = ImageFolder(path=str(place), size=SIZE)
        images.prepare()
        expected = {identity: pixels[path] for path, identity in identities(list(pixels)).items()}
        assert list(images.identities()) == sorted(expected)
        for identity, image in zip(images.identities(), images.images, strict=True):
            assert np.array_equal(image, expected[identity]), identity


def slow_content(read: Callable[[], bytes]) -> np.ndarray[Any, Any] | None:
    try:
        return slow_pixels(read())
    except OSError:  # a link to nothing
        return None


CI = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders, and other names")


@POSIX
@pytest.mark.parametrize("packed", [False, True])
@CI
@given(made=entries())
def test_samples_or_an_error_that_names_a_file(packed: bool, made: list[Entry]) -> None:
    check(made, packed)


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("packed", [False, True])
@LONG
@given(made=entries())
def test_samples_or_an_error_that_names_a_file_at_length(packed: bool, made: list[Entry]) -> None:
    check(made, packed)
