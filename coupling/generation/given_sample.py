"""One sample that a user gives: its file, its values, and how it was converted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class GivenSample:
    """A sample that can be used."""

    file: Path
    """The file that holds it, perhaps with a number, if the file holds several."""
    sample: Tensor
    """(*shape), float32 in the domain's range."""
    change: str = ""
    """How it was converted ("resized from 56×56"); empty if it was not."""
