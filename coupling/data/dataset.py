"""What a data set offers: unpaired samples of one domain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor


class Dataset(ABC):
    """Samples of one domain, addressed by number.

    A subclass is registered under a name (``register_datasets``) and constructed from its
    options. Construction is cheap: it validates options and may look at files, but heavy work
    (a download, a rendering) belongs in :meth:`prepare`.
    """

    shape: tuple[int, ...]
    """Shape of one sample, (channels, height, width) for images."""

    range: tuple[float, float]
    """Lowest and highest value a sample may hold; checked on the first batch."""

    source: str
    """Names the pool the samples come from. Domains whose sources are equal get disjoint parts of
    it, unless the user says otherwise."""

    drawn_by: str = ""
    """Name of a registered transform, used with its defaults, that makes pictures of untransformed
    samples: (B, *shape) to (B, 1 or 3, height, width), in the same range. For data that are no
    images, and for images that people see better in another way, such as depth in colours."""

    tested_on: Literal["own", "held-out"] = "own"
    """Of which samples a classifier's accuracy is told first: those that training saw, as an adaptation's target
    images are, or those of :meth:`held_out`."""

    def seeded(self, seed: int) -> None:  # noqa: B027  (optional by design)
        """Told the run's seed, once and before anything else is asked: for what the options leave to it."""

    @property
    def labels(self) -> Tensor | None:
        """Class of each sample, from 0: (len(self),) int64, in the order of the samples; None: it has none.

        Training reads the labels of a domain only where a loss asks for that domain's.
        """
        return None

    def attributes(self) -> Mapping[str, Tensor]:
        """What else is known of each sample, by name: class numbers from 0, (len(self),) int64 each.

        For metrics and probes; training never reads it.
        """
        return {}

    def groups(self) -> Tensor | None:
        """Which samples belong together, by number: (len(self),) int64; None: each stands by itself.

        Views of one object, or neighbouring frames of a recording, are nearly one sample. Parts are
        cut between groups and never through one, so that no two domains get samples of the same.
        Needs no :meth:`prepare`. Data sets of one :attr:`source` give the same groups.
        """
        return None

    def held_out(self) -> Dataset | None:
        """The samples that its authors set apart for testing, for metrics; None: there are none, or these are them."""
        return None

    def overlap(self, other: Dataset) -> str | None:
        """In words, what samples this and a data set of another :attr:`source` have in common; None: none known.

        Asked once, before training, of every two domains: no disjoint parts can be cut of such pools.
        For example ``"12 images of holidays/ are in summer/ too"``. Needs no :meth:`prepare`.
        """
        return None

    def counterparts(self, other: Dataset, indices: Sequence[int]) -> Tensor | None:
        """This domain's view of samples ``indices`` of ``other``, (len(indices), *shape); None: it has none.

        They are true pairs, for metrics alone: what the best model would draw. By default the samples of the same
        numbers, where both data sets are of one :attr:`source`. Override where pairs can be made: the same face with
        and without glasses.
        """
        return self.batch(indices) if self.source == other.source else None

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples; needs no :meth:`prepare`."""

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """Sample ``index``: a float32 tensor of :attr:`shape` in :attr:`range`."""

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``, stacked: (len(indices), *shape). Override where it can be faster."""
        samples = [self[index] for index in indices]
        for sample in samples:
            if not isinstance(sample, Tensor):
                raise TypeError(f"__getitem__ gives a {type(sample).__name__}; return a float32 torch tensor")
        return torch.stack(samples)

    def augmented(self, indices: Sequence[int], keys: Sequence[int]) -> Tensor:
        """Samples ``indices`` as training reads them: cropped, mirrored ... at random, where the data set does that.

        ``keys`` holds an integer in [0, 2^63) for each sample, a function of the run's seed, the
        domain and the position in its stream: another one in each epoch. What is random about a
        sample must be drawn from its key and nothing else, by ``np.random.default_rng(key)``, say:
        then a resumed run, and a run on any number of processes, reads exactly the same. By default
        nothing is random. Metrics read :meth:`batch`, which is the same each time.
        """
        return self.batch(indices)

    def expect(self, indices: Sequence[int], keys: Sequence[int]) -> None:  # noqa: B027  (optional by design)
        """Told after each read what training reads next, as :meth:`augmented` will be.

        For data sets whose worker processes can begin with it while a step is computed. It changes
        nothing of what is read; the read that was told of need not come.
        """

    def prepare(self) -> None:  # noqa: B027  (optional by design)
        """Make the data ready for reading, once; called on one process before all others read.

        Must be safe to repeat, and to start again after it was interrupted.
        """

    def fingerprint(self) -> str:
        """Identifies the data for the run's record: same data, same string."""
        return f"{self.source}:{len(self)}"
