"""Small training sets drawn from a pool: sizes, independence of the run, disjoint parts."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupling import ConfigError
from coupling.testing import open_domains
from coupling_digits import mnist
from coupling_digits.draw import Draw
from coupling_digits.mnist import Mnist
from coupling_digits.usps import Usps


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 5))
def test_a_draw_is_distinct_samples_and_a_larger_one_holds_it(count, more, number):
    available = count + more
    few = Draw("pool", count, number).numbers(available)
    assert few.tolist() == sorted(set(few.tolist()))
    assert len(few) == Draw("pool", count, number).size(available) == count
    assert set(few) <= set(range(available))
    assert set(few) <= set(Draw("pool", min(count + 3, available), number).numbers(available))


def test_all_samples_are_in_their_own_order():
    assert Draw("pool", None, 0).numbers(5).tolist() == [0, 1, 2, 3, 4]
    assert Draw("pool", None, 0).source == "pool"


def test_draws_and_pools_differ():
    chosen = {tuple(Draw(pool, 10, n).numbers(100)) for pool in ("one", "other") for n in range(5)}
    assert len(chosen) == 10
    assert Draw("one", 10, 1).source == "one/10 of draw 1"


def test_a_number_without_a_count_is_rejected():
    with pytest.raises(ConfigError, match="draw: 3 has no effect on all samples; give a 'count' too"):
        Draw("pool", None, 3)


@pytest.mark.parametrize(("make", "size"), [(Mnist, 60_000), (Usps, 7291)])
def test_more_than_there_are_is_rejected_before_anything_is_read(make, size, tmp_path, monkeypatch):
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    assert len(make(count=size)) == size
    with pytest.raises(ConfigError, match=rf"count: {size + 1} is more than the {size} samples of \w+/train"):
        make(count=size + 1)


@pytest.fixture
def forty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty images to train and to test, the i-th of them grey level i and of class i % 10."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    images = np.repeat(np.arange(40, dtype=np.uint8), 784).reshape(40, 28, 28)
    labels = np.arange(40, dtype=np.uint8) % 10
    for split in ("train", "t10k"):
        start = f"mnist/{split}"
        (tmp_path / f"{start}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, 40, 28, 28) + images.tobytes())
        (tmp_path / f"{start}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 40) + labels.tobytes())


def opened(dataset, seed=0, more=()):
    """Domain a on ``dataset``, and b on the same with ``more`` options where there are any."""
    values = {
        "name": "x",
        "seed": seed,
        "domains": {"a": {"dataset": dataset}} | ({"b": {"dataset": {**dataset, **dict(more)}}} if more else {}),
        "generator": {"architecture": "digits"},
        "discriminator": {"architecture": "digits"},
    }
    return open_domains(values)


def test_one_draw_for_two_domains_is_cut_in_disjoint_parts(forty):
    """And it is the same draw whatever the run's seed."""
    source = {"name": "mnist", "verify": False, "count": 20, "draw": 2}
    drawn = []
    for seed in (0, 1):
        domains = opened(source, seed, {"transform": "negative"})
        parts = []
        for data in domains.values():
            assert len(data) == 10
            raw = (data.dataset.batch(data.indices.tolist()) * 255).round().long()[:, 0, 0, 0]
            assert (data.labels(range(10)) == raw % 10).all()
            parts.append(set(raw.tolist()))
        assert not parts[0] & parts[1]
        drawn.append(parts[0] | parts[1])
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 20
    assert "20 of draw 2" in domains["a"].fingerprint


def test_the_draw_is_the_runs_seed_where_none_is_named(forty):
    source = {"name": "mnist", "verify": False, "count": 20}
    for seed in (0, 3):
        drawn, named = (opened({**source, **more}, seed)["a"].dataset for more in ({}, {"draw": seed}))
        assert drawn.source == named.source == f"mnist/train/20 of draw {seed}"
        assert drawn.fingerprint() == named.fingerprint()
        assert torch.equal(drawn.batch(range(20)), named.batch(range(20)))
    everything = opened({"name": "mnist", "verify": False}, 3)["a"].dataset
    assert (everything.source, len(everything)) == ("mnist/train", 40)


@pytest.mark.parametrize(
    ("protocol", "samples", "tested_on", "source"),
    [
        ("paper", 20, "own", "mnist/train/20 of draw 5"),
        ("held-out", 20, "held-out", "mnist/train/20 of draw 5"),
        ("full", 40, "held-out", "mnist/train"),
        (None, 40, "own", "mnist/train"),
    ],
)
def test_a_protocol_sets_the_number_of_samples_and_the_tested_split(
    forty, monkeypatch, protocol, samples, tested_on, source
):
    monkeypatch.setattr(mnist, "DRAWN", 20)
    data = opened({"name": "mnist", "verify": False, "protocol": protocol}, 5)["a"]
    assert (len(data), data.dataset.tested_on, data.dataset.source) == (samples, tested_on, source)
    assert len(data.dataset.held_out()) == 40


def test_the_papers_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    for make, paper, full in ((Mnist, 2000, 60_000), (Usps, 1800, 7291)):
        assert [len(make(protocol=protocol)) for protocol in ("paper", "held-out", "full")] == [paper, paper, full]


@pytest.mark.parametrize("name", ["mnist", "usps"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "paper", "count": 7}, "protocol: paper decides which samples are used; leave out count: 7, or"),
        ({"protocol": "full", "split": "test"}, "protocol: full decides which samples are used; leave out split: test"),
        ({"protocol": "full", "draw": 2}, "draw: 2 has no effect on all samples"),
        ({"protocol": "papr"}, "'papr' is not valid: should be 'paper', 'held-out' or 'full'"),
    ],
)
def test_options_that_contradict_a_protocol_are_errors(name, options, message):
    with pytest.raises(ConfigError, match=f"domains.a.dataset.*{message}"):
        opened({"name": name, **options})
