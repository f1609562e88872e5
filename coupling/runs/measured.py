"""A measured value as an object: the value itself, what it is compared with, and details."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Detail: TypeAlias = "float | Measured | Mapping[str, Detail]"
"""A value, a value with floors and ceilings of its own, or a group of these by name."""


@dataclass(frozen=True)
class Measured:
    """What a metric answers: its value, with floors and ceilings, and further values that explain it.

    ``Measured(0.98, floors={"unrelated": 0.83}, ceilings={"real": 0.99}, details={"recall": 0.7})``. In files each has
    a flat name that extends the metric's: ``<metric>/<domain>.../unrelated`` (:mod:`coupling.runs.metrics_log`).
    """

    value: float
    floors: Mapping[str, float] = field(default_factory=dict)
    """Values of models that have learned nothing, by name: ``unrelated`` pairs, a ``constant`` image."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """Values of a perfect model, by name: other ``real`` samples, ``true-pairs``."""
    details: Mapping[str, Detail] = field(default_factory=dict)
    """Further values by name."""
