"""What every plugin's components must be."""

from __future__ import annotations

import pytest

from coupling.testing import Check, checks

SMALL = {
    "sounds": [{"count": 40}, {"view": "envelope", "count": 40}, {"view": "spectrogram", "count": 30, "seed": 3}],
    "view-correlation": {"from": "waveform", "to": "envelope", "count": 20},
}
DOMAINS = {
    "waveform": {"dataset": {"name": "sounds", "count": 60}},
    "envelope": {"dataset": {"name": "sounds", "count": 60, "view": "envelope"}},
}


@pytest.mark.parametrize("check", checks("coupling_signals.plugin", SMALL, domains=DOMAINS), ids=str)
def test_conformance(check: Check) -> None:
    check()
