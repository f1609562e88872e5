from __future__ import annotations

from coupling_signals import plugin
from coupling_signals.correlation import ViewCorrelation
from coupling_signals.sounds import Sounds


def test_components_are_registered_under_their_names() -> None:
    registered: dict[str, object] = {}
    plugin.register_datasets(registered.__setitem__)
    plugin.register_metrics(registered.__setitem__)
    assert registered == {"sounds": Sounds, "view-correlation": ViewCorrelation}
