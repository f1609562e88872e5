"""The samples that the domains of one source share, and how they are cut into disjoint parts.

A cut is a function of the seed and of what the samples are. It is the same wherever the data lie, in whatever order
a system lists them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch

from coupling.data.dataset import Dataset
from coupling.errors import CouplingError, PluginError, ProgramError, cause
from coupling.system.seeds import derive_seed

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Pool:
    """All samples of a data set, by name and group."""

    source: str
    count: int
    """Number of samples."""
    identities: tuple[str, ...] | None
    """A name of each sample, see :meth:`Dataset.identities`; None: their numbers are their names."""
    groups: Indices | None
    """The group of each sample, from 0 without gaps; None: each is a group of its own."""

    @classmethod
    def read(cls, dataset: Dataset, origin: str = "the data set") -> Pool:
        """Ask a data set for its samples; it must be prepared where ``counted_by_prepare`` says so.

        Raises :class:`PluginError`, which names ``origin``, where the answers do not fit each other.
        """
        try:
            count, identities, groups = len(dataset), dataset.identities(), dataset.groups()
            names = None if identities is None else tuple(identities)
        except (CouplingError, ProgramError):
            raise
        except Exception as error:
            raise PluginError(f"{origin} does not say its length, identities or groups: {cause(error)}") from error
        if names is not None and not (len(set(names)) == len(names) == count):
            raise PluginError(
                f"{origin} gives {len(names)} identities, {len(set(names))} of them different, for {count} samples; "
                "identities are one unique text a sample, or None"
            )
        if groups is not None and (groups.dtype != torch.int64 or tuple(groups.shape) != (count,)):
            raise PluginError(
                f"{origin} gives groups of shape {tuple(groups.shape)} and type {groups.dtype} for {count} samples; "
                "groups are one int64 number a sample, or None"
            )
        numbered = None if groups is None else np.unique(groups.numpy(), return_inverse=True)[1]
        return cls(dataset.source, count, names, numbered)

    @property
    def units(self) -> int:
        """Number of groups, or of samples without groups: what is cut."""
        return self.count if self.groups is None else int(self.groups.max(initial=-1)) + 1

    @property
    def key(self) -> str:
        """Names the pool for seeds: the same wherever the data lie."""
        return self.source if self.identities is None else self.digest(np.arange(self.count))

    def part(self, seed: int, share: tuple[int, int]) -> Indices:
        """Numbers of the samples in part ``share`` = (k, n), in the order of :meth:`ordered`.

        A random cut that depends on the seed: the parts 1 to n are disjoint and cover the pool. Groups stay whole, so
        parts have equal numbers of groups (but for one), not of samples.
        """
        k, n = share
        first, last = (self.units * i // n for i in (k - 1, k))
        chosen = self._shuffled(seed)[first:last]
        return self.ordered(chosen if self.groups is None else np.flatnonzero(np.isin(self.groups, chosen)))

    def has_part(self, share: tuple[int, int]) -> bool:
        """Whether part (k, n) has any samples."""
        k, n = share
        return self.units * k // n > self.units * (k - 1) // n

    def folds(self, purpose: str, count: int) -> Indices:
        """A random number from 0 to ``count`` - 1 for each sample, the same for samples of one group."""
        if self.identities is None:
            numbers = np.random.default_rng(derive_seed(0, purpose, self.source)).permutation(self.units) % count
        else:
            names = self._unit_names
            numbers = np.array([int.from_bytes(_hash(0, purpose, name)[:8], "big") % count for name in names], np.int64)
        return numbers if self.groups is None else numbers[self.groups]

    def ordered(self, numbers: Indices) -> Indices:
        """Sample numbers sorted by the samples' names."""
        return np.sort(numbers) if self._ranks is None else numbers[np.argsort(self._ranks[numbers])]

    def digest(self, numbers: Indices) -> str:
        """SHA-256 of the names of samples ``numbers``: says which samples these are."""
        digest = hashlib.sha256()
        for number in self.ordered(numbers).tolist():
            digest.update(_encoded(str(number) if self.identities is None else self.identities[number]) + b"\n")
        return digest.hexdigest()

    def _shuffled(self, seed: int) -> Indices:
        """Numbers of the units in random order."""
        if self.identities is None:  # the numbers are a fact about the data, and so is the source
            return np.random.default_rng(derive_seed(seed, "parts", self.source)).permutation(self.units)
        hashes = [_hash(seed, "parts", name) for name in self._unit_names]
        return np.array(sorted(range(self.units), key=hashes.__getitem__), np.int64)

    @cached_property
    def _ranks(self) -> Indices | None:
        """The place of each sample among the sorted names; None: that of its number."""
        if self.identities is None:
            return None
        ranks = np.empty(self.count, np.int64)
        ranks[sorted(range(self.count), key=self.identities.__getitem__)] = np.arange(self.count)
        return ranks

    @cached_property
    def _unit_names(self) -> list[str]:
        """A name of each unit: a sample's own, or the first name in a group."""
        assert self.identities is not None
        if self.groups is None:
            return list(self.identities)
        names = [""] * self.units
        for number in self.ordered(np.arange(self.count))[::-1].tolist():  # so that the first name is set last
            names[self.groups[number]] = self.identities[number]
        return names


def _hash(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(b"\0".join([str(seed).encode(), purpose.encode(), _encoded(name)])).digest()


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # file names may hold bytes that are not UTF-8
