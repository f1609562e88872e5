"""Batches as a pure function of seed, domain and step; parts that never overlap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.batch import Batch
from coupling.config.sections import LatentConfig
from coupling.data.batches import Batches
from coupling.data.domain_data import DomainData, open_domains
from coupling.domain import Domain
from coupling.errors import DataError
from coupling.networks.latent import LatentBatches, LatentSpace, sample_prior
from coupling.system.seeds import derive_seed, torch_generator
from tests.support import tiny_plugin as tiny


def data(name="a", count=20, part=(1, 1), seed=0, **options):
    dataset = tiny.Tiny(count=count, **options)
    return DomainData(Domain(name, dataset.shape, dataset.range), dataset, part, (), seed, f"domain '{name}'")


def numbers(stream, *steps):
    return [stream.numbers(step).tolist() for step in steps]


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 200), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_a_step_is_a_pure_function_of_seed_domain_and_step(count, batch, step, seed):
    batch = min(batch, count)
    fresh = Batches(data(count=count), seed, Batch(batch)).numbers(step)
    used = Batches(data(count=count), seed, Batch(batch))
    for earlier in (step + 7, step, 0, step + 1):
        used.numbers(earlier)
    assert used.numbers(step).tolist() == fresh.tolist()
    assert fresh.min() >= 0
    assert fresh.max() < count


def test_seeds_domains_and_epochs_have_orders_of_their_own():
    streams = [Batches(data("a"), 0, Batch(20)), Batches(data("b"), 0, Batch(20)), Batches(data("a"), 1, Batch(20))]
    orders = [tuple(s.numbers(step).tolist()) for s in streams for step in (0, 1)]
    assert len(set(orders)) == 6


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_an_epoch_of_any_length_visits_every_sample_once(count, batch, epoch):
    batch = min(batch, count)
    stream = Batches(data(count=count), 3, Batch(batch))
    steps = range(epoch * count // batch, -(-(epoch + 1) * count // batch))
    read = list(itertools.chain.from_iterable(numbers(stream, *steps)))
    start = epoch * count - steps[0] * batch
    assert sorted(read[start : start + count]) == list(range(count))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_slices_of_the_processes_are_the_whole_in_order(processes):
    whole = Batches(data(count=27), 5, Batch(8))
    slices = [Batches(data(count=27), 5, Batch(8, processes, rank)) for rank in range(processes)]
    latent = LatentConfig(size=3)
    z = LatentBatches(LatentSpace(latent, "ab"), 5, Batch(8))
    zs = [LatentBatches(LatentSpace(latent, "ab"), 5, Batch(8, processes, rank)) for rank in range(processes)]
    for step in (0, 1, 2, 3, 4, 100):  # 3: across the epoch's end
        parts = [s.numbers(step) for s in slices]
        assert all(len(part) == 8 // processes for part in parts)
        assert np.concatenate(parts).tolist() == whole.numbers(step).tolist()
        assert torch.equal(torch.cat([s.batch(step) for s in slices]), whole.batch(step))
        assert torch.equal(torch.cat([s.batch(step) for s in zs]), z.batch(step))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_augmentation_is_the_same_on_any_number_of_processes(processes):
    whole = Batches(data(count=27, roll=True), 5, Batch(8))
    slices = [Batches(data(count=27, roll=True), 5, Batch(8, processes, rank)) for rank in range(processes)]
    for step in (3, 0, 100):
        assert [key for s in slices for key in s.keys(step)] == whole.keys(step)
        assert torch.equal(torch.cat([s.batch(step) for s in slices]), whole.batch(step))


def test_keys_are_a_function_of_seed_domain_and_position_and_none_repeats():
    streams = [Batches(data("a"), 0, Batch(20)), Batches(data("b"), 0, Batch(20)), Batches(data("a"), 1, Batch(20))]
    keys = [key for stream in streams for step in (0, 1, 2) for key in stream.keys(step)]
    assert len(set(keys)) == 3 * 3 * 20  # the same 20 samples in each step, which is an epoch
    assert all(0 <= key < 2**63 for key in keys)
    small = Batches(data("a"), 0, Batch(5))  # the position counts, not the step
    assert streams[0].keys(1) == list(itertools.chain.from_iterable(small.keys(step) for step in (4, 5, 6, 7)))


def test_a_sample_is_augmented_by_its_key_in_each_epoch_anew():
    domain = data(count=20, roll=True)
    stream, plain = Batches(domain, 0, Batch(20)), Batches(data(count=20), 0, Batch(20))
    epochs = []
    for epoch in (0, 1):
        numbers, keys, batch = stream.numbers(epoch), stream.keys(epoch), stream.batch(epoch)
        for number, key, sample in zip(numbers.tolist(), keys, batch, strict=True):
            assert torch.equal(sample, domain.dataset.augmented([domain.indices[number]], [key])[0])
        assert torch.equal(batch.flatten(1).sort(1)[0], plain.batch(epoch).flatten(1).sort(1)[0])  # moved, no more
        epochs.append(batch[np.argsort(numbers)])
    moved = (epochs[0] != epochs[1]).flatten(1).any(1)
    assert 10 < moved.sum() <= 20
    assert torch.equal(domain.read(range(20)), domain.dataset.samples)  # metrics see no augmentation


def test_a_batch_holds_the_samples_of_its_numbers():
    domain = data(count=30, part=(2, 3))
    stream = Batches(domain, 0, Batch(4))
    for step in (0, 3):
        expected = domain.dataset.samples[domain.indices[stream.numbers(step)]]
        assert torch.equal(stream.batch(step), expected)


def test_a_data_set_learns_in_advance_which_samples_come_next(monkeypatch):
    domain, announced, read = data(count=30, part=(2, 3)), [], []
    monkeypatch.setattr(domain.dataset, "expect", lambda *asked: announced.append(asked))
    monkeypatch.setattr(
        domain.dataset, "augmented", lambda *asked: (read.append(asked), domain.dataset.batch(asked[0]))[1]
    )
    stream = Batches(domain, 0, Batch(4))
    for step in range(6):
        stream.batch(step)
    assert announced[:-1] == read[1:]


def test_a_batch_larger_than_the_data_is_an_error():
    with pytest.raises(DataError, match=r"training\.batch_size: 21 is larger than the 20 samples of domain 'a'"):
        Batches(data(), 0, Batch(21))


def test_values_outside_the_declared_range_are_caught_on_the_first_batch():
    stream = Batches(data(scale=127.5), 0, Batch(4))
    with pytest.raises(DataError, match=r"domain 'a'.*values lie in \[-?\d.*declared is \[-1, 1\]"):
        stream.batch(0)


def test_not_a_number_is_caught_on_the_first_batch():
    domain = data()
    domain.dataset.samples[:, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="values lie in"):
        Batches(domain, 0, Batch(4)).batch(0)


@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_parts_are_disjoint_and_cover_the_source(count, n, seed):
    parts = [data(count=count, part=(k, n), seed=seed).indices for k in range(1, n + 1)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_parts_depend_on_the_seed_and_the_source_alone():
    first = data("a", part=(1, 2), seed=1).indices.tolist()
    assert first == data("b", part=(1, 2), seed=1).indices.tolist()
    assert first != data("a", part=(1, 2), seed=2).indices.tolist()
    assert first != data("a", part=(1, 2), seed=1, pool="other").indices.tolist()
    assert first != list(range(10))  # not simply the first half


def test_domains_of_one_source_get_disjoint_parts_by_default():
    silent = open_domains(tiny.config("domains.c.dataset={name: tiny, count: 33}"), tiny.plugins().registry)
    parts = [set(silent[d].indices.tolist()) for d in "abc"]
    assert [len(part) for part in parts] == [11, 11, 11]
    assert set.union(*parts) == set(range(33))
    both = open_domains(
        tiny.config("domains.a.dataset.part=all", "domains.b.dataset.part=all"), tiny.plugins().registry
    )
    assert len(both["a"]) == len(both["b"]) == 33
    other = open_domains(tiny.config("domains.b.dataset.pool=other"), tiny.plugins().registry)
    assert len(other["a"]) == len(other["b"]) == 33


def test_latent_codes_are_of_their_prior():
    uniform = sample_prior(LatentConfig(size=40), 500, torch_generator(0, "z"))
    assert uniform.shape == (500, 40)
    assert -1 <= uniform.min() < -0.99
    assert 0.99 < uniform.max() <= 1
    assert abs(uniform.mean()) < 0.02
    normal = sample_prior(LatentConfig(size=40, prior="normal"), 500, torch_generator(0, "z"))
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert normal.max() > 3


def test_latent_codes_differ_by_step_purpose_and_seed():
    latent = LatentConfig(size=3)
    drawn = [
        LatentBatches(LatentSpace(latent, "ab"), seed, Batch(4)).batch(step, purpose)
        for seed in (0, 1)
        for step in (0, 1)
        for purpose in ("z", "fresh z")
    ]
    assert len({tuple(z.flatten().tolist()) for z in drawn}) == 8
    assert torch.equal(drawn[0], LatentBatches(LatentSpace(latent, "ab"), 0, Batch(4)).batch(0, "z"))


def test_derived_seeds_are_fixed_and_unrelated():
    """Their values are part of what a seed means: a run of an earlier version must be repeatable."""
    assert derive_seed(0, "z", 1) == 8_263_136_877_033_072_788
    purposes = [(0,), (1,), (0, "z"), (0, "z", 1), (0, "z1"), (0, "z", "1"), (0, 1, "z")]
    assert len({derive_seed(*p) for p in purposes}) == len(purposes)
    assert all(0 <= derive_seed(seed, "x") < 2**63 for seed in range(100))
