"""The depth sensor's steps and holes."""

from __future__ import annotations

import numpy as np

from coupling_rgbd.kinect import BASELINE, measure

NEARER, FARTHER, FOCAL = 0.8, 1.2, 150.0


def _step() -> np.ndarray:
    """A square that stands before a wall."""
    metres = np.full((64, 64), FARTHER, np.float32)
    metres[16:48, 24:48] = NEARER
    return metres


def _missing_by_column() -> np.ndarray:
    """Share of readings that are missing in the square's rows, by column."""
    rngs = (np.random.default_rng(seed) for seed in range(40))
    missing = np.stack([measure(_step(), FOCAL, rng)[20:44] == 0 for rng in rngs])
    return np.asarray(missing.mean(axis=(0, 1)))


def test_projector_casts_a_shadow_to_the_left_only() -> None:
    missing = _missing_by_column()
    width = int(FOCAL * BASELINE * (1 / NEARER - 1 / FARTHER))
    assert width == 4
    assert (missing[24 - width : 24] == 1).all()
    # np.gradient spreads an edge over one pixel each side; beyond there are specks alone.
    assert (missing[: 24 - width - 1] < 0.05).all()
    assert (missing[50:] < 0.05).all()
    assert (missing[27:45] < 0.05).all()


def test_readings_lie_on_the_sensors_steps_near_the_truth() -> None:
    metres = np.tile(np.linspace(0.75, 1.15, 64, dtype=np.float32), (64, 1))
    measured = measure(metres, FOCAL, np.random.default_rng(0))
    seen = measured > 0
    number = 1092.5 - 351.3 / measured[seen]
    np.testing.assert_allclose(number, np.rint(number), atol=1e-3)
    error = measured[seen] - metres[seen]
    assert seen.mean() > 0.9
    assert 1e-3 < error.std() < 3e-3
    assert abs(error.mean()) < 2e-4


def test_a_flat_wall_has_no_holes_but_specks() -> None:
    wall = np.full((64, 64), 1.0, np.float32)
    holes = [(measure(wall, FOCAL, np.random.default_rng(seed)) == 0).mean() for seed in range(20)]
    assert 0 < np.mean(holes) < 0.02
