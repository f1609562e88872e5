"""Points in space, and how they look from elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling_rgbd.camera import FRAME, Camera
from coupling_rgbd.depth import Planes
from coupling_rgbd.point_cloud import PointCloud, _Painter, _turned
from coupling_rgbd.rendering import FIELD_OF_VIEW, PLANES, render

CAMERA = Camera.of(Planes(1.0, 3.0), 60.0, (30, 40))


def cloud(depth: Any, color: Any = None) -> PointCloud:
    depth = np.asarray(depth, np.float32)
    shade = np.full((*depth.shape, 3), 90, np.uint8) if color is None else color
    return PointCloud.of(shade, depth, CAMERA)


def test_points_of_pixels_by_hand() -> None:
    depth = np.random.default_rng(0).uniform(0, 1, (30, 40)).astype(np.float32)
    points = CAMERA.points(depth)
    focal = 20 / math.tan(math.radians(30))
    for row, column in ((0, 0), (29, 39), (7, 31), (15, 20)):
        z = 1 + 2 * float(depth[row, column])
        expected = ((column + 0.5 - 20) / focal * z, (row + 0.5 - 15) / focal * z, z)
        assert points[row, column].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(st.integers(8, 200), st.integers(8, 200), st.sampled_from(["stretch", "crop"]))
def test_a_resized_camera_sees_the_same_rays(height: int, width: int, resize: Any) -> None:
    """A point at a place in the resized picture is at the same place in the frame."""
    whole = Camera.of(Planes(1, 2), 57.0, FRAME)
    resized = whole.resized((height, width), resize)
    scale = max(height / FRAME[0], width / FRAME[1])
    covered = (height / scale, width / scale) if resize == "crop" else FRAME
    assert resized.across == pytest.approx(whole.across * covered[1] / FRAME[1])
    assert resized.down == pytest.approx(whole.down * covered[0] / FRAME[0])
    half = resized.windowed((height, width), (height / 2, width / 4))
    assert (half.across, half.down) == pytest.approx((resized.across / 4, resized.down / 2))


def test_a_ball_is_a_ball() -> None:
    rendering = render(5000, 0, 128)
    depth = (rendering.depth / 65535).astype(np.float32)
    ball = PointCloud.of(rendering.colour, depth, Camera.of(PLANES, FIELD_OF_VIEW, (1, 1)))
    points = ball.points.astype(np.float64)
    assert len(points) > 0.9 * rendering.mask.sum()
    design = np.c_[2 * points, np.ones(len(points))]
    solved = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0]
    radius = math.sqrt(solved[3] + (solved[:3] ** 2).sum())
    assert 0.14 < radius < 0.19
    assert np.abs(np.linalg.norm(points - solved[:3], axis=1) - radius).max() < 1e-3
    assert (ball.colors == rendering.colour[ball.kept]).all()


def test_missing_and_background_pixels_are_no_points() -> None:
    depth = np.full((30, 40), 0.5, np.float32)
    depth[:10] = 0.97
    depth[10:20, :5] = 0.0
    everything = PointCloud.of(np.zeros((30, 40, 3), np.uint8), depth, CAMERA, background=2)
    assert everything.kept[:10].all()
    left_out = ~cloud(depth).kept
    assert left_out[:10].all()
    assert left_out[10:20, :5].all()
    assert not left_out[20:].any()
    assert not left_out[10:20, 5:].any()


def test_pixels_across_an_edge_are_left_out() -> None:
    depth = np.full((30, 40), 0.2, np.float32)
    depth[:, 21:] = 0.9
    assert cloud(depth).kept.all()  # a clean edge has none
    depth[:, 20] = 0.55
    kept = cloud(depth).kept
    assert not kept[:, 20].any()
    assert kept[:, :20].all()
    assert kept[:, 21:].all()


def test_a_sloping_surface_is_whole() -> None:
    """60 degrees against the picture's plane."""
    depth = np.empty((30, 40), np.float32)
    x = ((np.arange(40) + 0.5) / 20 - 1) * CAMERA.across
    depth[:] = ((1.5 / (1 - math.tan(math.radians(60)) * x / 2)).clip(1.05, 2.8) - 1) / 2
    assert cloud(depth)._surfaces(1)[0].shape == (29 * 39, 3)
    assert cloud(depth).kept.all()


def test_views_turn_about_the_points() -> None:
    """Of a red left and a blue right half of a bent sheet; from the right, the right half is the nearer, larger one."""
    depth = np.full((30, 40), 0.3, np.float32)
    color = np.zeros((30, 40, 3), np.uint8)
    color[:, :20, 0] = color[:, 20:, 2] = 255

    def share_of_blue(yaw: float) -> float:
        view = cloud(depth, color).view(yaw, 0, (60, 80))
        red = int(((view[..., 0] > 200) & (view[..., 2] < 50)).sum())
        blue = int(((view[..., 2] > 200) & (view[..., 0] < 50)).sum())
        assert red > 100
        assert blue > 100
        columns = np.nonzero((view[..., 0] > 200) & (view[..., 2] < 50))[1]
        assert columns.mean() < 40  # red stays on the left
        return blue / (red + blue)

    assert share_of_blue(0) == pytest.approx(0.5, abs=0.02)
    assert share_of_blue(40) > 0.55
    assert share_of_blue(-40) < 0.45


def test_a_higher_viewer_sees_the_floor_deeper() -> None:
    """A floor, seen flat from the front, fills more of the picture's height from above."""
    rows = (np.arange(30) + 0.5) / 15 - 1
    z = np.where(rows > 0.1, 0.5 / np.maximum(rows * CAMERA.down, 1e-6), 9).clip(1, 2.95)
    depth = np.repeat(((z - 1) / 2)[:, None], 40, 1).astype(np.float32)
    depth[z >= 2.9] = 1

    def proportions(pitch: float) -> float:
        drawn = (cloud(depth).view(0, pitch, (80, 80)) < 200).any(axis=2)
        return float(drawn.any(axis=1).sum() / drawn.any(axis=0).sum())

    assert proportions(30) > 1.2 * proportions(0)


def test_surfaces_have_no_holes_and_nothing_is_cut_off() -> None:
    depth = np.full((30, 40), 0.4, np.float32)
    for yaw, pitch in ((0, 0), (35, 12), (-60, 20)):
        drawn = (cloud(depth).view(yaw, pitch, (90, 120)) < 255).any(axis=2)
        assert not drawn[[0, -1]].any()
        assert not drawn[:, [0, -1]].any()
        for line in drawn[:, drawn.any(axis=0)].T[3:-3]:  # the outermost points have a neighbour on one side only
            inside = np.flatnonzero(line)
            assert line[inside[0] : inside[-1] + 1].all()


def test_no_points_are_a_white_picture(tmp_path: Path) -> None:
    empty = cloud(np.ones((5, 6)))
    assert len(empty) == 0
    assert (empty.view(20, 10, (8, 9)) == 255).all()
    empty.write_ply(tmp_path / "a.ply")
    assert b"element vertex 0\n" in (tmp_path / "a.ply").read_bytes()


def test_the_ply_file_holds_the_points(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    made = cloud(np.full((6, 7), 0.25) + random.uniform(0, 0.01, (6, 7)), random.integers(0, 256, (6, 7, 3), np.uint8))
    made.write_ply(tmp_path / "a.ply")
    header, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "element vertex 42" in lines
    assert [line.split()[1:] for line in lines if line.startswith("property")] == [
        ["float", "x"], ["float", "y"], ["float", "z"], ["uchar", "red"], ["uchar", "green"], ["uchar", "blue"],
    ]  # fmt: skip
    read = np.frombuffer(body, [("place", "<f4", 3), ("color", "u1", 3)])
    np.testing.assert_array_equal(read["place"] * (1, -1, -1), made.points)
    np.testing.assert_array_equal(read["color"], made.colors)


def _painted_by_hand(places: Any, z: Any, colors: Any, radii: Any, shape: tuple[int, int]) -> Any:
    picture = np.full((*shape, 3), 255.0)
    nearest = np.full(shape, np.inf)
    for (x, y), distance, color, radius in zip(places, z, colors, radii, strict=True):
        for row in range(shape[0]):
            for column in range(shape[1]):
                off = (row - math.floor(y)) ** 2 + (column - math.floor(x)) ** 2
                if off < radius**2 and distance < nearest[row, column]:
                    nearest[row, column], picture[row, column] = distance, color
    return picture


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_nearer_points_cover_farther_ones(seed: int, count: int, radius: int) -> None:
    random = np.random.default_rng(seed)
    shape = (9, 11)
    picture = np.full((*shape, 3), 255, np.float32)
    painter = _Painter(picture)
    everything = []
    for r in (radius, 1):
        places, z = random.uniform(-3, 13, (count, 2)), random.permutation(count) + random.uniform(0, 0.5)
        colors = random.integers(0, 255, (count, 3), np.uint8)
        painter.paint(places, z, colors, r)
        everything.append((places, z, colors, np.full(count, r)))
    expected = _painted_by_hand(*(np.concatenate(parts) for parts in zip(*everything, strict=True)), shape)
    np.testing.assert_array_equal(picture, expected)


@given(st.floats(-80, 80), st.floats(-80, 80))
def test_a_turn_is_a_rotation(yaw: float, pitch: float) -> None:
    turn = _turned(yaw, pitch)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
