"""What a run wrote into metrics.jsonl, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coupling.errors import InputError

FILE = "metrics.jsonl"


EVALUATED = "checkpoint"
"""Key of a line that was measured after the training: the step of its checkpoint."""


_TAIL = 16384
"""Bytes at the end of the file, in which its last line lies."""


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, each with at least ``step`` and ``seconds``; none where there is no file.

    What a killed run left unfinished is left out. Raises :class:`InputError` where the file cannot be read.
    """
    path = run / FILE
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; mend its permissions") from None
    return [values for line in text.splitlines() if (values := _line(line)) is not None]


def logged(line: Mapping[str, Any]) -> dict[str, float]:
    """The values in a line by flat name: losses and metrics, without those that were not finite."""
    about = ("step", "seconds", EVALUATED)
    return {name: value for name, value in line.items() if name not in about and isinstance(value, int | float)}


def measured(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics' values in a line by flat name."""
    return {name: value for name, value in logged(line).items() if not name.startswith("loss/")}


def last_line(run: Path) -> dict[str, Any]:
    """The last whole line, without reading the others; empty where there is none."""
    try:
        with (run / FILE).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return next((values for line in reversed(lines) if (values := _line(line)) is not None), {})


def _line(text: str) -> dict[str, Any] | None:
    try:
        values = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(values, dict) and all(isinstance(values.get(key), int | float) for key in ("step", "seconds"))
    return values if whole else None
