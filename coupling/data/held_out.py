"""Real samples that no domain trains on: probes learn from them, and true pairs are made of them.

A probe that has seen the training samples would find a model good that copies them. So it learns from samples of a
domain that are in no domain's part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from coupling.data.domain_data import DomainData
from coupling.errors import ConfigError, nearest

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


LEAST = 20
"""Held-out samples below which there is no probe; a good one has thousands."""


_TESTED = 5
"""One held-out sample in so many is kept from the probe's training, and tests the probe."""


def held_out(data: Mapping[str, DomainData], name: str, given: object = None) -> DomainData:
    """Samples of domain ``name`` that no domain trains on, through its transforms.

    They are those of its data set that are in no domain's part, or those that the data set's authors set apart for
    testing: whichever are more. ``given``: a data set as in a configuration (or one a domain) to take them from
    instead. Raises :class:`ConfigError` where there are none.
    """
    own = data[name]
    entry = _entry(given, name, data)
    if entry is not None:
        pools = [own.on(entry, "probe")]
        if common := _in_common(pools[0], data):
            raise ConfigError(f"probe: has samples that are trained on: {common}; name data that no domain trains on")
    else:
        own_pool, apart = own.within(np.arange(own.pool.count)), set_apart(own)
        pools = [pool for pool in (own_pool, apart) if pool is not None and not _in_common(pool, data)]
        pools = pools or [own_pool.within(np.arange(0))]
    unused = max((_unused(pool, data) for pool in pools), key=len)
    if len(unused) < LEAST:
        raise ConfigError(
            f"probe: a probe of domain '{name}' learns from samples that no domain trains on, of which there are "
            f"{len(unused)} (at least {LEAST}); give the domains' data sets parts that leave some, such as "
            "part: [1, 3] and part: [2, 3], or name other data here, such as "
            "probe: {name: mnist, split: test}"
        )
    return unused


def split(pool: DomainData) -> tuple[Numbers, Numbers]:
    """Numbers of a pool's samples to learn from, and to test on: one in five.

    A sample is on the same side in every domain of its source, so that true pairs can be tested too; and samples of
    one group are on one side.
    """
    tested = pool.pool.folds("probe", _TESTED)[pool.indices] == 0
    if not tested.any() or tested.all():  # of very few
        tested = np.arange(len(pool)) % _TESTED == 0
    numbers = np.arange(len(pool))
    return numbers[~tested], numbers[tested]


def true_pairs(one: DomainData, other: DomainData, numbers: Sequence[int] | Numbers) -> tuple[Tensor, Tensor] | None:
    """Samples ``numbers`` of ``one``, and the same in the domain of ``other``; None where they are not known.

    They correspond where both domains view one source (two transforms of one picture, colour and depth of one view),
    or where the data set of ``other`` can draw its counterparts.
    """
    if not len(numbers):
        return None
    views = other.dataset.counterparts(one.dataset, one.indices[np.asarray(numbers)].tolist())
    return None if views is None else (one.read(numbers), other.transform(views))


def set_apart(own: DomainData) -> DomainData | None:
    """The samples that the authors of a domain's data set set apart for testing, through its transforms, if any."""
    apart = own.dataset.held_out()
    return None if apart is None else own.with_dataset(apart)


def _unused(pool: DomainData, data: Mapping[str, DomainData]) -> DomainData:
    """The samples of ``pool`` that are in no domain's part."""
    used = [other.indices for other in data.values() if other.dataset.source == pool.dataset.source]
    return pool.within(np.setdiff1d(pool.indices, np.concatenate(used))) if used else pool


def _in_common(pool: DomainData, data: Mapping[str, DomainData]) -> str | None:
    """The samples that a domain's data set of another source and ``pool`` share, in words; None: none are known."""
    for name, other in data.items():
        if other.dataset.source != pool.dataset.source:
            common = pool.dataset.overlap(other.dataset) or other.dataset.overlap(pool.dataset)
            if common:
                return f"domain '{name}': {common}"
    return None


def _entry(given: object, name: str, data: Mapping[str, DomainData]) -> object:
    """The data set for domain ``name`` in ``given``: one for all domains, or one for each."""
    if not isinstance(given, Mapping) or "name" in given:
        return given
    for key in given:
        if key not in data:
            raise ConfigError(f"probe: no domain is called '{key}'; {nearest(str(key), data)}")
    return given.get(name)
