"""MNIST-M: MNIST's digits over colour photographs, from the official files or made on the spot.

Its authors took |patch - digit|, channel by channel, of a random patch of a photograph and a digit (Ganin
et al. 2016, *Domain-adversarial training of neural networks*, section 5.2). So do we.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import uuid
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field
from torch import Tensor

from coupling.data_directory import data_directory
from coupling.errors import ConfigError, DataError
from coupling.prepared import Images, Make, prepared_images, prepared_record
from coupling.terminal import remark
from coupling_digits.appearance import Appearance, Scale
from coupling_digits.draw import Count, Draw, DrawnDataset, DrawNumber
from coupling_digits.mnist import Mnist
from coupling_digits.photographs import digest, photographs, pixels

SIDE = 32
"""Height and width of the images, in pixels."""

BORDER = (SIDE - 28) // 2
"""Pixels around MNIST's digits."""

ARCHIVE = "mnist_m.tar.gz"
ARCHIVE_MD5 = "859df31c91afe82e80e5012ba928f279"
SIZES = {"train": 59_001, "test": 9_001}
"""Images of the official files."""

SplitName = Literal["train", "test"]


class MnistM(DrawnDataset):
    """MNIST-M: MNIST's digits over patches of colour photographs, 32x32: the official files, or made here.

    Samples are (3, 32, 32) in [-1, 1]. The official 59,001 to train and 9,001 to test are read from `mnist_m/`
    in the data directory: `mnist_m.tar.gz`, or what it holds. Made, there are as many as MNIST has, from
    photographs of your own or a few that scikit-image ships; they count as MNIST's digits, so that a domain of
    `mnist` beside it gets others. They are decoded or made once and kept in `mnist_m/`.
    """

    def __init__(
        self,
        *,
        split: Annotated[SplitName, Field(description="which of the two parts")] = "train",
        origin: Annotated[
            Literal["official", "made"], Field(description="the official files, or made from MNIST and photographs")
        ] = "official",
        backgrounds: Annotated[
            str | None,
            Field(
                min_length=1,
                description="made: a folder of photographs; ~ is your home directory; null: scikit-image's seven",
            ),
        ] = None,
        seed: Annotated[int, Field(ge=0, description="made: which patch is behind which digit")] = 0,
        verify: Annotated[
            bool,
            Field(
                description="insist on the official archive, or number of files (made: on MNIST's files); false "
                "reads your own in the same format"
            ),
        ] = True,
        count: Count = None,
        draw: DrawNumber = None,
        scale: Scale = "signed",
    ) -> None:
        if origin == "official" and backgrounds is not None:
            raise ConfigError("backgrounds: is for 'origin: made'; the official images have theirs")
        self._appearance = Appearance("rgb", scale)
        self.shape = (3, SIDE, SIDE)
        self.range = self._appearance.range
        self._pool: _Pool = (
            _Official(split, verify) if origin == "official" else _Made(split, verify, backgrounds, seed)
        )
        self.verify = verify
        self._split = split
        self._alike = partial(MnistM, origin=origin, backgrounds=backgrounds, seed=seed, verify=verify, scale=scale)
        self._open_draw(Draw(self._pool.name, count, draw))

    @property
    def _available(self) -> int:
        return self._pool.available

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``: (len(indices), 3, 32, 32), float32 in the range."""
        chosen = torch.from_numpy(self._pool.images[self._in_pool(indices)])
        return self._appearance(chosen.permute(0, 3, 1, 2).to(torch.float32).contiguous().div_(255))

    @cached_property
    def labels(self) -> Tensor | None:
        """The digits' classes, 0 to 9: (len(self),) int64; None where your own digits have none."""
        labels = self._pool.labels
        return None if labels is None else torch.from_numpy(labels[self._numbers])

    def prepare(self) -> None:
        """Decode or make the images, unless they already are."""
        _ = self._pool.images, self.labels

    def fingerprint(self) -> str:
        """The source, the number of samples, their scale, the SHA-256 of the images."""
        return f"mnist-m:{self.source}:{len(self)}:{self._appearance.scale}:{self._pool.sha256}"

    def held_out(self) -> MnistM | None:
        """The test images, all of them; None where these are them, or your own files have none."""
        return self._alike(split="test") if self._split == "train" and self._pool.has_test else None


class _Pool(ABC):
    """All images of a split, with their labels."""

    name: str
    """The pool's, as a data set's source."""

    verb: str
    """What is done to have the images."""

    @property
    @abstractmethod
    def available(self) -> int:
        """How many there are."""

    @property
    @abstractmethod
    def labels(self) -> NDArray[np.int64] | None:
        """Classes, (available,)."""

    @abstractmethod
    def key(self) -> dict[str, object]:
        """All that the images depend on."""

    @abstractmethod
    def make(self) -> Make:
        """What decodes or makes them."""

    @property
    @abstractmethod
    def has_test(self) -> bool:
        """Whether there is a test split."""

    @cached_property
    def images(self) -> Images:
        """All images, (available, 32, 32, 3)."""
        shape, title = (SIDE, SIDE, 3), f"{self.verb} MNIST-M"
        directory = data_directory("mnist_m")
        return prepared_images(directory, self.key(), self.available, shape, self.make(), title=title, processes=1)

    @property
    def sha256(self) -> str:
        """Of the images."""
        _ = self.images
        record = prepared_record(data_directory("mnist_m"), self.key(), self.available, (SIDE, SIDE, 3))
        assert record is not None
        return record.sha256


# ---------------------------------------------------------------------------- made


class _Made(_Pool):
    """MNIST's digits over patches of photographs."""

    verb = "Making"

    def __init__(self, split: SplitName, verify: bool, backgrounds: str | None, seed: int) -> None:
        self._mnist = Mnist(split=split, verify=verify)
        self._seed = seed
        self._paths = photographs(backgrounds)
        self.name = self._mnist.source

    @property
    def available(self) -> int:
        return len(self._mnist)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        labels = self._mnist.labels
        return None if labels is None else labels.numpy()

    def key(self) -> dict[str, object]:
        return {"digits": self._mnist.fingerprint(), "photographs": self._photographs, "seed": self._seed}

    @cached_property
    def _photographs(self) -> str:
        return digest(self._paths)

    def make(self) -> Make:
        return _Blend(self._mnist, tuple(self._paths), self._seed)

    @property
    def has_test(self) -> bool:
        return self._mnist.held_out() is not None


@dataclass(frozen=True)
class _Blend:
    """Makes sample ``index``: |patch - digit|, the digit in the middle, patch and photograph drawn for it alone."""

    mnist: Mnist
    paths: tuple[Path, ...]
    seed: int

    @cached_property
    def _photographs(self) -> list[NDArray[np.uint8]]:
        return [pixels(path, SIDE) for path in self.paths]

    def __call__(self, index: int) -> Images:
        random = np.random.default_rng([self.seed, index])
        photograph = self._photographs[random.integers(len(self.paths))]
        y, x = (random.integers(side - SIDE + 1) for side in photograph.shape[:2])
        digit = np.zeros((SIDE, SIDE), np.int16)
        digit[BORDER:-BORDER, BORDER:-BORDER] = self.mnist.digits([index])[0]
        patch = photograph[y : y + SIDE, x : x + SIDE]
        blended: Images = np.abs(patch - digit[:, :, None]).astype(np.uint8)
        return blended


# ---------------------------------------------------------------------------- official


class _Official(_Pool):
    """The official files, packed or not. Samples are in the order of the list of labels."""

    verb = "Decoding"

    def __init__(self, split: SplitName, verify: bool) -> None:
        self.name = f"mnist-m/{split}"
        self._split: SplitName = split
        self._verify = verify
        self._directory = data_directory("mnist_m")
        self._folder = f"mnist_m_{split}"
        self._list = f"{self._folder}_labels.txt"

    @property
    def available(self) -> int:
        return SIZES[self._split] if self._verify else len(self._listing[0])

    @property
    def labels(self) -> NDArray[np.int64]:
        return self._listing[1]

    def key(self) -> dict[str, object]:
        names, labels = self._listing
        listing = hashlib.sha256(repr((names, labels.tolist())).encode()).hexdigest()
        return {"mnist-m": self._split, "listing": listing, "verified": self._verify}

    def make(self) -> Make:
        names = self._listing[0]
        folder = next((root / self._folder for root in self._roots if (root / self._folder).is_dir()), None)
        if folder is not None:
            return _FromFolder(folder, names)
        return _FromArchive(self._archive, self._folder, names, self._verify)

    @property
    def has_test(self) -> bool:
        if self._verify:
            return True
        try:
            return bool(_Official("test", verify=False).available)
        except DataError:
            return False

    @property
    def _roots(self) -> list[Path]:
        """Where the unpacked files may lie: the archive holds a folder of its own name."""
        return [self._directory, self._directory / "mnist_m"]

    def _archive(self) -> Path:
        path = self._directory / ARCHIVE
        if not path.is_file():
            raise DataError(
                f"{self._directory}: neither {ARCHIVE} nor {self._folder}/ with {self._list} is there; put one of them "
                "there (MNIST-M is published by the authors of domain-adversarial training), or set 'origin: made' to "
                "make it from MNIST and photographs"
            )
        return path

    @cached_property
    def _listing(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Names and labels of the images."""
        path = next((root / self._list for root in self._roots if (root / self._list).is_file()), None)
        if path is None:
            archive = self._archive()
            path = self._directory / self._list
            _write(path, _unpacked(archive, self._list, self._verify, self._list)[self._list])
        names, labels = _listed(path)
        if self._verify and len(names) != SIZES[self._split]:
            raise DataError(
                f"{path}: lists {len(names)} images, the official one {SIZES[self._split]}; bring the whole file, or "
                "set 'verify: false' to read your own files in this format"
            )
        return names, labels


def _listed(path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The lines `name label` of a list."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if text.lstrip().startswith("<"):
        raise DataError(f"{path}: an HTML page, saved in place of the data (an error page of the server?)")
    names, labels = [], []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if len(parts) != 2 or parts[1] not in set("0123456789") or "/" in parts[0]:
            raise DataError(f"{path}: line {number} is not `name label` with a label from 0 to 9: '{line[:60]}'")
        names.append(parts[0])
        labels.append(int(parts[1]))
    if not names:
        raise DataError(f"{path}: is empty")
    return tuple(names), np.array(labels, np.int64)


@dataclass(frozen=True)
class _FromFolder:
    """Decodes sample ``index`` of unpacked files."""

    folder: Path
    names: tuple[str, ...]

    def __call__(self, index: int) -> Images:
        path = self.folder / self.names[index]
        try:
            return _decoded(path.read_bytes(), str(path))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class _FromArchive:
    """Decodes sample ``index`` of the archive, which is read once: its files are small, and it cannot be searched."""

    archive: Callable[[], Path]
    """Where it is; DataError where it is not."""
    folder: str
    names: tuple[str, ...]
    verify: bool

    @cached_property
    def _files(self) -> dict[str, bytes]:
        return _unpacked(self.archive(), f"{self.folder}/", self.verify, *self.names)

    def __call__(self, index: int) -> Images:
        name = self.names[index]
        return _decoded(self._files[name], f"{self.folder}/{name}")


def _decoded(content: bytes, name: str) -> Images:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            size, colours = image.size, np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image, damaged, or of a kind unknown here") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: {error}") from error
    if size != (SIDE, SIDE):
        raise DataError(f"{name}: is {size[1]} x {size[0]} pixels, expected {SIDE} x {SIDE}")
    return colours


def _unpacked(archive: Path, place: str, verify: bool, *names: str) -> dict[str, bytes]:
    """Content of the archive's files ``names``: those in the folder ``place`` if it ends in /, or anywhere.

    Nothing of it is written to disk. Raises DataError where the archive is not the official one, or not whole.
    """
    if verify:
        _check_archive(archive)
    remark(f"Reading {place} of {archive}")
    wanted, found = set(names), dict[str, bytes]()
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.name in wanted and member.isfile() and (place == path.name or f"{path.parent.name}/" == place):
                    file = tar.extractfile(member)
                    assert file is not None
                    found[path.name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        size = archive.stat().st_size
        raise DataError(f"{archive}: truncated or damaged archive, {size} bytes ({error})") from error
    missing = sorted(wanted - set(found))
    if missing:
        raise DataError(f"{archive}: holds no {place if place != missing[0] else ''}{missing[0]}")
    return found


def _check_archive(archive: Path) -> None:
    """Raise DataError where an archive is not the official one."""
    total = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file:
        start = file.read(2**20)
        if start.lstrip()[:1] == b"<":
            raise DataError(f"{archive}: an HTML page, saved in place of the data (an error page of the server?)")
        while start:
            total.update(start)
            start = file.read(2**20)
    if total.hexdigest() != ARCHIVE_MD5:
        raise DataError(
            f"{archive}: not the official archive: its MD5 is {total.hexdigest()}, expected {ARCHIVE_MD5}, with "
            f"{archive.stat().st_size} bytes (a download that was cut short?); fetch it again, or set 'verify: false' "
            "to read your own files in this format"
        )


def _write(path: Path, content: bytes) -> None:
    """Keep a small file of the archive beside it: it is read at each start, the archive only once."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; unpack the archive elsewhere") from error
