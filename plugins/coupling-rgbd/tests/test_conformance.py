"""What every plugin's components must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from coupling.testing import Check, checks

SMALL = {
    "rendered-objects": [
        {"modality": "color", "count": 12},
        {"modality": "depth", "count": 12},
        {"modality": "depth", "count": 12, "noise": True},
    ],
    "rgbd": {"width": 0.05},
}


@pytest.mark.parametrize("check", checks("coupling_rgbd.plugin", SMALL), ids=str)
def test_conformance(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    check()
