"""The choice of each domain's part of its pool, and checks of samples that domains share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from typing import TypeAlias

import numpy as np

from coupling.data.dataset import Dataset, PartialOverlap
from coupling.data.pool import Indices, Pool
from coupling.errors import ConfigError, DataError
from coupling.system.foreign_code import guarded
from coupling.system.terminal import warn

Share: TypeAlias = tuple[int, int]
"""(k, n): the k-th of n equal parts."""


def choose_parts(datasets: Mapping[str, Dataset], given: Mapping[str, Share | None]) -> dict[str, Share]:
    """A part for each domain: as the user says, else equal disjoint parts of each source.

    Raises :class:`ConfigError` where only some domains of a source have a part; warns of parts that overlap.
    """
    parts: dict[str, Share] = {}
    for source, names in _by_source(datasets).items():
        silent = [name for name in names if given[name] is None]
        if silent and len(silent) < len(names):
            raise ConfigError(
                f"domains.{silent[0]}.dataset: shares the source '{source}' with "
                f"{', '.join(repr(n) for n in names if n != silent[0])}; if one of them sets half or part, all must"
            )
        for position, name in enumerate(names):
            parts[name] = given[name] or (position + 1, len(names))
        for one, other in combinations(names, 2):
            if _overlap(parts[one], parts[other]):
                warn(
                    f"domains '{one}' and '{other}' have samples in common: parts {_in_words(parts[one])} and "
                    f"{_in_words(parts[other])} of {source}"
                )
    return parts


def check_overlaps(
    datasets: Mapping[str, Dataset], given: Mapping[str, Share | None], origins: Mapping[str, str]
) -> None:
    """Warn of pools of different source that share samples.

    One within another is a :class:`ConfigError`, unless the user gives the parts of both.
    """
    for one, other in combinations(datasets, 2):
        first, second = datasets[one], datasets[other]
        if first.source == second.source:
            continue
        with guarded(f"{origins[one]}: overlap()", f"domains.{other}.dataset: "):
            common = first.overlap(second) or second.overlap(first)
        if common is None:
            continue
        message = f"domains '{one}' and '{other}' have samples in common: {common}"
        if not isinstance(common, PartialOverlap) and (given[one] is None or given[other] is None):
            raise ConfigError(
                f"domains.{other}.dataset: {message}; so the data are not unpaired. Give both one source, "
                "which is then divided into disjoint parts, or remove these samples from one; to allow it, set "
                "`part: all` in both"
            )
        warn(message)


def number_classes(datasets: Sequence[Dataset], names: Sequence[str] = ()) -> tuple[str, ...]:
    """Let classes of one name have one number in all data sets; returns the names in the order of the numbers.

    ``names`` come first; then each data set's own, in its order.
    """
    counts = [counted for dataset in datasets if (counted := dataset.class_counts()) is not None]
    every = tuple(dict.fromkeys([*names, *(name for counted in counts for name in counted)]))
    for dataset in datasets:
        if dataset.class_counts() is not None:
            dataset.number_classes(every)
    return every


def read_pools(
    datasets: Mapping[str, Dataset], parts: Mapping[str, Share], names: Mapping[str, str], origins: Mapping[str, str]
) -> dict[str, Pool]:
    """The pool of each domain: one for all domains of a source.

    ``names``: of the data sets, for messages. Raises :class:`DataError` where data sets of one source differ in their
    samples or groups, or a part is empty.
    """
    pools: dict[str, Pool] = {}
    for source, domains in _by_source(datasets).items():
        found = {domain: Pool.read(datasets[domain], origins[domain]) for domain in domains}
        for domain in domains:
            if found[domain].count == 0:
                raise DataError(f"domains.{domain}.dataset: '{names[domain]}' has no samples")
        _check_alike(source, found)
        first = found[domains[0]]
        for domain in domains:
            if not first.has_part(parts[domain]):
                kind = "samples" if first.groups is None else "groups of samples that belong together"
                raise DataError(
                    f"domains.{domain}.dataset: '{names[domain]}' has {first.units} {kind}, too few for "
                    f"{parts[domain][1]} disjoint parts"
                )
            pools[domain] = first
    return pools


def _check_alike(source: str, pools: Mapping[str, Pool]) -> None:
    """Raise :class:`DataError` where data sets of one source do not have the same samples."""
    first, *others = pools.values()
    named = ", ".join(repr(domain) for domain in pools)
    if any(pool.count != first.count for pool in others):
        raise DataError(
            f"domains {', '.join(f'{domain} ({pool.count} samples)' for domain, pool in pools.items())} name one "
            f"source, '{source}', but are of different length, so no disjoint parts can be cut; a data set of other "
            "samples has another source"
        )
    if any(pool.identities != first.identities for pool in others):
        raise DataError(
            f"domains {named} name one source, '{source}', but not the same samples in the same order, so no disjoint "
            "parts can be cut; give them the same options"
        )
    if not all(_same_groups(pool.groups, first.groups) for pool in others):
        raise DataError(
            f"domains {named} name one source, '{source}', but group its samples "
            "differently, so no disjoint parts can be cut; give them the same options"
        )


def _same_groups(one: Indices | None, other: Indices | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


def _by_source(datasets: Mapping[str, Dataset]) -> dict[str, list[str]]:
    """Names of the domains of each source."""
    found: dict[str, list[str]] = {}
    for name, dataset in datasets.items():
        found.setdefault(dataset.source, []).append(name)
    return found


def _overlap(one: Share, other: Share) -> bool:
    """Whether parts (k, n), the shares from (k - 1) / n to k / n, have anything in common."""
    starts, ends = ((Fraction(k - side, n) for k, n in (one, other)) for side in (1, 0))
    return max(starts) < min(ends)


def _in_words(part: Share) -> str:
    return f"{part[0]} of {part[1]}"
