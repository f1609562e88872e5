"""A domain's data: its part of a data set, through its transforms.

Domains of one source get disjoint parts of it, unless the user says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupling.config.components import ComponentConfig, PartOptions, parse_component, split_options
from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.data.contract import Transform, check_dataset, open_drawing, transformed_shape
from coupling.data.dataset import Dataset
from coupling.data.parts import check_overlaps, choose_parts, number_classes, read_pools
from coupling.data.pool import Indices, Pool
from coupling.domain import Domain
from coupling.errors import ConfigError, CouplingError, DataError, PluginError, ProgramError, cause
from coupling.system.foreign_code import guarded


@dataclass
class DomainData:
    """The samples of a domain: a part of a data set, read through transforms."""

    domain: Domain
    """Name, shape and range of the samples."""
    dataset: Dataset
    """The data set, before the transforms."""
    part: tuple[int, int]
    """(k, n): the k-th of n parts."""
    transforms: Sequence[Transform]
    """The transforms, applied in this order."""
    seed: int
    """Seed of the run."""
    origin: str = ""
    """Names the data set in messages: its path in the configuration, its name, its plugin."""
    registry: Registry | None = None
    """Where :meth:`on` finds other data sets."""
    classes: tuple[str, ...] = ()
    """Names of the classes of all domains, which labels are numbers into; (): they have no names."""
    _indices: Indices | None = None

    @cached_property
    def pool(self) -> Pool:
        """All samples of the data set."""
        return Pool.read(self.dataset, self.origin)

    @cached_property
    def indices(self) -> Indices:
        """Numbers, in the data set, of this domain's samples, in the order of their names: see :meth:`Pool.part`."""
        return self.pool.part(self.seed, self.part) if self._indices is None else self.pool.ordered(self._indices)

    def __len__(self) -> int:
        """Number of samples in this part."""
        return len(self.indices)

    def labels(self, numbers: Sequence[int] | np.ndarray[Any, Any]) -> Tensor:
        """Classes of samples. Errors name the domain.

        Args:
            numbers: numbers of the samples in this part.

        Returns:
            (len(numbers),) int64.

        Raises:
            DataError: the samples have no labels.
        """
        with self._errors_named():
            labels = self.dataset.labels
            if labels is None:
                raise DataError("its samples have no labels, which a loss or metric reads; name labelled domains there")
            return labels[torch.from_numpy(self.indices[np.asarray(numbers)])]

    def prepare(self) -> None:
        """Make the data ready for reading. Errors name the domain.

        Raises:
            PluginError: the number of samples has changed, and the data set does not announce that.
        """
        with self._errors_named():
            self.dataset.prepare()
        if len(self.dataset) != self.pool.count:
            raise PluginError(
                f"{self.origin} had {self.pool.count} samples before prepare(), from which parts were cut, and has "
                f"{len(self.dataset)} after it; a data set that counts its samples in prepare() says "
                "counted_by_prepare = True"
            )

    def read(self, numbers: Sequence[int] | np.ndarray[Any, Any], keys: Sequence[int] | None = None) -> Tensor:
        """Samples, transformed. Errors name the domain.

        Args:
            numbers: numbers of the samples in this part.
            keys: a key for each sample, from which it is augmented as :meth:`Dataset.augmented` describes; None: as it
                is.

        Returns:
            float32 (len(numbers), *shape) in the domain's range.
        """
        indices = self.indices[np.asarray(numbers)].tolist()
        with self._errors_named():
            samples = self.dataset.batch(indices) if keys is None else self.dataset.augmented(indices, keys)
            return self.transform(samples)

    def expect(self, numbers: Sequence[int] | np.ndarray[Any, Any], keys: Sequence[int]) -> None:
        """Announce to the data set what :meth:`read` is asked for next.

        Args:
            numbers: numbers of the samples in this part.
            keys: their keys.
        """
        with self._errors_named():
            self.dataset.expect(self.indices[np.asarray(numbers)].tolist(), keys)

    def transform(self, samples: Tensor) -> Tensor:
        """Apply the domain's transforms.

        Args:
            samples: samples of the data set, (B, *dataset.shape).

        Returns:
            (B, *shape) of the domain.
        """
        for transform in self.transforms:
            samples = transform(samples, self.dataset.range)
        return samples

    def on(self, entry: object, path: str) -> DomainData:
        """The same domain on another data set of a configuration: all of it, or the part that the entry names.

        It is read through this domain's transforms, unless the entry has its own.

        Args:
            entry: the data set, as in a configuration.
            path: place of the entry in messages.

        Raises:
            ConfigError: the data set does not exist, or its samples are not like this domain's.
        """
        assert self.registry is not None
        opened = _open_dataset(parse_component(entry, path), path, self.registry, self.seed)
        transforms = opened.transforms or list(self.transforms)
        shape = transformed_shape(path, opened.dataset, transforms)
        scale = (float(opened.dataset.range[0]), float(opened.dataset.range[1]))
        if (shape, scale) != (self.domain.shape, self.domain.range):
            raise ConfigError(
                f"{path}: samples of shape {shape} in {list(scale)}; those of domain '{self.domain.name}' are "
                f"{self.domain.shape} in {list(self.domain.range)}: give a data set like the domain's own"
            )
        if self.domain.columns and not opened.transforms and tuple(opened.dataset.columns) != self.domain.columns:
            raise ConfigError(
                f"{path}: its columns are not those of domain '{self.domain.name}', or are standardised by other means "
                "and deviations; give the domain's columns and, as standardised_by, its file"
            )
        return self.with_dataset(opened.dataset, opened.common.chosen() or (1, 1), transforms, opened.origin)

    def with_dataset(
        self,
        dataset: Dataset,
        part: tuple[int, int] = (1, 1),
        transforms: Sequence[Transform] | None = None,
        origin: str | None = None,
    ) -> DomainData:
        """The same domain on another data set.

        Args:
            dataset: the data set.
            part: (k, n), the k-th of n parts; by default all of it.
            transforms: the transforms; by default this domain's.
            origin: name of the data set in messages.
        """
        number_classes([dataset], self.classes)
        made = DomainData(
            self.domain,
            dataset,
            part,
            self.transforms if transforms is None else transforms,
            self.seed,
            self.origin if origin is None else origin,
            self.registry,
            self.classes,
        )
        if dataset.counted_by_prepare:
            made.prepare()
        return made

    def within(self, indices: Indices) -> DomainData:
        """The same data set with other samples.

        Args:
            indices: numbers of the samples in the data set, in any order.
        """
        made = replace(self, _indices=indices)
        made.pool = self.pool
        return made

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except ProgramError:
            raise
        except CouplingError as error:
            raise type(error)(f"domains.{self.domain.name}.dataset: {error}") from None
        except (Exception, SystemExit) as error:  # a data set or transform may raise anything
            raise DataError(f"{self.origin} failed: {cause(error)}") from error

    def check(self, samples: Tensor) -> None:
        """Check that samples are what the domain declares.

        Args:
            samples: (B, *shape) float32 in the domain's range.

        Raises:
            DataError: they have another type, shape or range.
        """
        low, high = self.domain.range
        place = self.origin
        if not isinstance(samples, Tensor):
            raise DataError(f"{place}: samples are a {type(samples).__name__}; a data set gives torch tensors")
        if tuple(samples.shape[1:]) != self.domain.shape:
            raise DataError(f"{place}: samples have shape {tuple(samples.shape[1:])}, declared is {self.domain.shape}")
        if samples.dtype != torch.float32:
            raise DataError(
                f"{place}: samples are {samples.dtype}; a data set gives torch.float32 in its declared range"
            )
        least, most = samples.min().item(), samples.max().item()
        slack = 1e-4 * (high - low)
        if not (low - slack <= least and most <= high + slack):  # also where there are NaNs
            fix = f"scale them into [{low:g}, {high:g}], or declare their own range in the data set"
            raise DataError(f"{place}: values lie in [{least:g}, {most:g}], declared is [{low:g}, {high:g}]; {fix}")

    @property
    def fingerprint(self) -> str:
        """Identifies the data set's content and this domain's samples, for the run's record."""
        return f"{self._content}:{len(self)} of {self.pool.count}:{self.pool.digest(self.indices)}"

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """:attr:`fingerprint`, and how earlier versions wrote it where they drew the same samples in the same order.

        They named the part, not the samples, and cut a data set whose samples have names by its path.
        """
        same_cut = self.pool.identities is None or (self.part == (1, 1) and bool(np.all(np.diff(self.indices) > 0)))
        former = f"{self._content}:part{self.part[0]}of{self.part[1]}"
        return (self.fingerprint, former) if same_cut else (self.fingerprint,)

    @cached_property
    def _content(self) -> str:
        with guarded(f"{self.origin}: fingerprint()"):
            return self.dataset.fingerprint()


@dataclass(frozen=True)
class _OpenDataset:
    """A data set of a configuration."""

    name: str
    """Its name in the configuration."""
    origin: str
    dataset: Dataset
    common: PartOptions
    """The options that all data sets take."""
    transforms: list[Transform]


def open_domains(
    config: Config,
    registry: Registry,
    one_first: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, DomainData]:
    """Construct every domain's data set and cut the pools into parts.

    Data sets that count their samples in ``prepare()`` are prepared; nothing else that is heavy is done.
    ``one_first``: a context in which one process goes ahead of all others.
    """
    opened = {
        name: _open_dataset(entry.dataset, f"domains.{name}.dataset", registry, config.seed)
        for name, entry in config.domains.items()
    }
    datasets = {name: of.dataset for name, of in opened.items()}
    given = {name: of.common.chosen() for name, of in opened.items()}
    origins = {name: of.origin for name, of in opened.items()}
    parts = choose_parts(datasets, given)
    check_overlaps(datasets, given, origins)
    classes = number_classes(list(datasets.values()))
    domains = {
        name: DomainData(
            _domain(name, of, registry),
            of.dataset,
            parts[name],
            of.transforms,
            config.seed,
            of.origin,
            registry,
            classes,
        )
        for name, of in opened.items()
    }
    counted = [data for data in domains.values() if data.dataset.counted_by_prepare]
    if counted:
        with one_first():
            for data in counted:
                data.prepare()
    pools = read_pools(datasets, parts, {name: of.name for name, of in opened.items()}, origins)
    for name, data in domains.items():
        data.pool = pools[name]
    return domains


def _open_dataset(component: ComponentConfig, path: str, registry: Registry, seed: int) -> _OpenDataset:
    """A data set that knows the run's seed."""
    common, own = split_options(component.options, path)
    dataset: Dataset = registry.build("dataset", component.name, own, path)
    origin = f"{path}: {registry.get('dataset', component.name, path)}"
    check_dataset(dataset, origin)
    with guarded(f"{origin}: seeded()"):
        dataset.seeded(seed)
    transforms = [registry.build("transform", t.name, t.options, at) for at, t in common.transforms(path)]
    return _OpenDataset(component.name, origin, dataset, common, transforms)


def _domain(name: str, opened: _OpenDataset, registry: Registry) -> Domain:
    dataset = opened.dataset
    shape = transformed_shape(f"domains.{name}.dataset", dataset, opened.transforms)
    span = (float(dataset.range[0]), float(dataset.range[1]))
    if opened.transforms:
        return Domain(name, shape, span)
    drawing = open_drawing(dataset, registry, opened.origin) if dataset.drawn_by else None
    return Domain(name, shape, span, dataset.drawn_by, drawing, tuple(dataset.columns))
