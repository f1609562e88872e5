"""USPS, read from the libsvm collection's files or from HDF5."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from coupling import DataError, nearest
from coupling_digits.appearance import Mode, Scale
from coupling_digits.download import AGAIN, PAGE, downloaded
from coupling_digits.draw import Count, DrawNumber, ProtocolName
from coupling_digits.libsvm import samples, unpacked
from coupling_digits.official_digits import OfficialDigits, SplitName

if TYPE_CHECKING:
    import h5py

MIRRORS = ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",)
"""Addresses of the published files."""

SIDE = 16
"""Height and width of the published images, in pixels."""

STEPS = 2000
"""Steps of grey from 0 to 1: the values are published as -1 to 1 in thousandths."""

BORDER = 3
"""Pixels that `resize: pad` adds on each side: the digits then are as large in their frame as MNIST's are."""

CLASSES = 10

DRAWN = 1800
"""Images that the paper's adaptation experiments draw."""

HDF5 = ("usps.h5", "usps.hdf5")


class Split(NamedTuple):
    """A split of USPS: its libsvm file and the expected content."""

    size: int
    name: str  # of the libsvm file, unpacked
    md5: str  # of that file as published, packed
    sha256: str  # of grey levels and labels: see `Content`

    @property
    def names(self) -> list[str]:
        """The names under which its file is found, packed or not, in the order in which they are looked for."""
        return [f"{self.name}.bz2", self.name, *HDF5]


SPLITS = {
    "train": Split(
        7291,
        "usps",
        "ec16c51db3855ca6c91edd34d0e9b197",
        "2a57ed8dc4031e3ee8e2fb77d19f37835c3d528737e927f600a386c345315b6e",
    ),
    "test": Split(
        2007,
        "usps.t",
        "8ea070ee2aca1ac39742fdd1ef5ed118",
        "842fd2ff51c60da8d4370be46de58b3020cd6aa498736313dbe8962ec6b3a0d2",
    ),
}


class Content(NamedTuple):
    """The content of a split, from any kind of file."""

    path: Path
    md5: str  # of the file
    levels: NDArray[np.int16]  # (count, 16, 16), 0 for paper to 2000 for ink
    labels: NDArray[np.uint8] | None  # (count,), 0 to 9

    @property
    def sha256(self) -> str:
        """SHA-256 of the levels (two bytes each, the lower first), then the labels."""
        labels = b"" if self.labels is None else self.labels.tobytes()
        return hashlib.sha256(self.levels.astype("<i2").tobytes() + labels).hexdigest()


class Usps(OfficialDigits):
    """USPS: handwritten digits of postcodes, 16x16 grey, 7,291 to train and 2,007 to test.

    Samples are (1, 28, 28) in [0, 1] unless the options say otherwise; ink is 1. Reads `usps.bz2` and
    `usps.t.bz2` of the libsvm collection, packed or not, or `usps.h5` with {train, test}/{data, target}, from
    `usps/` in the data directory; missing files are downloaded there when first read. Raises DataError where
    it cannot be, or where a file is damaged or does not hold the official digits.

    The split is the usual one; the paper's authors' own had 7,438 and 1,860.
    """

    def __init__(
        self,
        *,
        split: Annotated[SplitName, Field(description="split of USPS")] = "train",
        size: Annotated[int, Field(ge=4, le=256, description="height and width, pixels; 28 is MNIST's")] = 28,
        resize: Annotated[
            Literal["bilinear", "pad"],
            Field(
                description="bilinear: digits fill the frame, as published; pad: 3 pixels of paper are added on each "
                "side before, so that the digits are as large in their frame as MNIST's"
            ),
        ] = "bilinear",
        verify: Annotated[
            bool,
            Field(
                description="read only the official digits; false: read your own files in the same formats, any number "
                "of 16x16 images, labels optional in HDF5, nothing is downloaded"
            ),
        ] = True,
        protocol: ProtocolName = None,
        count: Count = None,
        draw: DrawNumber = None,
        mode: Mode = "gray",
        scale: Scale = "unit",
    ) -> None:
        self._resize: Literal["bilinear", "pad"] = resize
        self._split = SPLITS[split]
        super().__init__(
            "usps",
            split,
            self._split.size,
            DRAWN,
            size=size,
            verify=verify,
            protocol=protocol,
            count=count,
            draw=draw,
            mode=mode,
            scale=scale,
        )

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``: (len(indices), *shape), float32 in the range."""
        chosen = self._content.levels[self._in_pool(indices)]
        images = torch.from_numpy(chosen.astype(np.float32)).unsqueeze(1).div_(STEPS)
        if self._resize == "pad":
            images = F.pad(images, (BORDER,) * 4)
        if images.shape[2:] != self.shape[1:]:
            images = F.interpolate(images, self.shape[1:], mode="bilinear", align_corners=False, antialias=True)
            images.clamp_(0, 1)  # rounding may have carried it past the range
        return self._appearance(images)

    def fingerprint(self) -> str:
        """The source, the number of samples, how they are resized, the SHA-256 of the digits and their labels."""
        shown = f"{self.shape[1]}x{self.shape[2]} {self._resize} {self._appearance}"
        return f"{self.source}:{len(self)}:{shown}:{self._content.sha256}"

    def _test_split(self) -> Usps:
        return Usps(
            split="test",
            size=self.shape[1],
            resize=self._resize,
            verify=self.verify,
            mode=self._appearance.mode,
            scale=self._appearance.scale,
        )

    @property
    def _file_names(self) -> list[str]:
        return self._split.names

    @property
    def _stored(self) -> NDArray[np.int16]:
        return self._content.levels

    @property
    def _classes(self) -> NDArray[np.uint8] | None:
        return self._content.labels

    @cached_property
    def _content(self) -> Content:
        path = self._find(self._split.names) or self._download()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        if content.lstrip()[:1] == b"<":
            raise DataError(f"{path}: {PAGE}; {AGAIN}")
        hdf5 = path.name in HDF5 or content.startswith(b"\x89HDF")
        values, labels = _from_hdf5(path, self._split_name) if hdf5 else _from_libsvm(content, path)
        levels = np.rint(values * STEPS).astype(np.int16).reshape(-1, SIDE, SIDE)
        found = Content(path, hashlib.md5(content, usedforsecurity=False).hexdigest(), levels, labels)
        if self.verify and found.sha256 != self._split.sha256 and found.md5 != self._split.md5:
            raise DataError(
                f"{path}: not USPS's official digits: its {len(levels)} samples to {self._split_name} have SHA-256 "
                f"{found.sha256}, expected {self._split.size} with {self._split.sha256}; delete it to have the "
                "official file downloaded, or set 'verify: false' to read your own files in this format"
            )
        return found

    def _download(self) -> Path:
        name = f"{self._split.name}.bz2"
        if not self.verify:
            names = ", ".join(self._split.names)
            raise DataError(f"{self.directory}: none of {names} is there, and 'verify: false' downloads nothing")
        advice = f"Put {name} there, from one of these addresses or elsewhere, or usps.h5 with both splits."
        return downloaded(self.directory, name, self._split.md5, MIRRORS, advice)


Read = tuple[NDArray[np.float64], NDArray[np.uint8] | None]
"""Values in [0, 1], (count, 256), and labels, (count,) from 0 to 9."""


def _from_libsvm(content: bytes, path: Path) -> Read:
    values, labels = samples(unpacked(content, path), SIDE * SIDE, path)
    _check_values(values, -1, 1, path)
    return (values.astype(np.float64) + 1) / 2, _classes(labels - 1, path, "1 to 10")


def _from_hdf5(path: Path, split: str) -> Read:
    import h5py  # here, so that commands that read no such file start earlier

    try:
        with h5py.File(path) as file:
            data, labels = _array(file, f"{split}/data", path), None
            if f"{split}/target" in file:
                labels = _array(file, f"{split}/target", path)
    except OSError as error:
        raise DataError(f"{path}: truncated or damaged, or not an HDF5 file ({error}); {AGAIN}") from error
    if not data.size or data[0].size != SIDE * SIDE:
        raise DataError(f"{path}: {split}/data is {' x '.join(map(str, data.shape))}, expected images of 16 x 16")
    values = data.reshape(len(data), -1).astype(np.float64)
    _check_values(values, 0, 1, path)
    if labels is not None and labels.shape != (len(data),):
        raise DataError(f"{path}: {split}/target is {labels.shape}, expected {len(data)} labels, one for each image")
    return values, None if labels is None else _classes(labels, path, "0 to 9")


def _array(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    import h5py

    if not isinstance(file.get(name), h5py.Dataset):
        found: list[str] = []
        file.visit(found.append)
        raise DataError(f"{path}: has no data set '{name}'; {nearest(name, found)}")
    return np.asarray(file[name])


def _check_values(values: NDArray[Any], low: float, high: float, path: Path) -> None:
    """Raise DataError where values are not of the range ``low`` (paper) to ``high`` (ink).

    A domain of another range than the one beside it is learned as something else, without any error.
    """
    least, most = float(values.min()), float(values.max())
    slack = 1e-3 * (high - low)
    if not (low - slack <= least and most <= high + slack and most - least > (high - low) / 2):  # also NaNs
        raise DataError(
            f"{path}: its values lie in [{least:g}, {most:g}], expected [{low:g}, {high:g}] from paper to ink; "
            "scale them"
        )


def _classes(labels: NDArray[Any], path: Path, kind: str) -> NDArray[np.uint8]:
    if not np.isin(labels, np.arange(CLASSES)).all():
        raise DataError(f"{path}: its labels are not whole numbers from {kind}")
    return labels.astype(np.uint8)
