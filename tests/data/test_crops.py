"""Crops as a function of the key."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupling.data.crops import crop_images
from coupling.system.seeds import derive_seed

KEYS = [derive_seed(0, "test", number) for number in range(3000)]


def image(height, width, channels=3):
    """Every pixel tells its place."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([100 * rows + columns + channel * 10_000 for channel in range(channels)], axis=-1)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4),
    st.booleans(),
)
def test_a_window_is_a_part_of_its_image_perhaps_mirrored(size, margins, keys, mirror):
    whole = image(size[0] + margins[0], size[1] + margins[1])
    for made in crop_images([whole] * len(keys), size, keys, mirror=mirror):
        assert made.shape == (*size, 3)
        if made[0, 0, 0] > made[0, -1, 0]:
            assert mirror
            made = made[:, ::-1]
        top, left = divmod(int(made[0, 0, 0]), 100)
        assert np.array_equal(made, whole[top : top + size[0], left : left + size[1]])


@pytest.mark.parametrize("mirror", [False, True])
def test_every_window_is_equally_probable(mirror):
    windows = crop_images([image(6, 7, 1)] * len(KEYS), (4, 5), KEYS, mirror=mirror)
    counts = Counter((int(window[0, 0, 0]), int(window[0, 1, 0])) for window in windows)
    expected = len(KEYS) / (9 * (1 + mirror))
    assert len(counts) == 9 * (1 + mirror)
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 2.5 * len(counts)  # chi squared


def test_a_window_depends_on_its_own_key_alone_and_not_on_channels_or_type():
    colour, depth = image(9, 9), image(9, 9, 1).astype(np.float32)
    whole = crop_images([colour] * 20, (5, 6), KEYS[:20], mirror=True)
    assert np.array_equal(whole[13], crop_images([colour], (5, 6), KEYS[13:14], mirror=True)[0])
    alike = crop_images([depth] * 20, (5, 6), KEYS[:20], mirror=True)
    assert alike.dtype == np.float32
    assert np.array_equal(alike[..., 0], whole[..., 0])


def test_without_keys_it_is_the_middle():
    assert (
        crop_images([image(8, 9, 1)], (4, 4), mirror=True)[0, 0, 0, 0] == 202
    )  # a margin of 5: 2 at the left, 3 right
    assert np.array_equal(crop_images([image(4, 4)], (4, 4))[0], image(4, 4))


def test_crops_of_a_memory_map_are_copies(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 5, 5, 3), np.uint8))
    stored = np.load(tmp_path / "a.npy", mmap_mode="r")
    made = crop_images([stored[1], stored[0]], (4, 4))
    made += 1
    assert type(made) is np.ndarray
    assert stored.sum() == 0
