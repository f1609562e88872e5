"""Which real samples a probe may learn from: none that any domain trains on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.data.held_out import LEAST, held_out, split, true_pairs
from coupling.errors import ConfigError
from tests.support.toy_domains import opened as domains


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_sample_of_any_domain_is_ever_held_out(data):
    n = data.draw(st.integers(3, 6))
    k, m = data.draw(st.permutations(range(1, n + 1)))[:2]
    opened = domains({"count": 600, "part": [k, n]}, {"count": 600, "part": [m, n]})
    pools = [held_out(opened, name) for name in "ab"]
    used = np.concatenate([opened[name].indices for name in "ab"])
    for pool in pools:
        assert not np.isin(pool.indices, used).any()
        assert len(pool) + len(used) == 600
    learned, tested = split(pools[0])
    assert sorted([*learned, *tested]) == list(range(len(pools[0])))
    assert len(tested) == pytest.approx(len(pools[0]) / 5, abs=30)
    # A true pair's two samples are on the same side.
    assert np.array_equal(tested, split(pools[1])[1])


def test_a_larger_test_split_is_held_out():
    opened = domains({"count": 300, "test": 200}, {"count": 300, "test": 200})  # halves: nothing is left
    pool = held_out(opened, "a")
    assert pool.dataset.source == "squares:pool+test"
    assert len(pool) == 200
    opened = domains({"count": 300, "test": 90, "part": [1, 3]}, {"count": 300, "test": 90, "part": [2, 3]})
    assert held_out(opened, "a").dataset.source == "squares:pool"


def test_the_error_without_held_out_samples_names_the_fix():
    opened = domains({"count": 300}, {"count": 300})
    with pytest.raises(ConfigError) as error:
        held_out(opened, "a")
    assert f"there are 0 (at least {LEAST})" in str(error.value)
    assert "part: [1, 3] and part: [2, 3]" in str(error.value)


def test_other_data_can_be_given_for_all_domains_or_for_one():
    opened = domains({"count": 300, "transform": "negative"}, {"count": 300})
    given_ = {"name": "squares", "pool": "other", "count": 50}
    pool = held_out(opened, "a", given_)
    assert (pool.dataset.source, len(pool)) == ("squares:other", 50)
    assert torch.equal(pool.read([3]), -pool.dataset.batch([3]))  # through the domain's transform
    pool = held_out(opened, "a", {"a": given_})
    assert pool.dataset.source == "squares:other"
    part = held_out(opened, "a", {**given_, "count": 90, "part": [1, 3]})
    assert len(part) == 30
    as_it_is = held_out(opened, "a", {**given_, "transform": {"name": "rotate90", "turns": 2}})
    assert torch.equal(as_it_is.read([3]), as_it_is.dataset.batch([3]).rot90(2, (2, 3)))


def test_given_data_that_a_domain_trains_on_do_not_count():
    opened = domains({"count": 300, "part": [1, 2]}, {"count": 300, "pool": "else"})
    same = held_out(opened, "b", {"name": "squares", "count": 300})
    assert len(same) == 150
    assert not np.isin(same.indices, opened["a"].indices).any()


def test_data_of_another_name_that_hold_training_samples_are_an_error(monkeypatch):
    """A part of a data set under a name of its own: only the data set knows."""
    opened = domains({"count": 300, "part": [1, 2]}, {"count": 300, "pool": "else"})
    known = {"squares:pool", "squares:split"}

    def overlap(self, other):
        return "300 squares" if {self.source, other.source} == known else None

    monkeypatch.setattr(type(opened["a"].dataset), "overlap", overlap)
    with pytest.raises(
        ConfigError, match=r"probe: has samples that are trained on: domain 'a': 300 squares; name data"
    ):
        held_out(opened, "b", {"name": "squares", "pool": "split", "count": 50})
    known.clear()
    assert len(held_out(opened, "b", {"name": "squares", "pool": "split", "count": 50})) == 50
    known |= {"squares:pool", "squares:else"}  # the domains' own data sets overlap, because both set part: all
    with pytest.raises(ConfigError, match="of which there are 0"):
        held_out(opened, "a")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "sqaures"}, "probe: no dataset is called 'sqaures'; did you mean 'squares'?"),
        ({"name": "squares", "cuont": 3}, "probe.cuont: unknown option 'cuont'"),
        ({"c": "squares"}, "probe: no domain is called 'c'"),
        (3, "probe: write a component as its name"),
        ({"name": "squares", "count": 3, "pool": "x"}, "of which there are 3"),
        ({"name": "squares", "count": 50, "pool": "x", "transform": "edgse"}, "did you mean 'edges'?"),
    ],
)
def test_given_data_that_do_not_fit_are_errors(entry, message):
    with pytest.raises(ConfigError, match=r"\w") as error:
        held_out(domains({"count": 300}, {"count": 300}), "a", entry)
    assert message in str(error.value)


def test_given_data_of_another_shape_are_an_error():
    opened = domains({"count": 300}, {"count": 300})
    with pytest.raises(ConfigError, match=r"samples of shape \(1, 12, 12\) .* those of domain 'a' are \(1, 8, 8\)"):
        held_out(opened, "a", {"name": "squares", "count": 50, "pool": "x", "side": 12})


def test_true_pairs_are_views_of_one_sample():
    opened = domains({"count": 300}, {"count": 300, "transform": "negative"})
    one, other = true_pairs(opened["a"], opened["b"], [2, 5])
    assert torch.equal(one, opened["a"].read([2, 5]))
    assert torch.equal(other, -one)
    apart = domains({"count": 300}, {"count": 300, "pool": "else"})
    assert true_pairs(apart["a"], apart["b"], [2, 5]) is None


def test_samples_that_belong_together_are_on_one_side():
    opened = domains({"count": 300, "grouped": 7}, {"count": 300, "pool": "else"})
    whole = opened["a"].within(np.arange(300))
    learned, tested = split(whole)
    assert not set(learned // 7) & set(tested // 7)
    assert 20 < len(tested) < 110
