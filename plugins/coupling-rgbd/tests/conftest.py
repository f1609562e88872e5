from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory, empty."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    return tmp_path / "data"
