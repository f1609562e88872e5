"""The base of MNIST and USPS: grey digits in two splits, read from the official files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupling import data_directory
from coupling_digits.appearance import Appearance, Mode, Scale
from coupling_digits.draw import Count, Draw, DrawnDataset, DrawNumber, ProtocolName, protocol_count

SplitName = Literal["train", "test"]


class OfficialDigits(DrawnDataset):
    """Handwritten digits: some or all samples of a split, shown in one or three channels.

    A subclass names its files, reads them, and resizes their images.
    """

    def __init__(
        self,
        name: str,
        split: SplitName,
        published: int,
        drawn: int,
        *,
        size: int,
        verify: bool,
        protocol: ProtocolName,
        count: Count,
        draw: DrawNumber,
        mode: Mode,
        scale: Scale,
    ) -> None:
        """Open a split; nothing is read yet.

        Args:
            name: name of the data set, which is also its folder in the data directory.
            split: the option of that name.
            published: number of samples in the official files of the split.
            drawn: number of samples in the paper's adaptation experiments.
            size: height and width of the samples in pixels.
            verify: whether only the official files are read, and downloaded where they are missing.
            protocol: the option of that name.
            count: the option of that name.
            draw: the option of that name.
            mode: the option of that name.
            scale: the option of that name.
        """
        self._split_name: SplitName = split
        self._published = published
        self._appearance = Appearance(mode, scale)
        self.shape = (self._appearance.channels, size, size)
        self.range = self._appearance.range
        self.directory = data_directory(name)
        self.verify = verify
        self.tested_on = "own" if protocol in (None, "paper") else "held-out"
        self._open_draw(Draw(f"{name}/{split}", protocol_count(protocol, drawn, count, split), draw))

    @property
    @abstractmethod
    def _stored(self) -> NDArray[np.uint8] | NDArray[np.int16]:
        """All images of the split as they are stored: (count, height, width)."""

    @property
    @abstractmethod
    def _classes(self) -> NDArray[np.uint8] | None:
        """Class of each image of the split, 0 to 9: (count,); None where the files have none."""

    @property
    @abstractmethod
    def _file_names(self) -> Sequence[str]:
        """Names under which the images of the split are found, in the order in which they are tried."""

    @abstractmethod
    def _test_split(self) -> Self:
        """The whole test split, with the same appearance."""

    @property
    def _available(self) -> int:
        return self._published if self.verify else len(self._stored)

    @cached_property
    def labels(self) -> Tensor | None:
        """The digits' classes, 0 to 9: (len(self),) int64; None where your own files have none."""
        classes = self._classes
        return None if classes is None else torch.from_numpy(classes[self._numbers].astype(np.int64))

    def prepare(self) -> None:
        """Download missing files and check all of them."""
        _ = self._stored, self._classes

    def held_out(self) -> Self | None:
        """All test digits with the same appearance; None for the test split, or if your own files have none."""
        if self._split_name == "test":
            return None
        test = self._test_split()
        return test if self.verify or test._find(test._file_names) else None

    def _find(self, names: Sequence[str]) -> Path | None:
        """The first file in the directory that has one of the names."""
        return next((path for name in names if (path := self.directory / name).is_file()), None)
