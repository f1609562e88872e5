"""The contract of a data set: unpaired samples of one domain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from coupling.domain import Column


class PartialOverlap(str):
    """Says in words which samples two data sets share, where each has other samples too.

    :meth:`Dataset.overlap` returns it for an overlap that deserves a warning. Any other text is an error.
    """


class Dataset(ABC):
    """Samples of one domain, addressed by number.

    A subclass is registered under a name (``register_datasets``) and constructed from its
    options. Construction is cheap: it validates options and may look at files, but heavy work
    (a download, a rendering) belongs in :meth:`prepare`.

    Training reads from a thread of its own, metrics from the main thread, and never both at once; with
    ``training.prefetch: false`` all read from the main thread.
    """

    shape: tuple[int, ...]
    """Shape of one sample, (channels, height, width) for images."""

    range: tuple[float, float]
    """Lowest and highest value a sample may hold; checked on the first batch."""

    source: str
    """Names the pool the samples come from. Domains whose sources are equal get disjoint parts of
    it, unless the user says otherwise. It is also part of the seed of the cut, unless :meth:`identities`
    names the samples. So it must hold no path, or :meth:`identities` must be overridden."""

    drawn_by: str = ""
    """Name of a registered transform, used with its defaults, that makes pictures of untransformed
    samples: (B, *shape) to (B, 1 or 3, height, width), in the same range. For data that are not
    images, and for images that people see better in another way, such as depth in colours."""

    columns: Sequence[Column] = ()
    """What each number of a sample is, if samples (n,) are rows of a table: one :class:`coupling.Column` for each.
    Untransformed samples are then written as CSV, too, in the units of the columns."""

    tested_on: Literal["own", "held-out"] = "own"
    """Which samples a classifier's accuracy is first reported for: those that training saw, as the target
    images of an adaptation are, or those of :meth:`held_out`."""

    counted_by_prepare: bool = False
    """Whether :meth:`prepare` decides how many samples there are, because it leaves out those that cannot be
    read. The length, :meth:`identities`, :meth:`groups` and :attr:`labels` are then asked for only after it."""

    def seeded(self, seed: int) -> None:  # noqa: B027  (optional by design)
        """Receive the run's seed, once and before any other call, for what the options leave to it.

        Args:
            seed: seed of the run.
        """

    @property
    def labels(self) -> Tensor | None:
        """Class of each sample, from 0: (len(self),) int64, in the order of the samples; None: it has none.

        Training reads the labels of a domain only where a loss asks for that domain's.
        """
        return None

    def class_counts(self) -> Mapping[str, int] | None:
        """Number of samples of each class by the name of the class, in the order of the numbers; 0 is allowed.

        None: the classes have no names. Needs no :meth:`prepare`, and may count samples that it leaves out.
        """
        return None

    def number_classes(self, names: Sequence[str]) -> None:  # noqa: B027  (only for classes with names)
        """Receive the names of the classes of all domains, once and before labels are read.

        A data set with :meth:`class_counts` must then give numbers into ``names`` as its :attr:`labels`: so a class
        has one number in all domains, whichever classes a domain lacks.
        """

    def attributes(self) -> Mapping[str, Tensor]:
        """Other facts about each sample, by name: class numbers from 0, (len(self),) int64 each.

        Metrics and probes read them; training never does.
        """
        return {}

    def identities(self) -> Sequence[str] | None:
        """A unique name of each sample within the pool, in the order of the samples: len(self) texts.

        Which samples a domain gets depends on these names and the seed only. So a name must say what the sample is,
        not where it lies: the path of a file within its folder, with ``/``, or a digest of its content. It must not
        depend on the folder's own path, on the order in which a system lists files, or on how samples are decoded.

        None, the default: the samples' numbers name them. This suits data whose order is fixed, such as official
        files and samples that are drawn from a seed. Data sets of one :attr:`source` give the same identities.
        """
        return None

    def groups(self) -> Tensor | None:
        """The group of each sample, by number: (len(self),) int64; None: each sample is a group of its own.

        Views of one object, or neighbouring frames of a recording, are nearly one sample. Parts are
        cut between groups and never through one, so that no two domains get samples of the same.
        Data sets of one :attr:`source` give the same groups.
        """
        return None

    def held_out(self) -> Dataset | None:
        """The samples that its authors set apart for testing, for metrics; None: there are none, or these are them."""
        return None

    def overlap(self, other: Dataset) -> str | None:
        """The samples that this and a data set of another :attr:`source` share, in words; None: none are known.

        Called once, before training, for every two domains: no disjoint parts can be cut of such pools. An overlap is
        an error unless the user gives the parts of both. A :class:`PartialOverlap` is a warning.
        For example ``"12 images of holidays/ are in summer/ too"``. Needs no :meth:`prepare`.

        Args:
            other: data set of another domain.
        """
        return None

    def counterparts(self, other: Dataset, indices: Sequence[int]) -> Tensor | None:
        """This domain's view of samples of another data set; None: it has none.

        They are true pairs, for metrics only: what the best model would draw. By default the samples of the same
        numbers, where both data sets are of one :attr:`source`. Override where pairs can be made: the same face with
        and without glasses.

        Args:
            other: data set of another domain.
            indices: numbers of samples of ``other``.

        Returns:
            (len(indices), *shape), or None.
        """
        return self.batch(indices) if self.source == other.source else None

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples; needs no :meth:`prepare` unless :attr:`counted_by_prepare` says so."""

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """A sample: a float32 tensor of :attr:`shape` in :attr:`range`.

        Args:
            index: number of the sample, from 0.
        """

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Several samples. Override it if reading them together is faster.

        Args:
            indices: numbers of the samples.

        Returns:
            float32 (len(indices), *shape).
        """
        samples = [self[index] for index in indices]
        for sample in samples:
            if not isinstance(sample, Tensor):
                raise TypeError(f"__getitem__ gives a {type(sample).__name__}; return a float32 torch tensor")
        return torch.stack(samples)

    def augmented(self, indices: Sequence[int], keys: Sequence[int]) -> Tensor:
        """Samples as training reads them: cropped, mirrored and so on at random, where the data set does that.

        What is random about a sample must be drawn from its key only, by ``np.random.default_rng(key)`` for example:
        then a resumed run, and a run on any number of processes, reads exactly the same. By default nothing is random.
        Metrics read :meth:`batch`, which is the same each time.

        Args:
            indices: numbers of the samples.
            keys: an integer in [0, 2^63) for each sample, a function of the run's seed, the domain and the position in
                its stream; it differs in each epoch.

        Returns:
            float32 (len(indices), *shape).
        """
        return self.batch(indices)

    def expect(self, indices: Sequence[int], keys: Sequence[int]) -> None:  # noqa: B027  (optional by design)
        """Receive, after each read, what training reads next as :meth:`augmented`.

        For data sets whose worker processes can begin with it while a step is computed. It changes
        nothing about what is read, and the announced read may never come.

        Args:
            indices: numbers of the samples.
            keys: their keys.
        """

    def prepare(self) -> None:  # noqa: B027  (optional by design)
        """Make the data ready for reading, once; called on one process before all others read.

        Must be safe to repeat, and to start again after it was interrupted.
        """

    def fingerprint(self) -> str:
        """Identifies the content of all samples for the run's record: same data, same text, wherever they lie."""
        return f"{self.source}:{len(self)}"
