"""MNIST, read from its official files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from coupling import DataError
from coupling_digits.appearance import Mode, Scale
from coupling_digits.download import downloaded
from coupling_digits.draw import Count, DrawNumber, ProtocolName
from coupling_digits.idx import elements, unpacked
from coupling_digits.official_digits import OfficialDigits, SplitName

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
"""Addresses of the published files, in the order in which they are tried."""


SIDE = 28
"""Height and width of the published images, in pixels."""

DRAWN = 2000
"""Images that the paper's adaptation experiments draw."""


class Source(NamedTuple):
    """An official file: its name and its checksums."""

    name: str
    dimensions: int
    md5: str  # as published, packed
    sha256: str  # unpacked: files are often packed anew

    @property
    def names(self) -> list[str]:
        """The names under which it is found, packed or not: `train-images-idx3-ubyte.gz` and the like."""
        stems = (self.name, self.name.replace("-idx", ".idx"))
        return [stem + suffix for stem in stems for suffix in (".gz", "")]


class Split(NamedTuple):
    """A split of MNIST."""

    size: int
    images: Source
    labels: Source


SPLITS = {
    "train": Split(
        60_000,
        Source(
            "train-images-idx3-ubyte",
            3,
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        Source(
            "train-labels-idx1-ubyte",
            1,
            "d53e105ee54ea40749a09fcbcd1e9432",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    "test": Split(
        10_000,
        Source(
            "t10k-images-idx3-ubyte",
            3,
            "9fb629c4189551a2d022fa330f9573f3",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        Source(
            "t10k-labels-idx1-ubyte",
            1,
            "ec29112dd5afa0611ce80d1b7f02629c",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
}


@dataclass(frozen=True)
class Content:
    """The content of a file."""

    path: Path
    elements: NDArray[np.uint8]
    sha256: str  # unpacked


_contents: WeakValueDictionary[tuple[object, ...], Content] = WeakValueDictionary()
"""Contents that data sets hold, by file and its state: the domains of one configuration read and check a file once."""


class Mnist(OfficialDigits):
    """MNIST: handwritten digits, 28x28 grey, 60,000 to train and 10,000 to test.

    Samples are (1, 28, 28) in [0, 1] unless the options say otherwise; ink is 1. Reads the four official
    files, packed or not, from `mnist/` in the data directory; missing files are downloaded there when first
    read. Raises DataError where it cannot be, or where a file is damaged or not the official one.
    """

    def __init__(
        self,
        *,
        split: Annotated[SplitName, Field(description="split of MNIST")] = "train",
        verify: Annotated[
            bool,
            Field(
                description="read only the official files; false: read your own files in the same format, "
                "any number of 28x28 images, labels optional, nothing is downloaded"
            ),
        ] = True,
        protocol: ProtocolName = None,
        count: Count = None,
        draw: DrawNumber = None,
        size: Annotated[
            int,
            Field(ge=28, le=256, description="height and width, pixels; beyond 28, paper is added around the digit"),
        ] = 28,
        mode: Mode = "gray",
        scale: Scale = "unit",
    ) -> None:
        self._split = SPLITS[split]
        super().__init__(
            "mnist",
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
        digits = torch.from_numpy(self.digits(indices)).unsqueeze(1).to(torch.float32).div_(255)
        if self.shape[1] > SIDE:
            before = (self.shape[1] - SIDE) // 2
            after = self.shape[1] - SIDE - before
            digits = F.pad(digits, (before, after, before, after))
        return digits if self._plain else self._appearance(digits)

    def digits(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Samples ``indices`` as published: (len(indices), 28, 28), 0 is paper and 255 ink."""
        return self._images.elements[self._in_pool(indices)]

    def fingerprint(self) -> str:
        """The source, the number of samples, the SHA-256 of the images and of the labels."""
        contents = (self._images, self._labels)
        shown = [] if self._plain else [f"{self.shape[1]}x{self.shape[2]} {self._appearance}"]
        return ":".join([self.source, str(len(self)), *shown, *(content.sha256 for content in contents if content)])

    @property
    def _plain(self) -> bool:
        """Whether samples are shown as published."""
        return self.shape == (1, SIDE, SIDE) and self.range == (0.0, 1.0)

    def _test_split(self) -> Mnist:
        appearance = self._appearance
        return Mnist(split="test", verify=self.verify, size=self.shape[1], mode=appearance.mode, scale=appearance.scale)

    @property
    def _file_names(self) -> list[str]:
        return self._split.images.names

    @property
    def _stored(self) -> NDArray[np.uint8]:
        return self._images.elements

    @property
    def _classes(self) -> NDArray[np.uint8] | None:
        labels = self._labels
        return None if labels is None else labels.elements

    @cached_property
    def _images(self) -> Content:
        """All images, (count, 28, 28), kept as bytes: as floats they would take 188 MB."""
        images = self._read(self._split.images)
        shape = images.elements.shape
        if shape[1:] != (SIDE, SIDE) or not shape[0]:
            raise DataError(f"{images.path}: {' x '.join(map(str, shape))} pixels, expected images of 28 x 28")
        return images

    @cached_property
    def _labels(self) -> Content | None:
        if not self.verify and self._find(self._split.labels.names) is None:
            return None
        labels = self._read(self._split.labels)
        if len(labels.elements) != self._available:
            raise DataError(f"{labels.path}: {len(labels.elements)} labels for {self._available} images")
        return labels

    def _read(self, source: Source) -> Content:
        path = self._find(source.names) or self._download(source)
        found = _content(path, source.dimensions)
        if self.verify and found.sha256 != source.sha256:
            raise DataError(
                f"{path}: not MNIST's official file: its unpacked content has SHA-256 {found.sha256}, "
                f"expected {source.sha256}; delete it to have it downloaded afresh, "
                f"or set 'verify: false' to read your own files in this format"
            )
        return found

    def _download(self, source: Source) -> Path:
        name = source.name + ".gz"
        if not self.verify:
            raise DataError(
                f"{self.directory}: {name} is not there, packed or not, and 'verify: false' downloads nothing"
            )
        wanted = " and ".join(f"{part.name}.gz" for part in (self._split.images, self._split.labels))
        advice = f"Put {wanted} there, from one of these addresses or elsewhere."
        return downloaded(self.directory, name, source.md5, MIRRORS, advice)


def _content(path: Path, dimensions: int) -> Content:
    """The content of an IDX file of so many dimensions; a file that has not changed since is not read again."""
    key: tuple[object, ...] = ()
    with suppress(OSError):  # reading it says why
        state = path.stat()
        key = path.absolute(), dimensions, state.st_size, state.st_mtime_ns, state.st_ctime_ns
    found = _contents.get(key)
    if found is None:
        content = unpacked(path)
        found = Content(path, elements(content, dimensions, path), hashlib.sha256(content).hexdigest())
        if key:
            _contents[key] = found
    return found
