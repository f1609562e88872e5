"""How the metrics stand: the last and the best value of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Standings:
    """Last and best values by a metric's flat name. Part of a checkpoint, as what is best goes on counting."""

    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, dict[str, float]] = field(default_factory=dict)
    leading: str | None = None
    """Flat name of the configuration's first metric: the checkpoint of its best step is kept."""

    @property
    def best_step(self) -> int | None:
        """The step at which the first metric was best; None before it was measured."""
        best = self.best.get(self.leading or "")
        return None if best is None else int(best["step"])

    def note(self, name: str, value: float, step: int, improves: Callable[[float, float], bool]) -> bool:
        """Note a measurement; whether it is the best so far. What is not finite counts for nothing."""
        if not math.isfinite(value):
            return False
        self.last[name] = value
        better = name not in self.best or improves(value, self.best[name]["value"])
        if better:
            self.best[name] = {"value": value, "step": step}
        return better

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {"last": self.last, "best": self.best, "leading": self.leading}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Put back what :meth:`plain` gave; nothing, from a checkpoint that says nothing."""
        self.last = dict(values.get("last", {}))
        self.best = dict(values.get("best", {}))
        self.leading = values.get("leading")
