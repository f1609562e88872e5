"""The collector of cyclic garbage works less where objects are made that stay."""

from __future__ import annotations

import gc

import pytest

from coupling.system.collector import rare_collections


@pytest.mark.parametrize("before", [(700, 10, 10), (100_000, 5, 5), (0, 10, 10)])
def test_collections_are_rarer_in_the_block_alone(before):
    usual = gc.get_threshold()
    gc.set_threshold(*before)
    try:
        with rare_collections():
            inside = gc.get_threshold()
        assert gc.get_threshold() == before
    finally:
        gc.set_threshold(*usual)
    assert inside[0] == {700: 50_000, 100_000: 100_000, 0: 0}[before[0]]
    assert inside[1:] == before[1:]
