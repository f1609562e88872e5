"""The conformance checks of all components."""

from __future__ import annotations

import pytest

from coupling.testing import checks

OPTIONS = {
    "shapes": [{"kind": "disc", "count": 20}, {"kind": "square", "count": 20}],
    "soften": [{}, {"radius": 3}],
    "centre-distance": {"from": "one", "to": "two", "count": 20},
}


@pytest.mark.parametrize("check", checks("coupling_shapes.plugin", OPTIONS), ids=str)
def test_conformance(check):
    check()
