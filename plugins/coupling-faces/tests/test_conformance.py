"""What every plugin's components must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from coupling.testing import Check, checks
from coupling_faces.testing import write_celeba

SMALL = {
    "avatars": [
        {"attribute": "eyeglasses", "present": True, "count": 12},
        {"attribute": "smile", "present": False, "count": 12, "jitter": True},
    ],
    "celeba": [
        {"verify": False, "size": 32, "attributes": {"Smiling": True}},
        {"verify": False, "size": 32, "cache": False, "workers": 0, "flip": True, "partition": "train"},
    ],
    "faces": {"width": 0.05},
}


@pytest.mark.parametrize("check", checks("coupling_faces.plugin", SMALL), ids=str)
def test_components_pass_the_conformance_checks(check: Check, data: Path) -> None:
    write_celeba(data / "celeba", 40)
    check()
