"""The layout of a run on disk; only this module and :mod:`coupling.runs.checkpoint` write it.

config.yaml environment.json parent.json metrics.jsonl evaluation.json summary.json report.html
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
from coupling.system.atomic_files import OTHER_OUTPUT, remove_torn, sync, try_writing, write_text, writing
from coupling.system.file_lock import FILE as LOCK
from coupling.system.file_lock import RunLock

MARKER = "config.yaml"


class RunDirectory:
    """The directory of a run on disk.

    Args:
        path: the directory.
        config: the configuration of the run.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self._lock: RunLock | None = None

    @classmethod
    def create(cls, config: Config, output: Path | None) -> RunDirectory:
        """Create a new directory and lock it.

        Args:
            config: the configuration of the run.
            output: the directory; None: the next free ``runs/<name>-<NNN>``.

        Raises:
            InputError: ``output`` holds anything, is in use, or cannot be written.
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
        """Check that a new run can be written to a directory: a run is never overwritten.

        Args:
            output: the directory; None: a new one.

        Raises:
            InputError: the directory holds anything, or cannot be read.
        """
        if output is None:
            return
        with writing(output, OTHER_OUTPUT):  # its name may be too long, or it may not be readable
            taken = output.exists() and not is_bare(output)
        if taken:
            hint = "add --resume to continue it, or " if (output / MARKER).exists() else ""
            raise InputError(f"{output}: exists already and is never overwritten; {hint}give another --output")

    @staticmethod
    def try_output(output: Path | None) -> None:
        """Check that a new run's directory can be made, before any work; nothing is left behind.

        Args:
            output: the directory; None: a new one under ``runs``.

        Raises:
            InputError: it cannot be written.
        """
        with writing(output or Path("runs"), OTHER_OUTPUT) as path:
            try_writing(path)

    def _check_still_free(self) -> None:
        """Check again: another process may have made its whole run here since the first check."""
        try:
            self.check_not_taken(self.path)
        except InputError:
            self.release()
            raise

    def lock(self) -> None:
        """Lock an existing directory for this process, and remove the temporary files of a killed one.

        Raises:
            InputError: a living process has it, or it cannot be written.
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
        """Unlock the directory, so that other processes can use it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @staticmethod
    def _make(config: Config, output: Path | None) -> Path:
        """Make the directory; another process may choose the same number at the same time."""
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
        """The folder of the pictures, one for each step at which one is drawn."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def picture(self, step: int) -> Path:
        """The file of the picture of a step.

        Args:
            step: number of finished steps.
        """
        return self.samples / f"step-{step:07d}.png"

    def write_config(self) -> None:
        """Replace ``config.yaml`` by the configuration."""
        with self.writing(self.path / MARKER) as path:
            write_text(path, self.config.yaml())

    def log(self, step: int, seconds: float, values: Mapping[str, float], *, evaluated: bool = False) -> None:
        """Append a line to ``metrics.jsonl``; a number that is not finite is written as null.

        Args:
            step: number of finished steps.
            seconds: seconds of training up to this step.
            values: {flat name: value}.
            evaluated: whether the values were measured after the training, on the checkpoint of ``step``; the line then
                names the step twice.
        """
        line: dict[str, float | None] = {"step": step, "seconds": round(seconds, 3)}
        if evaluated:
            line[EVALUATED] = step
        line |= {name: _number(value) for name, value in values.items()}
        with self.writing(self.path / LOG) as path, path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def note(self, records: Mapping[str, Mapping[str, Any]], step: int) -> None:
        """Record in ``evaluation.json`` how values were computed: {metric: {step: record}}.

        Args:
            records: {metric: record}, JSON values.
            step: number of finished steps.
        """
        noted = self.read_json("evaluation.json")
        for name, record in records.items():
            noted.setdefault(name, {})[str(step)] = dict(record)
        self.write_json("evaluation.json", noted)

    def seconds_at(self, step: int) -> float:
        """Seconds of training up to a step, from ``metrics.jsonl``; 0 if it has no earlier line.

        Args:
            step: number of finished steps.
        """
        return max((line["seconds"] for line in read_log(self.path) if line["step"] <= step), default=0.0)

    def settle(self) -> None:
        """Wait until metrics.jsonl is on the disk: its lines must be there when a later checkpoint is."""
        path = self.path / LOG
        if path.exists():
            with self.writing(path):
                sync(path)

    def rewind(self, step: int) -> float:
        """Drop from metrics.jsonl what a run resumed at ``step`` writes again, and an incomplete last line.

        These are the lines after ``step``, and the scores at ``step``: a checkpoint is saved after the step's losses
        are logged and before its scores are. Scores by ``coupling evaluate`` up to ``step`` stay, since their
        checkpoints have not changed. Returns the seconds trained up to there.
        """
        path = self.path / LOG
        if not path.exists():
            return 0.0
        kept = [line for line in read_log(self.path) if line["step"] < step or (line["step"] == step and _stays(line))]
        with self.writing(path):
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        return max((line["seconds"] for line in kept), default=0.0)

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Replace a JSON file, whole or not at all.

        Args:
            name: name of the file in the directory.
            values: its content.
        """
        with self.writing(self.path / name) as path:
            write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file.

        Args:
            name: name of the file in the directory.

        Returns:
            Its content; empty if there is no such file, or if it does not hold a JSON object.

        Raises:
            InputError: the file exists and cannot be read.
        """
        path = self.path / name
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; fix its permissions") from None
        return values if isinstance(values, dict) else {}

    def writing(self, path: Path) -> AbstractContextManager[Path]:
        """A block that writes ``path``, which it gets; an operating-system error becomes a :class:`RunError`."""
        return writing(path, "free disk space or fix the permissions, then continue with --resume", RunError)


def is_bare(path: Path) -> bool:
    """Whether a directory holds only what a run makes before it writes its configuration."""
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
    """Whether a line at a checkpoint's own step is not written again by a run that resumes from it."""
    return EVALUATED in line or any(LossName.parse(name) is not None for name in line)
