"""When a run's sessions started, and the training record of a model file: scores, data, versions, device of its run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coupling.runs.locations import run_directory_of
from coupling.runs.metrics_log import read_log, read_metrics, read_undefined

BEFORE = "before"
"""Key of the environments of earlier sessions in environment.json, oldest first."""


def session_starts(environment: Mapping[str, Any]) -> list[str]:
    """When each session of a run started, the first one first, as far as the run knows."""
    sessions = [*environment.get(BEFORE, []), environment]
    return [str(session["started"]) for session in sessions if session.get("started")]


def training_record(file: Path, step: int) -> dict[str, Any]:
    """The record of a model file in a run's directory, at ``step``: ``metrics``, ``data``, ``versions``, ``device``.

    Empty if the file lies in no run; without the keys that the run does not know.
    """
    run = run_directory_of(file)
    if run is None:
        return {}
    environment = _read(run / "environment.json")
    record: dict[str, Any] = {"metrics": _measured(run, step)}
    record |= {key: environment.get(key) for key in ("data", "versions", "plugins", "device")}
    return {key: value for key, value in record.items() if value}


def _measured(run: Path, step: int) -> dict[str, float]:
    """Values of all metrics at ``step`` by flat name; the last measurement counts."""
    values: dict[str, float] = {}
    for line in read_log(run):
        if line["step"] == step:
            values |= read_metrics(line)
            for name in read_undefined(line):
                values.pop(name, None)
    return {name: float(value) for name, value in values.items()}


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
