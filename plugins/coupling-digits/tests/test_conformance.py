"""What every plugin's components must be, on small files in the official formats."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from coupling.testing import checks

SMALL = {
    "mnist": [{"verify": False}, {"verify": False, "split": "test"}, {"verify": False, "count": 10}],
    "mnist-m": {"verify": False, "origin": "made", "backgrounds": "photographs"},
    "usps": [{"verify": False, "resize": how, "size": size} for how, size in (("bilinear", 28), ("pad", 16))],
    "digits": {"width": 0.1},
    "digits-fc": {"width": 0.05},
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty digits of each kind, and a photograph."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("mnist", "usps", "photographs"):
        (tmp_path / name).mkdir()
    Image.fromarray(random.integers(0, 256, (80, 90, 3), np.uint8)).save(tmp_path / "photographs" / "noise.png")
    for name in ("train", "t10k"):
        images, labels = random.integers(0, 256, (50, 28, 28), np.uint8), random.integers(0, 10, 50, np.uint8)
        for kind, magic, content in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            header = struct.pack(f">{1 + content.ndim}i", magic, *content.shape)
            (tmp_path / "mnist" / f"{name}-{kind}-ubyte").write_bytes(header + content.tobytes())
    with h5py.File(tmp_path / "usps" / "usps.h5", "w") as file:
        for split in ("train", "test"):
            file[f"{split}/data"] = random.integers(0, 2001, (50, 256)).astype(np.float32) / 2000
            file[f"{split}/target"] = random.integers(0, 10, 50)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("check", checks("coupling_digits.plugin", SMALL), ids=str)
def test_components_pass_the_conformance_checks(check):
    check()
