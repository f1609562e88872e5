"""A domain's share of its data set: which samples, and through which transforms.

Domains that draw from one source get disjoint parts of it, unless the user says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupling.config.config import ComponentConfig, Config, PartOptions, parse_component, split_options
from coupling.config.registry import Registry
from coupling.data.dataset import Dataset
from coupling.domain import Domain, Drawing
from coupling.errors import ConfigError, CouplingError, DataError, PluginError, cause
from coupling.system.foreign_code import guarded
from coupling.system.seeds import derive_seed
from coupling.system.terminal import print_line

Transform = Callable[[Tensor, tuple[float, float]], Tensor]


Groups = np.ndarray[Any, np.dtype[np.intp]]


@dataclass
class DomainData:
    """One domain's samples: a part of a data set, seen through transforms."""

    domain: Domain
    dataset: Dataset
    part: tuple[int, int]
    transforms: Sequence[Transform]
    seed: int
    origin: str = ""
    """Names the data set in messages: its path in the configuration, its name, its plugin."""
    registry: Registry | None = None
    """What :meth:`on` finds other data sets in."""
    _indices: np.ndarray[Any, np.dtype[np.int64]] | None = None

    @property
    def indices(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Numbers, in the data set, of this domain's samples: a random cut that depends on the seed.

        What is cut is the samples, or their groups where the data set has some; a part of these is of
        as many groups as the others, not of as many samples.
        """
        if self._indices is None:
            k, n = self.part
            groups = _groups(self.dataset)
            count = len(self.dataset) if groups is None else int(groups.max()) + 1
            order = np.random.default_rng(derive_seed(self.seed, "parts", self.dataset.source))
            permutation = order.permutation(count)
            bounds = [count * i // n for i in (k - 1, k)]
            chosen = permutation[bounds[0] : bounds[1]]
            self._indices = np.sort(chosen) if groups is None else np.flatnonzero(np.isin(groups, chosen))
        return self._indices

    def __len__(self) -> int:
        return len(self.indices)

    def labels(self, numbers: Sequence[int] | np.ndarray[Any, Any]) -> Tensor:
        """Classes of samples by their number in this part: (len(numbers),) int64. Errors name the domain."""
        with self._blamed():
            labels = self.dataset.labels
            if labels is None:
                raise DataError("its samples have no labels, which a loss or metric reads; name labelled domains there")
            return labels[torch.from_numpy(self.indices[np.asarray(numbers)])]

    def prepare(self) -> None:
        """Make the data ready for reading; errors name the domain."""
        with self._blamed():
            self.dataset.prepare()

    def read(self, numbers: Sequence[int] | np.ndarray[Any, Any], keys: Sequence[int] | None = None) -> Tensor:
        """Samples by their number in this part: (len(numbers), *shape), transformed. Errors name the domain.

        With ``keys``, one a sample, they are augmented as :meth:`Dataset.augmented` says.
        """
        indices = self.indices[np.asarray(numbers)].tolist()
        with self._blamed():
            samples = self.dataset.batch(indices) if keys is None else self.dataset.augmented(indices, keys)
            return self.transform(samples)

    def expect(self, numbers: Sequence[int] | np.ndarray[Any, Any], keys: Sequence[int]) -> None:
        """Tell the data set what :meth:`read` is asked for next."""
        with self._blamed():
            self.dataset.expect(self.indices[np.asarray(numbers)].tolist(), keys)

    def transform(self, samples: Tensor) -> Tensor:
        """Apply the domain's transforms to raw samples of its data set."""
        for transform in self.transforms:
            samples = transform(samples, self.dataset.range)
        return samples

    def on(self, entry: object, path: str) -> DomainData:
        """The same domain on another data set, ``entry`` as in a configuration: all of it, or the part it names.

        Seen through this domain's transforms, unless the entry has its own. Raises :class:`ConfigError` naming
        ``path`` where it does not exist, or its samples are not like this domain's.
        """
        assert self.registry is not None
        component = parse_component(entry, path)
        origin = _origin(component, path, self.registry)
        dataset, common, transforms = _opened(component, path, self.registry, self.seed)
        transforms = transforms or list(self.transforms)
        shape = _transformed_shape(path, dataset, transforms)
        scale = (float(dataset.range[0]), float(dataset.range[1]))
        if (shape, scale) != (self.domain.shape, self.domain.range):
            raise ConfigError(
                f"{path}: samples of shape {shape} in {list(scale)}; those of domain '{self.domain.name}' are "
                f"{self.domain.shape} in {list(self.domain.range)}: give a data set like the domain's own"
            )
        return DomainData(
            self.domain, dataset, common.chosen() or (1, 1), transforms, self.seed, origin, registry=self.registry
        )

    def within(self, indices: np.ndarray[Any, np.dtype[np.int64]]) -> DomainData:
        """The same data set, other samples of it: ``indices``, ascending."""
        return replace(self, _indices=indices)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except CouplingError as error:
            raise type(error)(f"domains.{self.domain.name}.dataset: {error}") from None
        except (Exception, SystemExit) as error:  # whatever a data set or transform raises is told as theirs
            raise DataError(f"{self.origin} failed: {cause(error)}") from error

    def check(self, samples: Tensor) -> None:
        """Raise :class:`DataError` where samples are not what the domain declares."""
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
            mend = f"scale them into [{low:g}, {high:g}], or declare their own range in the data set"
            raise DataError(f"{place}: values lie in [{least:g}, {most:g}], declared is [{low:g}, {high:g}]; {mend}")

    @property
    def fingerprint(self) -> str:
        """Identifies data and part for the run's record."""
        with guarded(f"{self.origin}: fingerprint()"):
            return f"{self.dataset.fingerprint()}:part{self.part[0]}of{self.part[1]}"


def open_domains(config: Config, registry: Registry) -> dict[str, DomainData]:
    """Construct every domain's data set and cut it; nothing heavy is read yet."""
    made: dict[str, tuple[Dataset, PartOptions, list[Transform]]] = {}
    origins: dict[str, str] = {}
    for name, entry in config.domains.items():
        path = f"domains.{name}.dataset"
        dataset, common, transforms = _opened(entry.dataset, path, registry, config.seed)
        origins[name] = _origin(entry.dataset, path, registry)
        made[name] = dataset, common, transforms
        if len(dataset) == 0:
            raise DataError(f"{path}: '{entry.dataset.name}' has no samples")
    parts = _disjoint(made)
    _see_overlaps(made, origins)
    domains = {}
    for name, (dataset, _, transforms) in made.items():
        (k, n), groups = parts[name], _groups(dataset)
        count = len(dataset) if groups is None else int(groups.max()) + 1
        if count * k // n == count * (k - 1) // n:
            kind = "samples" if groups is None else "groups of samples that belong together"
            raise DataError(
                f"domains.{name}.dataset: '{config.domains[name].dataset.name}' has {count} {kind}, too few for {n} "
                "disjoint parts"
            )
        shape = _transformed_shape(f"domains.{name}.dataset", dataset, transforms)
        span = (float(dataset.range[0]), float(dataset.range[1]))
        if transforms or not dataset.drawn_by:
            domain = Domain(name, shape, span)
        else:
            domain = Domain(name, shape, span, dataset.drawn_by, _drawing(dataset, registry, origins[name]))
        domains[name] = DomainData(domain, dataset, parts[name], transforms, config.seed, origins[name], registry)
    return domains


def _opened(
    component: ComponentConfig, path: str, registry: Registry, seed: int
) -> tuple[Dataset, PartOptions, list[Transform]]:
    """A data set that knows the run's seed, the options that all data sets take, and its transforms."""
    common, own = split_options(component.options, path)
    dataset: Dataset = registry.build("dataset", component.name, own, path)
    origin = _origin(component, path, registry)
    _check_dataset(dataset, origin)
    with guarded(f"{origin}: seeded()"):
        dataset.seeded(seed)
    return dataset, common, [registry.build("transform", t.name, t.options, at) for at, t in common.transforms(path)]


def _origin(component: ComponentConfig, path: str, registry: Registry) -> str:
    """Names a data set in messages."""
    return f"{path}: {registry.get('dataset', component.name, path)}"


def _groups(dataset: Dataset) -> Groups | None:
    """The group of each sample, from 0 without gaps, in the order of the data set's own numbers."""
    groups = dataset.groups()
    return None if groups is None else np.unique(groups.numpy(), return_inverse=True)[1]


def _alike(one: Groups | None, other: Groups | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


def _check_dataset(dataset: object, origin: str) -> None:
    """Raise :class:`PluginError` where a data set lacks what every data set declares."""
    if not isinstance(dataset, Dataset):
        raise PluginError(f"{origin} gives a {type(dataset).__name__}; a data set is a subclass of coupling.Dataset")
    try:
        shape, (low, high) = tuple(dataset.shape), dataset.range
        fine = len(shape) > 0 and all(isinstance(n, int) and n > 0 for n in shape) and -math.inf < low < high < math.inf
        fine = fine and isinstance(dataset.source, str) and len(dataset) >= 0
        groups = dataset.groups()
    except Exception as error:
        raise PluginError(
            f"{origin} does not say its shape, range, source, length or groups: {cause(error)}"
        ) from error
    if not fine:
        raise PluginError(
            f"{origin} declares shape {shape}, range [{low}, {high}] and source {dataset.source!r}; "
            "a shape is of positive whole numbers, a range is (lowest, highest), a source is text"
        )
    if groups is not None and (groups.dtype != torch.int64 or tuple(groups.shape) != (len(dataset),)):
        raise PluginError(
            f"{origin} gives groups of shape {tuple(groups.shape)} and type {groups.dtype} for {len(dataset)} samples; "
            "groups are one int64 number a sample, or None"
        )


def _drawing(dataset: Dataset, registry: Registry, origin: str) -> Drawing:
    """The transform that draws a data set's samples, tried out; raises :class:`PluginError` where it does not."""
    drawing: Drawing = registry.build("transform", dataset.drawn_by, {}, f"{origin}: drawn_by")
    try:
        drawn = drawing(torch.full((2, *dataset.shape), float(dataset.range[0])), dataset.range)
        fine = drawn.dim() == 4 and drawn.shape[0] == 2 and drawn.shape[1] in (1, 3)
    except Exception as error:
        raise PluginError(
            f"{origin}: drawn_by '{dataset.drawn_by}' does not take its samples: {cause(error)}"
        ) from error
    if not fine:
        raise PluginError(
            f"{origin}: drawn_by '{dataset.drawn_by}' makes {tuple(drawn.shape)} of 2 samples; pictures are "
            "(2, 1 or 3, height, width)"
        )
    return drawing


_TRIED = 2
"""Samples on which a transform is tried."""


def _transformed_shape(path: str, dataset: Dataset, transforms: Sequence[Transform]) -> tuple[int, ...]:
    if not transforms:
        return tuple(dataset.shape)
    samples = torch.full((_TRIED, *dataset.shape), float(dataset.range[0]))
    for transform in transforms:
        name = type(transform).__name__
        try:
            samples = transform(samples, dataset.range)
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{path}.transform: {name} does not take samples of shape {dataset.shape}: {cause(error)}"
            ) from error
        if not isinstance(samples, Tensor) or samples.dim() < 2 or len(samples) != _TRIED:
            given = f"{tuple(samples.shape)}" if isinstance(samples, Tensor) else f"a {type(samples).__name__}"
            raise ConfigError(
                f"{path}.transform: {name} gives {given} for {_TRIED} samples of shape {dataset.shape}; it must give "
                "as many samples as it gets, (B, ...)"
            )
    return tuple(samples.shape[1:])


def _disjoint(made: Mapping[str, tuple[Dataset, PartOptions, object]]) -> dict[str, tuple[int, int]]:
    """A part for each domain: as the user says, else equal disjoint parts of each source."""
    by_source: dict[str, list[str]] = {}
    for name, (dataset, _, _) in made.items():
        by_source.setdefault(dataset.source, []).append(name)
    parts: dict[str, tuple[int, int]] = {}
    for source, names in by_source.items():
        said = {name: made[name][1].chosen() for name in names}
        silent = [name for name in names if said[name] is None]
        if silent and len(silent) < len(names):
            raise ConfigError(
                f"domains.{silent[0]}.dataset: shares the source '{source}' with "
                f"{', '.join(repr(n) for n in names if n != silent[0])}; where one of them says half or part, all must"
            )
        lengths = {name: len(made[name][0]) for name in names}
        if len(set(lengths.values())) > 1:
            raise DataError(
                f"domains {', '.join(f'{n} ({count} samples)' for n, count in lengths.items())} name one source, "
                f"'{source}', but are of different length, so no disjoint parts can be cut; a data set of other "
                "samples has another source"
            )
        groups = [_groups(made[name][0]) for name in names]
        if not all(_alike(one, groups[0]) for one in groups):
            raise DataError(
                f"domains {', '.join(repr(n) for n in names)} name one source, '{source}', but group its samples "
                "differently, so no disjoint parts can be cut; give them the same options"
            )
        for position, name in enumerate(names):
            parts[name] = said[name] or (position + 1, len(names))
        for one, other in combinations(names, 2):
            if _overlap(parts[one], parts[other]):
                print_line(
                    f"domains '{one}' and '{other}' have samples in common: parts {_spoken(parts[one])} and "
                    f"{_spoken(parts[other])} of {source}"
                )
    return parts


def _see_overlaps(made: Mapping[str, tuple[Dataset, PartOptions, object]], origins: Mapping[str, str]) -> None:
    """Tell of pools that overlap without being one source; refuse one within another, unless both parts are said."""
    for one, other in combinations(made, 2):
        first, second = made[one][0], made[other][0]
        if first.source == second.source:
            continue
        with guarded(f"{origins[one]}: overlap()", f"domains.{other}.dataset: "):
            common = first.overlap(second) or second.overlap(first)
        if common is None:
            continue
        told = f"domains '{one}' and '{other}' have samples in common: {common}"
        if made[one][1].chosen() is None or made[other][1].chosen() is None:
            raise ConfigError(
                f"domains.{other}.dataset: {told}; so they are not unpaired. Draw both from one and the same source, "
                "of which they get disjoint parts, or keep such samples out of one; if it is meant, say "
                "`part: all` in both"
            )
        print_line(told)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether parts (k, n), the shares from (k - 1) / n to k / n, have anything in common."""
    starts, ends = ((Fraction(k - side, n) for k, n in (one, other)) for side in (1, 0))
    return max(starts) < min(ends)


def _spoken(part: tuple[int, int]) -> str:
    return f"{part[0]} of {part[1]}"
