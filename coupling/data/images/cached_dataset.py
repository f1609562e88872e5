"""A data set whose images are decoded once and then read from one file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupling.data.dataset import Dataset
from coupling.data.images.cache import CachedRecord
from coupling.data.images.decoding import OnError
from coupling.data.images.image import ImageArray
from coupling.errors import ProgramError


class CachedImages(Dataset):
    """Samples are float32 (channels, height, width) in [-1, 1], prepared as bytes.

    A subclass sets ``shape``, ``source``, ``_kind`` (begins its fingerprint), ``_count`` (samples
    before any is left out) and ``_on_error``, and says how its images are prepared and where their
    record is.
    """

    range = (-1.0, 1.0)
    _kind: str
    _count: int
    _on_error: OnError
    _images: ImageArray | None = None

    @abstractmethod
    def _make(self) -> ImageArray:
        """Prepare the images, or open them: uint8 (count, height, width, channels)."""

    @abstractmethod
    def _record(self) -> CachedRecord | None:
        """The record of the prepared images; None: they are not prepared."""

    def __len__(self) -> int:
        """Number of images; with ``on_error: skip`` of readable ones, which only :meth:`prepare` can tell."""
        if self._images is not None:
            return len(self._images)
        if self.counted_by_prepare:
            raise ProgramError("the number of images is known only after prepare(), as unreadable ones are left out")
        return self._count

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
        """The images themselves: the same wherever they come from."""
        self.prepare()
        record = self._record()
        assert record is not None
        return f"{self._kind}:{record.sha256}"

    def _kept(self) -> NDArray[np.intp]:
        """Which of the ``_count`` samples were readable, ascending."""
        self.prepare()
        record = self._record()
        assert record is not None
        return np.delete(np.arange(self._count), record.missing)

    def _prepared(self) -> ImageArray:
        if self._images is None:
            self._images = self._make()
        return self._images

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": None}  # another process opens the file; it needs no copy
