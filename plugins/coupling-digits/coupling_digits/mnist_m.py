"""MNIST-M: MNIST's digits over colour photographs, from the official files or made from MNIST.

Its authors took |patch - digit|, channel by channel, of a random patch of a photograph and a digit (Ganin
et al. 2016, *Domain-adversarial training of neural networks*, section 5.2). So do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from coupling import ConfigError
from coupling_digits.appearance import Appearance, Scale
from coupling_digits.draw import Count, Draw, DrawnDataset, DrawNumber
from coupling_digits.mnist_m_made import Made
from coupling_digits.mnist_m_official import Official
from coupling_digits.mnist_m_pool import SIDE, Pool, SplitName


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
        split: Annotated[SplitName, Field(description="split")] = "train",
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
        seed: Annotated[int, Field(ge=0, description="made: seed of the patches behind the digits")] = 0,
        verify: Annotated[
            bool,
            Field(
                description="read only the official archive or number of files (made: MNIST's official files); "
                "false: read your own files in the same format"
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
        self._pool: Pool = Official(split, verify) if origin == "official" else Made(split, verify, backgrounds, seed)
        self.verify = verify
        self._split = split
        self._alike = partial(MnistM, origin=origin, backgrounds=backgrounds, seed=seed, verify=verify, scale=scale)
        self._open_draw(Draw(self._pool.name, count, draw))

    @property
    def _available(self) -> int:
        return self._pool.available

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``: (len(indices), 3, 32, 32), float32 in the range."""
        chosen = torch.from_numpy(self._pool.cache.images[self._in_pool(indices)])
        return self._appearance(chosen.permute(0, 3, 1, 2).to(torch.float32).contiguous().div_(255))

    @cached_property
    def labels(self) -> Tensor | None:
        """The digits' classes, 0 to 9: (len(self),) int64; None where your own digits have none."""
        labels = self._pool.labels
        return None if labels is None else torch.from_numpy(labels[self._numbers])

    def prepare(self) -> None:
        """Decode or make the images, unless they already are."""
        _ = self._pool.cache.images, self.labels

    def fingerprint(self) -> str:
        """The source, the number of samples, their scale, the SHA-256 of the images."""
        return f"mnist-m:{self.source}:{len(self)}:{self._appearance.scale}:{self._pool.cache.sha256}"

    def held_out(self) -> MnistM | None:
        """The test images, all of them; None where these are them, or your own files have none."""
        return self._alike(split="test") if self._split == "train" and self._pool.has_test else None
