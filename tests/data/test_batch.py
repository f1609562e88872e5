"""A step's samples divided among processes and micro-batches."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupling.batch import Batch
from coupling.errors import ConfigError, DataError

counts = st.integers(1, 9)


def batches(size, processes, accumulate):
    return [Batch(size, processes, rank, accumulate) for rank in range(processes)]


@given(counts, counts, counts)
def test_the_slices_of_the_processes_are_a_partition(times, processes, accumulate):
    size = times * processes * accumulate
    parts = [range(size)[batch.own] for batch in batches(size, processes, accumulate)]
    assert [position for part in parts for position in part] == list(range(size))
    assert {len(part) for part in parts} == {size // processes}


@given(counts, counts, counts)
def test_the_micro_batches_of_a_process_are_a_partition(times, processes, accumulate):
    for batch in batches(times * processes * accumulate, processes, accumulate):
        parts = [range(batch.share)[part] for part in batch.micro_batches]
        assert [position for part in parts for position in part] == list(range(batch.share))
        assert [len(part) for part in parts] == [times] * accumulate


@given(counts, counts, st.integers(0, 5))
def test_all_processes_together_read_the_samples_in_order_and_none_twice(times, processes, steps):
    size = times * processes
    read = [p for step in range(steps) for batch in batches(size, processes, 1) for p in batch.positions(step)]
    assert read == list(range(steps * size))


@given(st.integers(1, 200), counts, counts)
def test_a_size_is_an_error_exactly_if_it_cannot_be_divided_evenly(size, processes, accumulate):
    if size % (processes * accumulate) == 0:
        assert len(Batch(size, processes, 0, accumulate).micro_batches) == accumulate
        return
    with pytest.raises(ConfigError, match=rf"batch_size: {size} .*choose a multiple of {processes * accumulate}$"):
        Batch(size, processes, 0, accumulate)


@pytest.mark.parametrize(
    ("processes", "accumulate", "parts"),
    [
        (3, 1, "3 processes"),
        (1, 3, r"3 micro-batches \(training\.accumulate\)"),
        (3, 2, r"3 processes times 2 micro-batches \(training\.accumulate\)"),
    ],
)
def test_the_error_names_what_the_batch_is_divided_among(processes, accumulate, parts):
    with pytest.raises(ConfigError, match=rf"^training\.batch_size: 4 cannot be divided among {parts}; choose"):
        Batch(4, processes, 0, accumulate)


def test_a_batch_as_large_as_the_domain_is_valid():
    Batch(8).check_samples(8, "photos")


def test_a_batch_larger_than_the_domain_is_an_error():
    with pytest.raises(DataError, match=r"^training\.batch_size: 8 is larger than the 7 samples of domain 'photos'"):
        Batch(8).check_samples(7, "photos")


@pytest.mark.parametrize(
    ("processes", "accumulate", "synchronised", "expected"),
    [
        (1, 1, True, (24, "step")),
        (1, 2, True, (12, "micro-batch")),
        (3, 1, True, (24, "step")),
        (3, 1, False, (8, "process")),
        (3, 2, True, (12, "micro-batch")),
        (3, 2, False, (4, "process")),
    ],
)
def test_batch_normalisation_counts_the_samples_that_it_normalises_together(
    processes, accumulate, synchronised, expected
):
    assert Batch(24, processes, 0, accumulate).normalised_together(synchronised=synchronised) == expected


@given(counts, counts, st.booleans())
def test_batch_normalisation_over_one_sample_is_an_error_and_the_size_that_it_names_is_valid(
    processes, accumulate, synchronised
):
    batch = Batch(processes * accumulate, processes, 0, accumulate)
    parts = accumulate if synchronised else accumulate * processes
    if batch.size // parts > 1:
        assert batch.normalised_together(synchronised=synchronised)[0] == processes
        return
    with pytest.raises(ConfigError, match=rf"{batch.size} leaves one sample .* choose {2 * parts} or more"):
        batch.normalised_together(synchronised=synchronised)
    Batch(2 * batch.size, processes, 0, accumulate).normalised_together(synchronised=synchronised)


def test_a_batch_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Batch(4).size = 8
