"""The layout of a sweep on disk.

sweep.yaml table.md table.csv runs.csv figure.png
runs/<axis>=<label>/.../seed-<S>/   a run's directory; seed-<S>.yaml its configuration, seed-<S>.log its output
.lock (while a process works in it)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coupling.config.config import read_config
from coupling.config.yaml_text import parse_yaml
from coupling.errors import ConfigError, InputError, RunError
from coupling.plugins import Plugins
from coupling.runs.checkpoint import newest_step
from coupling.runs.directory import MARKER, is_bare
from coupling.runs.metrics_log import MetricName, read_last_line, read_log, read_metrics
from coupling.runs.resumption import MAY_CHANGE, differences
from coupling.sweeps.grid import Grid, GridRun
from coupling.sweeps.table import Result
from coupling.system.atomic_files import remove_torn, write_text
from coupling.system.file_lock import FILE as LOCK
from coupling.system.file_lock import RunLock

SWEEP = "sweep.yaml"


FIGURE = "figure.png"


State = Literal["new", "unfinished", "finished"]


_MAY_CHANGE = tuple(key for key in MAY_CHANGE if key not in ("metrics", "training.steps"))
"""Keys that may differ between a run and its cell: what a table is made of does not depend on them."""


@dataclass(frozen=True)
class Standing:
    """How far one run of a sweep is."""

    run: GridRun
    path: Path
    state: State
    step: int
    """That it is finished at, or goes on after."""
    changes: tuple[str, ...] = ()
    """Of a new run: where its configuration differs from the one that the most similar earlier run of its place had."""


class SweepDirectory:
    """One sweep's directory."""

    def __init__(self, path: Path, grid: Grid) -> None:
        self.path = path
        self.grid = grid
        self._lock: RunLock | None = None

    def refuse_other(self) -> None:
        """Raise :class:`InputError` where the directory holds anything but this sweep."""
        path = self.path
        try:
            if not path.exists():
                return
            if not path.is_dir():
                raise InputError(f"{path}: is a file; give another --output")
            held = [p.name for p in path.iterdir() if p.name != LOCK and not p.name.startswith(f".{SWEEP}.")]
            if held and SWEEP not in held:
                raise InputError(f"{path}: exists already and is no sweep's directory; give another --output")
            if held:
                name = _mapping(path / SWEEP).get("name")
                if name != self.grid.config.name:
                    raise InputError(
                        f"{path}: holds the sweep '{name}', not '{self.grid.config.name}'; give another --output"
                    )
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}; give another --output") from None

    def open(self) -> None:
        """Make the directory, lock it, and write down what the sweep now is.

        Raises :class:`InputError` where another process works in it, it is another's, or it cannot be written.
        """
        self.refuse_other()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = RunLock(self.path)
            remove_torn(self.path)
            write_text(self.path / SWEEP, self.grid.yaml())
        except OSError as error:
            self.release()
            raise InputError(
                f"{self.path}: cannot be written: {error.strerror or error}; give another --output"
            ) from None

    def release(self) -> None:
        """Let other processes have the directory."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def write(self, name: str, text: str) -> None:
        """Replace a file as a whole; :class:`RunError` where that cannot be."""
        with self.writing():
            write_text(self.path / name, text)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A context in which an operating-system error becomes a message that says how to go on."""
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{error.filename or self.path}: cannot be written: {error.strerror or error}; make room or mend the "
                "permissions, and the same command goes on"
            ) from None

    def standing(self, run: GridRun, data: Mapping[str, str] | None = None) -> Standing:
        """How far a run is, and where: a directory that was made with another configuration is passed by.

        ``data``: fingerprints of the run's domains, where they are known; other data make another run.
        """
        begun: Path | None = None
        changes: list[str] = []
        number = 1
        while True:
            path = self.path / run.folder
            if number > 1:
                path = path.with_name(f"{path.name}-{number}")
            if not path.exists():
                return Standing(run, begun or path, "new", 0, tuple(changes))
            if not (path / MARKER).exists():  # killed before its first file, or none of ours
                begun = begun or (path if is_bare(path) else None)
            else:
                found = _changes(path, run, self.grid.plugins, data)
                changes = min(filter(None, (changes, found)), key=len, default=[])
                if not found:
                    summary = _mapping(path / "summary.json")
                    done = summary.get("status") == "finished" and summary.get("step") == run.config.training.steps
                    return Standing(run, path, "finished" if done else "unfinished", newest_step(path / "checkpoints"))
            number += 1


def clear_bare(path: Path) -> None:
    """Remove a run's directory in which nothing was begun."""
    if path.exists():
        for inside in path.iterdir():
            inside.rmdir() if inside.is_dir() else inside.unlink()
        path.rmdir()


def _changes(path: Path, run: GridRun, plugins: Plugins, data: Mapping[str, str] | None) -> list[str]:
    """Where a run's directory was made with another configuration, or other data."""
    try:
        before = read_config(path / MARKER, (), plugins.registry)
    except ConfigError as error:  # made with other plugins, say
        return [str(error).replace("\n", " ")]
    changes = [line for line in differences(before, run.config) if not line.startswith(_MAY_CHANGE)]
    if before.training.steps < run.config.training.steps:  # it goes on
        changes = [line for line in changes if not line.startswith("training.steps:")]
    known = _mapping(path / "environment.json").get("data", {})
    for name, now in (data or {}).items():
        if known.get(name, now) != now:
            changes.append(f"data of domains.{name}: {known[name]} -> {now}")
    return changes


def last_step(path: Path) -> int:
    """Last step that a run has logged, 0 for none."""
    step = read_last_line(path).get("step", 0)
    return step if isinstance(step, int) else 0


def result_of(standing: Standing) -> Result:
    """What a finished run measured."""
    run, path = standing.run, standing.path
    summary = _mapping(path / "summary.json")
    last, best = summary.get("last", {}), summary.get("best", {})
    beside: dict[str, float] = {}
    chosen: dict[str, float] = {}
    first = run.config.metrics[0].name
    leading = next((name for name in best if MetricName.parse(name).metric == first), None)
    own = [MetricName.parse(name) for name in last]
    for line in read_log(path):
        values = read_metrics(line)
        if leading is not None and line["step"] == best[leading]["step"]:
            chosen |= {name: values[name] for name in last if name in values}
        beside |= {
            name: value
            for name, value in values.items()
            if name not in last and any(MetricName.parse(name).extends(metric) for metric in own)
        }
    return Result(run.labels, run.seed, run.config.training.steps, last, best, beside, leading, chosen)


def _mapping(path: Path) -> dict[str, Any]:
    """A JSON or YAML file of ours; empty where it is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else parse_yaml(text)
    except (OSError, ValueError, ConfigError):
        return {}
    return values if isinstance(values, dict) else {}
