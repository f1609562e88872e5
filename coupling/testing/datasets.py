"""Checks of a data set."""

from __future__ import annotations

import os
import pickle

import torch
from torch import Tensor

from coupling.data.dataset import Dataset
from coupling.system.data_directory import data_directory
from coupling.system.seeds import seed_all
from coupling.testing.check import Check, Tests, require
from coupling.testing.small_run import BATCH, opened


def _samples(check: Check) -> None:
    data = _dataset(check)
    shape, (low, high) = tuple(data.shape), data.range
    before = None if data.counted_by_prepare else len(data)
    data.prepare()
    data.prepare()  # must be safe to repeat
    count = len(data)
    require(count > 0, "has no samples")
    require(
        before in (None, count),
        f"has {before} samples before prepare() and {count} after it; set counted_by_prepare = True",
    )
    chosen = [*sorted({0, count // 2, count - 1}), 0]
    batch = data.batch(chosen)
    require(isinstance(batch, Tensor), f"batch() gives a {type(batch).__name__}, not a tensor")
    require(batch.dtype == torch.float32, f"samples are {batch.dtype}, not float32")
    require(tuple(batch.shape) == (len(chosen), *shape), f"batch() gives {tuple(batch.shape)}, shape is {shape}")
    require(bool(batch.isfinite().all()), "samples hold values that are not finite")
    least, most, slack = batch.min().item(), batch.max().item(), 1e-4 * (high - low)
    require(low - slack <= least and most <= high + slack, f"values lie in [{least}, {most}], range is [{low}, {high}]")
    for index, sample in zip(chosen, batch, strict=True):
        require(torch.equal(data[index], sample), f"sample {index} differs between batch() and [{index}]")
    keys = [7, 2**62, 0, 7]
    augmented = data.augmented(chosen, keys)
    require(augmented.shape == batch.shape, f"augmented() gives {tuple(augmented.shape)}, batch() {tuple(batch.shape)}")
    require(torch.equal(augmented[0], augmented[-1]), "augmented() gives different samples for the same key")


def _repeats(check: Check) -> None:
    """Samples are the same in every epoch, run and process, whatever else draws random numbers."""
    seed_all(1)
    first = _dataset(check)
    first.prepare()
    chosen = list(range(min(len(first), BATCH)))
    samples, keys = first.batch(chosen), [3 * k for k in chosen]
    augmented, fingerprint = first.augmented(chosen, keys), first.fingerprint()
    seed_all(2)
    others = {
        "read again": first,
        "made again": _dataset(check),
        "sent to another process (pickled)": pickle.loads(pickle.dumps(first)),  # noqa: S301  (our own)
    }
    for how, other in others.items():
        other.prepare()
        require(len(other) == len(first), f"{how}, it has {len(other)} samples instead of {len(first)}")
        require(torch.equal(other.batch(chosen), samples), f"{how}, its samples differ")
        require(torch.equal(other.augmented(chosen, keys), augmented), f"{how}, its augmented samples differ")
        require(other.source == first.source, f"{how}, its source is '{other.source}' instead of '{first.source}'")
        require(other.fingerprint() == fingerprint, f"{how}, its fingerprint differs")
    require(isinstance(fingerprint, str) and fingerprint != "", f"fingerprint() gives {fingerprint!r}, not a text")


def _labels(check: Check) -> None:
    data = _dataset(check)
    data.prepare()
    columns = dict(data.attributes()) | ({} if data.labels is None else {"labels": data.labels})
    for name, column in columns.items():
        require(isinstance(column, Tensor) and column.dtype == torch.int64, f"'{name}' is not an int64 tensor")
        require(
            tuple(column.shape) == (len(data),), f"'{name}' has shape {tuple(column.shape)} for {len(data)} samples"
        )
        require(bool((column >= 0).all()), f"'{name}' holds negative numbers; classes count from 0")
    apart = data.held_out()
    if apart is not None:
        require(tuple(apart.shape) == tuple(data.shape), f"held_out() has shape {apart.shape}, not {data.shape}")
        require(tuple(apart.range) == tuple(data.range), f"held_out() has range {apart.range}, not {data.range}")
        require(len(apart) > 0, "held_out() has no samples")


def _identities(check: Check) -> None:
    """A sample's name, by which parts are cut, does not depend on where the data lie."""
    data = _dataset(check)
    data.prepare()
    paths = [os.getcwd(), str(data_directory("any").parent)]
    paths += [value for value in check.options.values() if isinstance(value, str) and os.path.isabs(value)]
    names = data.identities()
    if names is None:
        require(
            not any(path in data.source for path in paths),
            f"its source, '{data.source}', holds a path, so its parts depend on where the data lie; override "
            "identities()",
        )
        return
    require(len(names) == len(data), f"identities() gives {len(names)} names for {len(data)} samples")
    require(all(isinstance(name, str) for name in names), "identities() gives names that are not texts")
    require(len(set(names)) == len(names), "identities() gives one name to several samples")
    require(
        not any(path in name for path in paths for name in names),
        "identities() gives names that hold the path of the data",
    )


def _opens(check: Check) -> None:
    """The data set opens in a configuration and passes all checks of the framework."""
    data = opened(check, {"it": {"dataset": {**check.options, "name": check.component.name}}})["it"]
    data.prepare()
    data.check(data.read([0, len(data) - 1]))


def _dataset(check: Check) -> Dataset:
    data = check.make()
    require(isinstance(data, Dataset), f"gives a {type(data).__name__}, not a coupling.Dataset")
    return data  # type: ignore[no-any-return]


TESTS: Tests = {
    "samples are as declared": _samples,
    "samples are the same in every epoch and process": _repeats,
    "labels and attributes fit the samples": _labels,
    "names of samples do not depend on their place": _identities,
    "opens as a domain": _opens,
}
