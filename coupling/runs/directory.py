"""The layout of a run on disk, and the only code that writes it.

config.yaml environment.json metrics.jsonl evaluation.json summary.json report.html
samples/step-0000500.png
checkpoints/step-0001000/{model.safetensors,state.safetensors,manifest.json}
.lock (while a process trains in it)
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from coupling.config.config import Config
from coupling.errors import InputError, RunError
from coupling.runs.metrics_log import EVALUATED, LossName, read_log
from coupling.runs.metrics_log import FILE as LOG
from coupling.system.atomic_files import OTHER_OUTPUT, remove_torn, sync, write_text, writing
from coupling.system.file_lock import FILE as LOCK
from coupling.system.file_lock import RunLock

MARKER = "config.yaml"


class RunDirectory:
    """One run's directory."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self._lock: RunLock | None = None

    @classmethod
    def create(cls, config: Config, output: Path | None) -> RunDirectory:
        """A new directory, locked: ``output``, or the next free ``runs/<name>-<NNN>``.

        Raises :class:`InputError` where ``output`` holds anything, is in use, or cannot be written.
        """
        with writing(output or Path("runs"), OTHER_OUTPUT):
            run = cls(cls._make(config, output), config)
            try:
                run._lock = RunLock(run.path)
                run._check_still_free()
                remove_torn(run.path)  # of a process that was killed as early as here
                for folder in (run.samples, run.checkpoints):
                    folder.mkdir(exist_ok=True)
                write_text(run.path / MARKER, config.yaml())
            except OSError:  # a full disk: leave nothing that the next attempt would take for a run
                run.release()
                for folder in (run.samples, run.checkpoints, run.path):
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                raise
        return run

    @staticmethod
    def check_not_taken(output: Path | None) -> None:
        """Raise :class:`InputError` where ``output`` holds anything: a run is never overwritten."""
        if output is None:
            return
        with writing(output, OTHER_OUTPUT):  # its name may be too long, or it may not be readable
            taken = output.exists() and not is_bare(output)
        if taken:
            hint = "add --resume to continue it, or " if (output / MARKER).exists() else ""
            raise InputError(f"{output}: exists already and is never overwritten; {hint}give another --output")

    def _check_still_free(self) -> None:
        """Check again: another process may have made its whole run here since the first check."""
        try:
            self.check_not_taken(self.path)
        except InputError:
            self.release()
            raise

    def lock(self) -> None:
        """Lock an existing directory for this process, and remove the temporary files of a killed one.

        Raises :class:`InputError` if a living process has it, or it cannot be written.
        """
        with writing(self.path, "fix its permissions, or copy it to another place and continue there with --output"):
            try:
                self._lock = RunLock(self.path)
                for folder in (self.samples, self.checkpoints):
                    folder.mkdir(exist_ok=True)  # somebody may have moved all of them away
                for folder in (self.path, self.samples):
                    remove_torn(folder)
            except OSError:
                self.release()
                raise

    def release(self) -> None:
        """Let other processes have the directory."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @staticmethod
    def _make(config: Config, output: Path | None) -> Path:
        if output is not None:
            RunDirectory.check_not_taken(output)
            output.mkdir(parents=True, exist_ok=True)
            return output
        runs = Path("runs")
        runs.mkdir(exist_ok=True)
        number = 1 + max(latest_numbers(runs, config.name), default=0)
        while True:
            path = runs / f"{config.name}-{number:03d}"
            try:
                path.mkdir()
                return path
            except FileExistsError:  # another run was quicker
                number += 1

    @property
    def samples(self) -> Path:
        """Pictures, by step."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, by step."""
        return self.path / "checkpoints"

    def picture(self, step: int) -> Path:
        """Where the picture of ``step`` goes."""
        return self.samples / f"step-{step:07d}.png"

    def write_config(self) -> None:
        """Replace config.yaml."""
        with self.writing(self.path / MARKER) as path:
            write_text(path, self.config.yaml())

    def log(self, step: int, seconds: float, values: Mapping[str, float], *, evaluated: bool = False) -> None:
        """Append one line to metrics.jsonl; a number that is not finite is written as null.

        ``evaluated``: measured after the training, on the checkpoint of ``step``, which the line then names again.
        """
        line: dict[str, float | None] = {"step": step, "seconds": round(seconds, 3)}
        if evaluated:
            line[EVALUATED] = step
        line |= {name: _number(value) for name, value in values.items()}
        with self.writing(self.path / LOG) as path, path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def note(self, records: Mapping[str, Mapping[str, Any]], step: int) -> None:
        """Say in evaluation.json what measurements at ``step`` were computed with: {metric: {step: record}}."""
        noted = self.read_json("evaluation.json")
        for name, record in records.items():
            noted.setdefault(name, {})[str(step)] = dict(record)
        self.write_json("evaluation.json", noted)

    def seconds_at(self, step: int) -> float:
        """Seconds trained up to ``step``, as metrics.jsonl has it; 0 where it does not say."""
        return max((line["seconds"] for line in read_log(self.path) if line["step"] <= step), default=0.0)

    def settle(self) -> None:
        """Wait until metrics.jsonl is on the disk: a checkpoint must not outlive the lines before it."""
        path = self.path / LOG
        if path.exists():
            with self.writing(path):
                sync(path)

    def rewind(self, step: int) -> float:
        """Drop from metrics.jsonl what a run that goes on at ``step`` writes again, and a torn last line.

        That is what comes after ``step``, and what was measured at it: a checkpoint is saved after
        the step's losses are logged and before its metrics are. What ``coupling evaluate`` measured up to
        ``step`` stays: those checkpoints are what they were. Returns the seconds trained up to there.
        """
        path = self.path / LOG
        if not path.exists():
            return 0.0
        kept = [line for line in read_log(self.path) if line["step"] < step or (line["step"] == step and _stays(line))]
        with self.writing(path):
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        return max((line["seconds"] for line in kept), default=0.0)

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Replace a JSON file as a whole."""
        with self.writing(self.path / name) as path:
            write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of this run, or an empty dict where there is none, or what no run has written.

        Raises :class:`InputError` where it is there and cannot be read.
        """
        path = self.path / name
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; mend its permissions") from None
        return values if isinstance(values, dict) else {}

    def writing(self, path: Path) -> AbstractContextManager[Path]:
        """A block that writes ``path``, which it gets; an operating-system error becomes a :class:`RunError`."""
        return writing(path, "free disk space or fix the permissions, then continue with --resume", RunError)


def is_bare(path: Path) -> bool:
    """Whether nothing is in a directory but what a run makes before its configuration is written."""
    return path.is_dir() and all(
        not any(inside.iterdir()) if inside.is_dir() else inside.name == LOCK or inside.name.startswith(f".{MARKER}.")
        for inside in path.iterdir()
    )


def latest_numbers(runs: Path, name: str) -> list[int]:
    """Numbers NNN of the existing ``<name>-<NNN>`` under ``runs``."""
    pattern = re.compile(re.escape(name) + r"-(\d+)$")
    return [int(match[1]) for path in runs.iterdir() if (match := pattern.match(path.name))]


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _stays(line: Mapping[str, Any]) -> bool:
    """Whether what was written at a checkpoint's own step is not written again by a run that goes on from it."""
    return EVALUATED in line or any(LossName.parse(name) is not None for name in line)
