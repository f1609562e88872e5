"""CelebA: photographs of faces with 40 attributes, the paper's data (section 4.2)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor

from coupling import (
    DECODER,
    ConfigError,
    DataError,
    Dataset,
    ImageCache,
    PartialOverlap,
    crop_images,
    data_directory,
    expand_home,
)
from coupling_faces.archive import Images, ZipImages, images_of
from coupling_faces.decoding import Aspect, Decoder, Pixels
from coupling_faces.lists import NAMES, PARTITIONS, face_list, partition_numbers, unknown
from coupling_faces.live import LiveImages, usual_workers
from coupling_faces.official_files import look_at_images


def _known(name: str) -> str:
    if name not in NAMES:
        raise ValueError(unknown(name))
    return name


AttributeName = Annotated[str, AfterValidator(_known)]


class CelebA(Dataset):
    """CelebA: photographs of faces, those that have, or lack, some of 40 attributes.

    Samples are (3, size, size) in [-1, 1]. Reads the three official files from ``path``; the images
    from the zip or from its folder. Each image is resized to a square, as the paper does it, and
    training reads a random window of it that is a function of seed, domain and position; metrics
    read the window in the middle.

    Selections of the same attributes are one source, of which domains get disjoint parts; those that
    exclude each other (smiling or not) have no image in common anyway. Domains are as large as their
    selections: nothing is drawn more often because there is less of it.

    Raises:
        ConfigError: an option does not fit another.
        DataError: a file is missing, cut off, damaged, a web page, or not the official one; no
            image has the attributes.
    """

    range = (-1.0, 1.0)

    def __init__(
        self,
        *,
        attributes: Annotated[
            dict[AttributeName, bool] | None,
            Field(
                description="which of the 40 attributes the images have (true) or lack (false), all of them at once: "
                "{Smiling: true, Eyeglasses: false}; default: all images",
                json_schema_extra={"propertyNames": {"enum": list(NAMES)}},
            ),
        ] = None,
        partition: Annotated[
            Literal["train", "valid", "test", "all"],
            Field(description="which images: the authors' 162,770, 19,867 or 19,962; the paper takes all 202,599"),
        ] = "all",
        size: Annotated[int, Field(ge=8, le=1024, description="height and width of the samples in pixels")] = 128,
        resize: Annotated[
            int | None,
            Field(
                ge=8,
                le=1024,
                description="height and width that images are brought to before `crop`; default: a 32nd more than "
                "`size`, which is the paper's 132 for 128",
            ),
        ] = None,
        aspect: Annotated[
            Aspect,
            Field(
                description="how 178x218 pixels become a square: stretch, as the paper says it, makes faces 22 % wider "
                "than they are; crop takes the middle 178x178"
            ),
        ] = "stretch",
        crop: Annotated[
            Literal["random", "centre"],
            Field(description="which window of `size` training reads: any, another in each epoch, or the middle"),
        ] = "random",
        flip: Annotated[bool, Field(description="mirror every second sample, at random (the paper: false)")] = False,
        cache: Annotated[
            bool,
            Field(
                description="decode all images once and keep the pixels on disk, 10.6 GB of 132x132, 2.6 GB of 66x66; "
                "false: decode while training, by `workers`, and keep nothing"
            ),
        ] = True,
        workers: Annotated[
            int | None,
            Field(ge=0, le=64, description="processes that decode where `cache` is false; default: one a core"),
        ] = None,
        path: Annotated[
            str | None,
            Field(min_length=1, description="where the files are; default: celeba/ in the data directory"),
        ] = None,
        verify: Annotated[
            bool,
            Field(
                description="read only the official files; false: read your own files in the same format, of any size"
            ),
        ] = True,
    ) -> None:
        side = size + size // 32 if resize is None else resize
        if side < size:
            raise ConfigError(
                f"resize: {side} pixels are less than `size`, {size}, which is cut out of them; give {size} or more"
            )
        self.shape = (3, size, size)
        self._attributes = dict(attributes or {})
        self._partition = partition
        chosen = ",".join(f"{name}={present}" for name, present in sorted(self._attributes.items()))
        self.source = f"celeba/{partition}/{chosen}".lower()
        self._side, self._aspect = side, aspect
        self._crop, self._flip = crop, flip
        self._cache, self._verify = cache, verify
        self._workers = usual_workers() if workers is None else workers
        self._folder = data_directory("celeba") if path is None else expand_home(path).resolve()
        self._faces = face_list(self._folder, verify)
        look_at_images(self._folder)
        self._numbers = self._selected()
        """Numbers of the samples in the list."""

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """The middle of samples ``indices``: (len(indices), 3, size, size), float32 in [-1, 1]."""
        return self._windows(indices, None)

    def augmented(self, indices: Sequence[int], keys: Sequence[int]) -> Tensor:
        """Samples ``indices``, cropped and mirrored as their ``keys`` and the options say."""
        return self._windows(indices, keys)

    def expect(self, indices: Sequence[int], keys: Sequence[int]) -> None:
        """Let the workers begin with ``indices``."""
        if not self._cache:
            self._live.expect(self._numbers[list(indices)].tolist())

    def attributes(self) -> Mapping[str, Tensor]:
        """All 40, by their official names: 1 where an image has it, 0 where not, (len(self),) int64 each."""
        flags = torch.from_numpy(self._faces.flags[self._numbers].astype(np.int64))
        return {name: flags[:, column].contiguous() for column, name in enumerate(NAMES)}

    def held_out(self) -> CelebA | None:
        """The same selection from the authors' test images; None if these samples include the test images."""
        if self._partition in ("all", "test"):
            return None
        return CelebA(
            attributes=self._attributes or None,
            partition="test",
            size=self.shape[1],
            resize=self._side,
            aspect=self._aspect,
            cache=self._cache,
            workers=self._workers,
            path=str(self._folder),
            verify=self._verify,
        )

    def overlap(self, other: Dataset) -> str | None:
        """Number of images that another selection of CelebA has too, in words.

        A :class:`PartialOverlap` where each selection has other images too.
        """
        if not isinstance(other, CelebA):
            return None
        common = len(np.intersect1d(self._numbers, other._numbers, assume_unique=True))
        message = f"{common:,} images of {self.source} are of {other.source} too"
        if 0 < common < min(len(self), len(other)):
            return PartialOverlap(message)
        return message if common else None

    def prepare(self) -> None:
        """Check the files and, unless ``cache`` is false, decode all images, on all cores, unless they already are.

        It decodes all images, because another task selects others.
        """
        _ = self._kept if self._cache else self._decoder

    def fingerprint(self) -> str:
        """The selection, how it is resized, and a digest of all images."""
        return f"{self.source}:{len(self)}:{self._side}{self._aspect}:{self._decoder.images.content}"

    def __getstate__(self) -> dict[str, Any]:
        made = ("_decoder", "_live", "_kept")  # another process makes its own
        return {key: value for key, value in self.__dict__.items() if key not in made}

    def _selected(self) -> NDArray[np.int64]:
        chosen = self._faces.where(self._attributes)
        if self._partition != "all":
            numbers = partition_numbers(self._folder, self._faces, self._verify)
            chosen &= numbers == PARTITIONS.index(self._partition)
        if not chosen.any():
            wanted = ", ".join(f"{name}: {str(present).lower()}" for name, present in self._attributes.items())
            raise DataError(
                f"attributes: no image of partition '{self._partition}' has {{{wanted}}}; ask for fewer attributes"
            )
        return np.flatnonzero(chosen)

    def _windows(self, indices: Sequence[int], keys: Sequence[int] | None) -> Tensor:
        numbers = self._numbers[list(indices)].tolist()
        images = [self._kept[number] for number in numbers] if self._cache else self._live.read(numbers)
        size = self.shape[1], self.shape[2]
        if self._crop == "centre" and keys is not None:
            images = list(crop_images(images, size))
        windows = torch.from_numpy(crop_images(images, size, keys, mirror=self._flip))
        # Channels last in memory, as training wants it.
        return windows.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)

    @cached_property
    def _decoder(self) -> Decoder:
        images = images_of(self._folder, self._faces, self._verify, self._directory)
        return _decoder(images, self._side, self._aspect, self._verify)

    @cached_property
    def _live(self) -> LiveImages:
        return LiveImages(self._decoder, self._workers)

    @cached_property
    def _kept(self) -> Pixels:
        """All images of the list: (images, side, side, 3), a memory map."""
        decoder = self._decoder
        # Official images have neither profiles nor orientation: all versions of the decoder give the same pixels.
        version = {} if self._verify else {"decoder": DECODER}
        # Official images never change: only of others may there be an earlier state.
        is_official = self._verify and isinstance(decoder.images, ZipImages)
        place = {} if is_official else {"images": str(decoder.images.path)}
        cache = ImageCache(
            self._directory,
            {"celeba": decoder.images.identity, "aspect": self._aspect, **version, **place},
            len(self._faces.names),
            (self._side, self._side, 3),
            decoder,
            title=f"Decoding CelebA to {self._side}x{self._side} pixels",
            place=tuple(place),
            state=("celeba",),
        )
        if cache.record is None:
            _reject_too_full(self._directory, cache.count * math.prod(cache.shape))
        return cache.images.view(np.ndarray)  # views of a memmap are slow to make

    @property
    def _directory(self) -> Path:
        """Folder of the decoded pixels; not beside the files, because many users may share these."""
        return data_directory("celeba") / "prepared"


@lru_cache(maxsize=4)
def _decoder(images: Images, side: int, aspect: Aspect, official: bool) -> Decoder:
    """The decoder of all domains, so that they share the workers."""
    return Decoder(images, side, aspect, official)


def _reject_too_full(directory: Path, size: int) -> None:
    """Raise :class:`DataError` where ``size`` bytes do not fit, before minutes are spent on it."""
    place = next(folder for folder in (directory, *directory.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise DataError(
            f"the decoded images take {size / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB left; free some "
            "space, set COUPLING_DATA to a directory elsewhere, or set `cache: false` to decode while training"
        )
