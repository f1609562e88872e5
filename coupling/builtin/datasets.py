"""A folder of pictures as a data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydantic import Field
from torch import Tensor

from coupling.data_directory import data_directory
from coupling.dataset import Dataset
from coupling.errors import ConfigError, DataError, nearest
from coupling.hookspecs import Register, hookimpl
from coupling.prepared import Images, PreparedRecord, Unreadable, prepared_images, prepared_record
from coupling.terminal import remark

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})  # Pillow's modes that convert safely
_QUICK = 64 * 2**20  # bytes of image files that decode about as fast as worker processes start

_Pixels = Annotated[int, Field(ge=1, le=4096)]


class ImageFolder(Dataset):
    """All images of a folder and its subfolders, decoded once and then read from one file.

    Samples are float32 (3 or 1, height, width) in [-1, 1], in the order of their paths. EXIF
    orientation is applied, transparency is laid over white, and subfolders mean nothing. Files that
    are hidden or have another suffix are ignored and counted.

    Raises:
        ConfigError: ``path`` is no folder.
        DataError: there are no images in it; :meth:`prepare`: an image is damaged or not of 8 bits
            (these ``on_error: skip`` leaves out), or not as large as the others.
    """

    range = (-1.0, 1.0)

    def __init__(
        self,
        *,
        path: Annotated[str, Field(min_length=1, description="the folder; ~ is your home directory")],
        size: Annotated[
            _Pixels | tuple[_Pixels, _Pixels] | None,
            Field(description="pixels: one number or [height, width]; default: the first image's"),
        ] = None,
        resize: Annotated[
            Literal["none", "stretch", "crop"],
            Field(
                description="what is done to images of another size: none is an error; stretch changes their "
                "proportions; crop scales the shorter side and cuts the longer one evenly"
            ),
        ] = "none",
        mode: Annotated[Literal["rgb", "gray"], Field(description="3 channels or 1")] = "rgb",
        on_error: Annotated[
            Literal["stop", "skip"],
            Field(description="what unreadable images lead to: an error, or less data"),
        ] = "stop",
    ) -> None:
        self._root = _folder(path)
        self._files, self._ignored, self._bytes, listing = _images_in(self._root)
        if size is None:
            height, width = _first_size(self._root, self._files, on_error)
        else:
            height, width = (size, size) if isinstance(size, int) else size
        channels = 3 if mode == "rgb" else 1
        self.shape = (channels, height, width)
        self.source = str(self._root)
        self._stored_shape = (height, width, channels)
        self._resize = resize
        self._on_error = on_error
        # The folder itself too: names, sizes and times alone may agree by chance of how they were made.
        self._key = {"images": self.source, "listing": listing, "resize": resize}
        self._images: Images | None = None

    def __len__(self) -> int:
        """Number of images; with ``on_error: skip`` and once they are prepared, of readable ones."""
        if self._images is not None:
            return len(self._images)
        record = self._record() if self._on_error == "skip" else None
        return len(self._files) if record is None else record.shape[0]

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``: float32 (len(indices), channels, height, width) in [-1, 1]."""
        images = torch.from_numpy(self._prepared()[np.asarray(indices, np.intp)]).permute(0, 3, 1, 2)
        return images.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)

    def prepare(self) -> None:
        """Decode all images, unless they already are."""
        self._prepared()

    def fingerprint(self) -> str:
        """The images themselves: the same wherever the folder lies."""
        self.prepare()
        record = self._record()
        assert record is not None
        return f"image-folder:{record.sha256}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": None}  # another process opens the file; it needs no copy

    def _prepared(self) -> Images:
        if self._images is None:
            if self._ignored:
                remark(f"{self._root}: {self._ignored} hidden or other files are ignored")
            height, width, channels = self._stored_shape
            self._images = prepared_images(
                data_directory("image-folder"),
                self._key,
                len(self._files),
                self._stored_shape,
                _Decoder(self._root, self._files, height, width, channels, self._resize),
                title=f"Images of {self._root}",
                processes=1 if self._bytes < _QUICK else None,
                on_error=self._on_error,
            )
        return self._images

    def _record(self) -> PreparedRecord | None:
        return prepared_record(data_directory("image-folder"), self._key, len(self._files), self._stored_shape)


def _folder(path: str) -> Path:
    """``path``, absolute and without links, if it is a folder."""
    try:
        folder = Path(path).expanduser().resolve()
    except RuntimeError as error:  # no such user, a loop of links
        raise ConfigError(f"path '{path}': {error}") from None
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ConfigError(f"path '{path}' is a file, not a folder of images")
    missing = folder
    while not missing.parent.is_dir():
        missing = missing.parent
    siblings = [entry.name for entry in _entries(missing.parent) if entry.is_dir() and not _hidden(entry)]
    raise ConfigError(
        f"path '{path}': there is no '{missing.name}' in {missing.parent}; {nearest(missing.name, siblings)}"
    )


def _images_in(root: Path) -> tuple[tuple[str, ...], int, int, str]:
    """Image files by their paths in ``root``, the count of other files, bytes, a digest of the listing."""
    images: list[tuple[str, int, int]] = []
    others = 0
    for entry in _files(root, frozenset()):
        if _hidden(entry) or Path(entry.name).suffix.lower() not in _SUFFIXES:
            others += 1
            continue
        try:
            found = entry.stat()
        except OSError:  # a link to nothing: decoding it will say so
            found = entry.stat(follow_symlinks=False)
        images.append((Path(entry.path).relative_to(root).as_posix(), found.st_size, found.st_mtime_ns))
    if not images:
        raise DataError(
            f"{root} holds no images, in subfolders neither, but {others} other files; "
            f"images are files named {', '.join(sorted(_SUFFIXES))}"
        )
    images.sort()
    digest = hashlib.sha256(repr(images).encode("utf-8", "surrogatepass")).hexdigest()
    return tuple(name for name, _, _ in images), others, sum(size for _, size, _ in images), digest


def _files(folder: Path, above: frozenset[Path]) -> Iterator[os.DirEntry[str]]:
    """Files in and under ``folder``, hidden folders left out; ``above`` keeps links from leading round."""
    real = folder.resolve()
    if real in above:
        return
    for entry in _entries(folder):
        if not entry.is_dir():
            yield entry
        elif not _hidden(entry):
            yield from _files(Path(entry.path), above | {real})


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror or error}") from error


def _hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".")


def _first_size(root: Path, files: Sequence[str], on_error: Literal["stop", "skip"]) -> tuple[int, int]:
    """(height, width) of the first image, upright; with "skip" of the first that can be opened."""
    for name in files:
        try:
            with _opened(root, name) as image:
                sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return (image.width, image.height) if sideways else (image.height, image.width)
        except Unreadable:
            if on_error == "stop":
                raise
    raise DataError(f"none of the {len(files)} images in {root} can be opened")


@contextmanager
def _opened(root: Path, name: str) -> Iterator[Image.Image]:
    """The image, its pixels not yet decoded; whatever goes wrong with it is :class:`Unreadable`."""
    try:
        with Image.open(root / name) as image:
            yield image
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable(f"{name}: not an image, damaged, or of a kind unknown here") from None
    except Exception as error:  # what decoders raise on damaged files has no common kind
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise Unreadable(f"{name}: {reason or type(error).__name__}") from error


@dataclass(frozen=True)
class _Decoder:
    """Makes sample ``index``: uint8 (height, width, channels)."""

    root: Path
    files: tuple[str, ...]
    height: int
    width: int
    channels: int
    resize: Literal["none", "stretch", "crop"]

    def __call__(self, index: int) -> Images:
        name = self.files[index]
        with _opened(self.root, name) as opened:
            if opened.mode not in _EIGHT_BIT:
                raise Unreadable(f"{name}: pixels of kind '{opened.mode}'; convert it to 8-bit RGB or gray")
            image = _opaque(ImageOps.exif_transpose(opened), "RGB" if self.channels == 3 else "L")
        pixels = np.asarray(self._sized(image, name))
        return pixels.reshape(self.height, self.width, self.channels)

    def _sized(self, image: Image.Image, name: str) -> Image.Image:
        size = (self.width, self.height)
        if image.size == size:
            return image
        if self.resize == "stretch":
            return image.resize(size, Image.Resampling.LANCZOS)
        if self.resize == "crop":
            return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
        raise DataError(
            f"{name} is [{image.height}, {image.width}], expected [{self.height}, {self.width}] "
            f"([height, width]); to bring all to one size, give `size: [{self.height}, {self.width}]` (or "
            "another) and `resize: crop` or `resize: stretch`"
        )


def _opaque(image: Image.Image, mode: Literal["RGB", "L"]) -> Image.Image:
    """The image in ``mode``; what shows through is white, as on a page."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert(mode)


@hookimpl
def register_datasets(register: Register) -> None:
    register("image-folder", ImageFolder)
