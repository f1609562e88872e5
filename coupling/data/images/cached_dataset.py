"""The base of data sets whose images are made once and then read from one file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from coupling.data.crops import crop_images
from coupling.data.dataset import Dataset
from coupling.data.images.image import ImageArray
from coupling.data.images.image_cache import Cache
from coupling.errors import ConfigError, ProgramError


class CachedImages(Dataset):
    """A data set whose images are decoded or rendered once and then read from one file.

    Samples are float32 (channels, height, width) in [-1, 1]. Override :meth:`batch` to show the stored bytes in
    another way.

    Args:
        cache: the stored images and what makes them; its shape is that of the samples.
        source: see :attr:`Dataset.source`.
        kind: beginning of the fingerprint; by default the source.
        window: (height, width) of samples if they are parts of the images: a random one when training reads them, the
            middle otherwise. None: whole images.
        flip: whether training mirrors half of the samples.

    Raises:
        ConfigError: the window is larger than the images.
    """

    range = (-1.0, 1.0)
    """Lowest and highest value of a sample: bytes 0 and 255."""

    def __init__(
        self,
        cache: Cache,
        *,
        source: str,
        kind: str | None = None,
        window: tuple[int, int] | None = None,
        flip: bool = False,
    ) -> None:
        height, width, channels = cache.shape
        if window is not None and (window[0] > height or window[1] > width):
            raise ConfigError(
                f"window: {window[0]}x{window[1]} pixels are more than the images have, {height}x{width}; give a "
                "smaller window, or a larger size"
            )
        self.cache = cache
        self.window = (height, width) if window is None else window
        self.flip = flip
        self.shape = (channels, *self.window)
        self.source = source
        self.kind = source if kind is None else kind
        self.counted_by_prepare = cache.on_error == "skip"

    @property
    def images(self) -> ImageArray:
        """The stored images: uint8 (len(self), height, width, channels), a memory map; made when first read."""
        return self.cache.images

    def __len__(self) -> int:
        """Number of images; with ``on_error: skip`` of readable ones, which only :meth:`prepare` can tell.

        Raises:
            ProgramError: the images are not prepared, and unreadable ones may be left out.
        """
        if self.cache.is_open:
            return len(self.cache.images)
        if self.counted_by_prepare:
            raise ProgramError("the number of images is known only after prepare(), as unreadable ones are left out")
        return self.cache.count

    def __getitem__(self, index: int) -> Tensor:
        """A sample: float32 of :attr:`shape` in [-1, 1].

        Args:
            index: number of the sample, from 0.
        """
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Read several samples.

        Args:
            indices: numbers of the samples.

        Returns:
            float32 (len(indices), channels, height, width) in [-1, 1].
        """
        return signed_samples(self._cut(indices, None))

    def augmented(self, indices: Sequence[int], keys: Sequence[int]) -> Tensor:
        """Read several samples as training does: random windows, mirrored or not.

        Args:
            indices: numbers of the samples.
            keys: the key of each, from which its window and side are drawn.

        Returns:
            float32 (len(indices), channels, height, width) in [-1, 1].
        """
        if self.window == self.cache.shape[:2] and not self.flip:
            return self.batch(indices)
        return signed_samples(self._cut(indices, keys))

    def _cut(self, indices: Sequence[int], keys: Sequence[int] | None) -> ImageArray:
        images = self.images[np.asarray(indices, np.intp)]
        if self.window == images.shape[1:3] and (keys is None or not self.flip):
            return images
        return crop_images(list(images), self.window, keys, mirror=self.flip)

    def prepare(self) -> None:
        """Make all images, unless they are stored already."""
        _ = self.images

    def fingerprint(self) -> str:
        """Identifies the images themselves: the same wherever they come from."""
        self.prepare()
        return f"{self.kind}:{self.cache.sha256}"


def signed_samples(images: ImageArray) -> Tensor:
    """Stored images as samples: uint8 (B, height, width, channels) to float32 (B, channels, height, width) in [-1, 1].

    Args:
        images: the bytes.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)
