"""A domain's share of its data set, and its samples through transforms."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.data.domain_data import open_domains
from coupling.errors import ConfigError, DataError, PluginError
from tests.support import tiny_plugin as tiny


def domains(*overrides):
    return open_domains(tiny.config(*overrides), tiny.plugins().registry)


def shared(one, other):
    return len(set(one.indices.tolist()) & set(other.indices.tolist()))


def test_halves_are_parts_of_two():
    given = domains("domains.a.dataset.half=2", "domains.b.dataset.part=[1, 2]")
    silent = domains()
    assert given["a"].indices.tolist() == silent["b"].indices.tolist()
    assert given["b"].indices.tolist() == silent["a"].indices.tolist()


def test_the_user_may_overlap_parts():
    given = domains("domains.a.dataset.part=[1, 3]", "domains.b.dataset.part=all")
    assert (len(given["a"]), len(given["b"]), shared(given["a"], given["b"])) == (11, 33, 11)


def test_a_part_of_one_domain_requires_parts_of_all():
    with pytest.raises(ConfigError, match=r"domains\.a\.dataset: shares the source 'tiny:pool' with 'b'"):
        domains("domains.b.dataset.half=1")


def test_too_few_samples_for_the_parts_are_an_error():
    with pytest.raises(DataError, match=r"domains\.a\.dataset: 'tiny' has 1 samples, too few for 2 disjoint parts"):
        domains("domains.a.dataset.count=1", "domains.b.dataset.count=1")


def test_transforms_are_applied_in_order_to_the_samples_of_the_part():
    made = domains("domains.a.dataset.transform=[rotate90, negative]")["a"]
    raw = made.dataset.samples[made.indices[[3, 0]]]
    assert torch.equal(made.read([3, 0]), -torch.rot90(raw, 1, (2, 3)))
    assert made.domain.shape == (1, 4, 4)
    assert made.domain.range == (-1, 1)


def test_the_shape_after_transforms_is_the_domains(monkeypatch):
    monkeypatch.setattr(tiny.Tiny, "shape", (1, 2, 8))
    assert domains("domains.a.dataset.transform=rotate90")["a"].domain.shape == (1, 8, 2)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(2, 1, 4, 5), r"samples have shape \(1, 4, 5\), declared is \(1, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "samples are torch.uint8"),
        (torch.full((2, 1, 4, 4), 255.0), r"values lie in \[255, 255\], declared is \[-1, 1\]; scale them"),
        (torch.full((2, 1, 4, 4), float("inf")), "values lie in"),
    ],
)
def test_samples_that_differ_from_the_declaration_are_errors(samples, message):
    with pytest.raises(DataError, match=rf"^domains\.a\.dataset.*{message}"):
        domains()["a"].check(samples)


def test_rounding_at_the_ends_of_the_range_is_forgiven():
    domains()["a"].check(torch.full((1, 1, 4, 4), 1 + 1e-5))


def test_an_error_of_a_data_set_names_the_domain(monkeypatch):
    monkeypatch.setattr(tiny.Tiny, "__getitem__", lambda self, index: 1 / 0)
    with pytest.raises(DataError, match=r"^domains\.b\.dataset.*division by zero"):
        domains()["b"].read([0])


def test_the_fingerprint_tells_data_and_part():
    made = domains()
    assert made["a"].fingerprint != made["b"].fingerprint
    assert made["a"].fingerprint == domains()["a"].fingerprint
    assert made["a"].fingerprint != domains("domains.a.dataset.pool=other")["a"].fingerprint


def grouped(monkeypatch, groups):
    """Let the tests' data set say that its 33 samples belong together so."""
    monkeypatch.setattr(tiny.Tiny, "groups", lambda self: groups)


@given(st.lists(st.integers(-3, 12), min_size=33, max_size=33), st.integers(1, 5), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_parts_are_cut_between_groups(numbers, n, seed):
    with pytest.MonkeyPatch.context() as patch:
        grouped(patch, torch.tensor(numbers))
        count = len(set(numbers))
        made = domains("domains.a.dataset.part=all", "domains.b.dataset.part=all")["a"]
        parts = [replace(made, part=(k, n), seed=seed, _indices=None).indices.tolist() for k in range(1, n + 1)]
    assert sorted(i for part in parts for i in part) == list(range(33))
    groups = [{numbers[i] for i in part} for part in parts]
    assert sum(map(len, groups)) == count  # no group is in two parts
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_groups_are_cut_at_random_and_alike_for_all_domains(monkeypatch):
    grouped(monkeypatch, torch.arange(33) // 3)
    one, other = domains(), domains("seed=1")
    chosen = {i // 3 for i in one["a"].indices.tolist()}
    assert chosen not in (set(range(5)), {i // 3 for i in other["a"].indices.tolist()})
    assert sorted([*one["a"].indices, *one["b"].indices]) == list(range(33))


def test_too_few_groups_for_the_parts_are_an_error(monkeypatch):
    grouped(monkeypatch, torch.zeros(33, dtype=torch.int64))
    with pytest.raises(DataError, match="'tiny' has 1 groups of samples that belong together, too few for 2 disjoint"):
        domains()


def test_domains_of_one_source_group_it_alike(monkeypatch):
    calls = itertools.count()
    monkeypatch.setattr(tiny.Tiny, "groups", lambda self: torch.arange(33) // (1 + next(calls)))
    with pytest.raises(
        DataError, match="domains 'a', 'b' name one source, 'tiny:pool', but group its samples differen"
    ):
        domains()


@pytest.mark.parametrize("groups", [torch.zeros(33), torch.zeros(32, dtype=torch.int64)])
def test_groups_are_one_whole_number_a_sample(monkeypatch, groups):
    grouped(monkeypatch, groups)
    with pytest.raises(PluginError, match="groups are one int64 number a sample"):
        domains()
