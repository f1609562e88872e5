"""Small training sets drawn from a pool: sizes, independence of the run, disjoint parts."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupling.config import parse_config
from coupling.errors import ConfigError
from coupling.parts import open_domains
from coupling.plugins import installed
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


def test_a_number_without_a_count_is_refused():
    with pytest.raises(ConfigError, match="draw: 3 has no effect on all samples; give a 'count' too"):
        Draw("pool", None, 3)


@pytest.mark.parametrize(("make", "size"), [(Mnist, 60_000), (Usps, 7291)])
def test_more_than_there_are_is_refused_before_anything_is_read(make, size, tmp_path, monkeypatch):
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    assert len(make(count=size)) == size
    with pytest.raises(ConfigError, match=rf"count: {size + 1} is more than the {size} samples of \w+/train"):
        make(count=size + 1)


def test_one_draw_for_two_domains_is_cut_in_disjoint_parts(tmp_path: Path, monkeypatch):
    """And it is the same draw whatever the run's seed."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    images = np.repeat(np.arange(40, dtype=np.uint8), 784).reshape(40, 28, 28)
    labels = np.arange(40, dtype=np.uint8) % 10
    (tmp_path / "mnist/train-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, 40, 28, 28) + images.tobytes())
    (tmp_path / "mnist/train-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 40) + labels.tobytes())
    source = {"name": "mnist", "verify": False, "count": 20, "draw": 2}
    drawn = []
    for seed in (0, 1):
        values = {
            "name": "x",
            "seed": seed,
            "domains": {"a": {"dataset": source}, "b": {"dataset": {**source, "transform": "negative"}}},
            "generator": {"architecture": "digits"},
            "discriminator": {"architecture": "digits"},
        }
        domains = open_domains(parse_config(values), installed())
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
