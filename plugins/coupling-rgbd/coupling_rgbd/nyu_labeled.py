"""NYU Depth v2's labelled file: 1,449 frames with registered, completed depth, in MATLAB's HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coupling import ConfigError, DataError, UnreadableImage, md5_of, similar_file

NAME = "nyu_depth_v2_labeled.mat"
SIZE, MD5 = 2_972_037_809, "520609c519fba3ba5ac58c8fefcc3530"
ADVICE = f"get {NAME} ({SIZE:,} bytes, MD5 {MD5}) from http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/ again"
_HDF5 = b"\x89HDF\r\n\x1a\n"

Depths = Literal["filled", "measured"]
_KEYS: dict[Depths, str] = {"filled": "depths", "measured": "rawDepths"}
_RAW = ("rawRgbFilenames", "rawDepthFilenames")


@dataclass(frozen=True)
class LabeledFrames:
    """A reader of :mod:`coupling_rgbd.frames`.

    MATLAB stores columns first: HDF5 shows `images` as (frames, 3, width, height) and the depths as
    (frames, width, height).
    """

    path: Path
    frames: Sequence[str]
    depths: Depths

    def color(self, index: int) -> NDArray[np.uint8]:
        """(height, width, 3)."""
        pixels: NDArray[np.uint8] = self._read("images", index).transpose(2, 1, 0)
        return pixels

    def metres(self, index: int) -> NDArray[np.float32]:
        """(height, width); 0 where the sensor saw nothing, in measured depths."""
        metres: NDArray[np.float32] = self._read(_KEYS[self.depths], index).T.astype(np.float32)
        return metres

    def _read(self, key: str, index: int) -> NDArray[Any]:
        try:
            values: NDArray[Any] = _opened(self.path)[key][index]
            return values
        except OSError as error:
            raise UnreadableImage(
                f"{self.frames[index]}: {self.path.name} is damaged there ({error}); {ADVICE}"
            ) from error


@dataclass(frozen=True)
class Labeled:
    """The labelled file's description of its frames."""

    size: tuple[int, int]
    """(height, width)."""
    scenes: tuple[str, ...]
    """Place of each frame: kitchen_0004 and the like."""
    kinds: tuple[str, ...]
    """Kind of each scene: kitchen and the like; empty if the file does not hold it."""
    raw: frozenset[str]
    """Names of the colour and depth files, in the raw data, that the frames were made from."""


@lru_cache(maxsize=8)
def _opened(path: Path) -> Any:
    """The file, once a process."""
    import h5py

    return h5py.File(path, "r")


@contextmanager
def _file(path: Path) -> Iterator[Any]:
    """The open file; raises :class:`DataError` if it is not the whole labelled file."""
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            "NYU's labelled file is HDF5: reading it needs h5py (pip install 'coupling-rgbd[nyu]')"
        ) from None
    if not path.is_file():
        hint = similar_file(path.parent, NAME, SIZE)
        found = f"{hint}; else" if hint else ";"
        raise DataError(f"{path} is not there{found} {ADVICE.removesuffix(' again')} and put it there")
    with open(path, "rb") as file:
        start = file.read(520)
    if not start.strip(b"\0"):
        raise DataError(f"{path}: is empty{', nothing but zero bytes' if start else ''}; {ADVICE}")
    old = 5 if start.startswith(b"MATLAB 5.0") else 4 if 0 in start[:4] else None  # MATLAB 4 begins with a number
    if old:
        raise DataError(
            f"{path}: a MATLAB {old} file, an old format: the labelled file is HDF5 (MATLAB 7.3); {ADVICE}, or save it "
            "from MATLAB with the option '-v7.3'"
        )
    if start.lstrip().startswith(b"<"):
        raise DataError(f"{path}: an HTML page, saved in place of the data; {ADVICE}")
    if not (start.startswith(_HDF5) or start[512:] == _HDF5):
        raise DataError(f"{path}: not an HDF5 file: it begins with '{start[:8].hex(' ')}'; {ADVICE}")
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        size = path.stat().st_size
        raise DataError(f"{path}: truncated or damaged, {size:,} bytes ({error}); {ADVICE}") from error
    with opened:
        yield opened


@lru_cache(maxsize=8)
def _described(path: Path, modified: int) -> Labeled:
    with _file(path) as file:
        needed = ("images", *_KEYS.values(), "scenes", *_RAW)
        missing = [key for key in needed if key not in file]
        if missing:
            raise DataError(f"{path}: holds no {', '.join(missing)}, but {', '.join(sorted(file))}; {ADVICE}")
        images, depths = file["images"], file["depths"]
        count = len(images)
        fits = images.ndim == 4 and images.shape[1] == 3 and images.dtype == np.uint8
        if not fits or any(file[key].shape != (count, *images.shape[2:]) for key in _KEYS.values()):
            raise DataError(
                f"{path}: images are {images.dtype} {images.shape} and depths {depths.dtype} {depths.shape}, expected "
                f"uint8 (frames, 3, width, height) and (frames, width, height); {ADVICE}"
            )
        scenes, raw = _texts(file, "scenes"), [name for key in _RAW for name in _texts(file, key)]
        kinds = _texts(file, "sceneTypes") if "sceneTypes" in file else ()
        if len(scenes) != count or len(raw) != len(_RAW) * count or len(kinds or scenes) != count:
            raise DataError(f"{path}: names {len(scenes)} scenes and {len(raw)} files of {count} frames; {ADVICE}")
        size = (int(images.shape[3]), int(images.shape[2]))
        return Labeled(size, scenes, kinds, frozenset(name.rsplit("/", 1)[-1] for name in raw))


def described(path: Path) -> Labeled:
    """Read the description. Raises :class:`DataError` if the file is not the complete labelled file."""
    try:
        modified = path.stat().st_mtime_ns
    except OSError:
        modified = 0
    return _described(path, modified)


def reject_other(path: Path, notes: Path) -> None:
    """Raise :class:`DataError` where the file is not the official one, byte for byte; ``notes``: where to note it."""
    size = path.stat().st_size
    md5 = md5_of(path, MD5, notes / "verified.json") if size == SIZE else None
    if md5 != MD5:
        wrong = f"its MD5 is {md5}, expected {MD5}" if md5 else f"it has {size:,} bytes, expected {SIZE:,}"
        raise DataError(
            f"{path}: is not the official file: {wrong}; {ADVICE}, or set `verify: false` to read another file of that "
            "layout"
        )


def _texts(file: Any, key: str) -> tuple[str, ...]:
    """A cell array of texts: references to arrays of character codes."""
    return tuple("".join(map(chr, np.ravel(file[reference]))) for reference in np.ravel(file[key]))
