"""A measured value as an object: the value itself or why it is undefined, what it is compared with, and details."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Detail: TypeAlias = "float | Measured | Mapping[str, Detail]"
"""A value, a value with floors and ceilings of its own, or a group of these by name."""


class Undefined(float):
    """The value of a metric that has none, with the reason: ``Undefined("the real samples do not differ")``.

    It is not a number (NaN), so it is never the best value, and null in files; the reason is in ``evaluation.json``.
    Formatted as a number it is ``undefined``.
    """

    reason: str
    """Short text without a full stop, for tables and messages."""

    def __new__(cls, reason: str) -> Undefined:
        """``reason``: a short text without a full stop, for tables and messages."""
        value = super().__new__(cls, "nan")
        value.reason = reason
        return value

    def __str__(self) -> str:
        return f"undefined: {self.reason}"

    def __repr__(self) -> str:
        return f"Undefined({self.reason!r})"

    def __format__(self, specification: str) -> str:
        return format("undefined", specification) if specification[-1:] in ("", "s") else "undefined"

    def __reduce__(self) -> tuple[type[Undefined], tuple[str]]:
        return Undefined, (self.reason,)


def reason_undefined(value: float) -> str | None:
    """Why a value is not a finite number; None if it is one."""
    if isinstance(value, Undefined):
        return value.reason
    return None if math.isfinite(value) else f"the metric computed {value}"


@dataclass(frozen=True)
class Measured:
    """The answer of a metric: its value, with floors and ceilings, and further values that explain it.

    ``Measured(0.98, floors={"unrelated": 0.83}, ceilings={"real": 0.99}, details={"recall": 0.7})``. In files each has
    a flat name that extends the metric's: ``<metric>/<domain>.../unrelated`` (:mod:`coupling.runs.metrics_log`).
    Any of the values may be :class:`Undefined`.
    """

    value: float
    """Value of the metric; its ``better`` says whether higher or lower is better."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Values of models that have learned nothing, by name: ``unrelated`` pairs, a ``constant`` image."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """Values of a perfect model, by name: other ``real`` samples, ``true-pairs``."""
    details: Mapping[str, Detail] = field(default_factory=dict)
    """Further values by name."""
