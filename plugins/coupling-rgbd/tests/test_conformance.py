"""What every plugin's components must be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coupling.testing import Check, checks
from coupling_rgbd.testing import write_frames, write_nyu, write_rgbd_objects

SMALL = {
    "rendered-objects": [
        {"modality": "color", "count": 12},
        {"modality": "depth", "count": 12},
        {"modality": "depth", "count": 12, "noise": True},
    ],
    "color-depth-folder": [
        {"path": "frames", "modality": "color", "window": 8, "flip": True},
        {"path": "frames", "modality": "depth"},
    ],
    "rgbd-objects": [{"modality": "color"}, {"modality": "depth", "outliers": "drop", "fill": "far"}],
    "nyu": [
        {"modality": "color", "frames": "raw", "verify": False},
        {"modality": "depth", "frames": "raw", "verify": False},
        {"modality": "depth", "window": None, "size": 32, "verify": False},
    ],
    "rgbd": {"width": 0.05},
}

FILES: dict[str, Callable[[Path], None]] = {
    "color-depth-folder": lambda data: write_frames(data / "frames", 24, size=(12, 16)),
    "rgbd-objects": lambda data: write_rgbd_objects(data / "rgbd-dataset", {"apple": 4, "food_bag": 4}, 3),
    "nyu": lambda data: write_nyu(data / "nyu-depth-v2", 16, 16),
}


@pytest.mark.parametrize("check", checks("coupling_rgbd.plugin", SMALL), ids=str)
def test_components_pass_the_conformance_checks(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    FILES.get(check.component.name, lambda data: None)(tmp_path)
    check()
