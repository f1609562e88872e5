"""The directory of a sweep on disk, and how far each of its runs is.

sweep.yaml table.md table.csv runs.csv figure.png
runs/<axis>=<label>/.../seed-<S>/   a run's directory; seed-<S>.yaml its configuration, seed-<S>.log its output
.lock (while a process works in it)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coupling.config.config import read_config
from coupling.config.yaml_text import parse_yaml
from coupling.errors import ConfigError, InputError, RunError
from coupling.plugins import Plugins
from coupling.runs.checkpoint import newest_step
from coupling.runs.directory import MARKER, is_bare
from coupling.runs.metrics_log import read_last_line
from coupling.runs.resumption import MAY_CHANGE, data_changes, differences, may_differ
from coupling.sweeps.grid import Grid, GridRun
from coupling.system.atomic_files import OTHER_OUTPUT, remove_torn, write_text, writing
from coupling.system.file_lock import FILE as LOCK
from coupling.system.file_lock import RunLock

SWEEP = "sweep.yaml"


FIGURE = "figure.png"


State = Literal["new", "unfinished", "finished"]


_MAY_CHANGE = tuple(key for key in MAY_CHANGE if key not in ("metrics", "training.steps"))
"""Keys that may differ between a run and its cell: no table depends on them."""


@dataclass(frozen=True)
class RunStatus:
    """How far one run of a sweep is, and where it is."""

    run: GridRun
    path: Path
    state: State
    step: int
    """Its last step, or the step after which it resumes."""
    changes: tuple[str, ...] = ()
    """Differences of a new run's configuration from that of the most similar earlier run in its place."""


class SweepDirectory:
    """One sweep's directory."""

    def __init__(self, path: Path, grid: Grid) -> None:
        self.path = path
        self.grid = grid
        self._lock: RunLock | None = None

    def check_not_taken(self) -> None:
        """Raise :class:`InputError` if the directory holds anything but this sweep."""
        path = self.path
        try:
            if not path.exists():
                return
            if not path.is_dir():
                raise InputError(f"{path}: is a file; give another --output")
            held = [p.name for p in path.iterdir() if p.name != LOCK and not p.name.startswith(f".{SWEEP}.")]
            if held and SWEEP not in held:
                raise InputError(f"{path}: exists already and is not a sweep's directory; give another --output")
            if held:
                name = read_mapping(path / SWEEP).get("name")
                if name != self.grid.config.name:
                    raise InputError(
                        f"{path}: holds the sweep '{name}', not '{self.grid.config.name}'; give another --output"
                    )
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}; give another --output") from None

    def open(self) -> None:
        """Make the directory, lock it, and write sweep.yaml.

        Raises :class:`InputError` if another process works in it, it holds anything else, or it cannot be written.
        """
        self.check_not_taken()
        with writing(self.path, OTHER_OUTPUT):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = RunLock(self.path)
                remove_torn(self.path)
                write_text(self.path / SWEEP, self.grid.yaml())
            except OSError:
                self.release()
                raise

    def release(self) -> None:
        """Unlock the directory."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def write(self, name: str, text: str) -> None:
        """Replace a file as a whole; raises :class:`RunError` if it cannot be written."""
        with self.writing(self.path / name):
            write_text(self.path / name, text)

    def writing(self, path: Path) -> AbstractContextManager[Path]:
        """A block that writes ``path``; an operating-system error in it becomes a :class:`RunError`."""
        return writing(path, "free disk space or fix the permissions; then the same command continues", RunError)

    def status(self, run: GridRun, data: Mapping[str, Sequence[str]] | None = None) -> RunStatus:
        """How far a run is, and where; directories that were made with another configuration are skipped.

        ``data``: fingerprints of the run's domains if they are known; a run on other data is another run.
        """
        empty: Path | None = None
        changes: list[str] = []
        number = 1
        while True:
            path = self.path / run.folder
            if number > 1:
                path = path.with_name(f"{path.name}-{number}")
            if not path.exists():
                return RunStatus(run, empty or path, "new", 0, tuple(changes))
            if not (path / MARKER).exists():  # killed before its first file was written, or something else
                empty = empty or (path if is_bare(path) else None)
            else:
                found = _changes(path, run, self.grid.plugins, data)
                changes = min(filter(None, (changes, found)), key=len, default=[])
                if not found:
                    summary = read_mapping(path / "summary.json")
                    done = summary.get("status") == "finished" and summary.get("step") == run.config.training.steps
                    return RunStatus(run, path, "finished" if done else "unfinished", newest_step(path / "checkpoints"))
            number += 1


def clear_bare(path: Path) -> None:
    """Remove a run's directory that holds no file of a run yet."""
    if path.exists():
        for inside in path.iterdir():
            inside.rmdir() if inside.is_dir() else inside.unlink()
        path.rmdir()


def _changes(path: Path, run: GridRun, plugins: Plugins, data: Mapping[str, Sequence[str]] | None) -> list[str]:
    """Differences between a run and the configuration and data that its directory was made with."""
    try:
        before = read_config(path / MARKER, (), plugins.registry)
    except ConfigError as error:  # made with other plugins, for example
        return [str(error).replace("\n", " ")]
    changes = [line for line in differences(before, run.config) if not may_differ(line, _MAY_CHANGE)]
    if before.training.steps < run.config.training.steps:  # it is resumed
        changes = [line for line in changes if not line.startswith("training.steps:")]
    known = read_mapping(path / "environment.json").get("data", {})
    return changes + [f"data of {line}" for line in data_changes(known, data or {})]


def read_last_step(path: Path) -> int:
    """The last step that a run has logged; 0 if it has logged none."""
    step = read_last_line(path).get("step", 0)
    return step if isinstance(step, int) else 0


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON or YAML file with a mapping; empty if it is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else parse_yaml(text)
    except (OSError, ValueError, ConfigError):
        return {}
    return values if isinstance(values, dict) else {}
