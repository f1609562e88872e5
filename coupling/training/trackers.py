"""Accelerate's trackers of a run: its losses and scores, its configuration and its pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from PIL import Image

from coupling.config.config import Config
from coupling.errors import InputError, cause
from coupling.system.terminal import show_origin, warn


@dataclass(frozen=True)
class TrackedRun:
    """The name, configuration and directory of a run, for its trackers."""

    config: Config
    path: Path
    """The run's directory."""
    started: str
    """When its first session started."""
    step: int
    """Steps done: 0, or those of the checkpoint from which it continues."""

    @property
    def name(self) -> str:
        """The run's name in the project, which has the configuration's: ``faces-001``; of a sweep: cell and seed."""
        parts = self.path.absolute().parts
        inside = parts[len(parts) - parts[::-1].index("runs") :] if "runs" in parts[:-1] else parts[-1:]
        return "-".join(inside)

    @property
    def identity(self) -> str:
        """Text that is the same in every session of the run, and another one for every other run."""
        return hashlib.sha256(f"{self.started} {self.name} {self.config.seed}".encode()).hexdigest()[:16]


class Trackers:
    """The trackers of a run on its main process. One that fails while the run trains is left out with a warning."""

    def __init__(self, run: TrackedRun) -> None:
        """Start the trackers that the configuration names.

        Raises:
            InputError: one cannot be started; the message names it.
        """
        self._running: dict[str, Any] = {}
        for name in run.config.trackers:
            try:
                self._running[name] = _start(name, run)
            except Exception as error:  # a tracker's library may fail in any way
                self.close()
                raise InputError(
                    f"trackers: {name} cannot be started: {cause(error)}; log in, or leave it out"
                ) from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Pass on losses or scores by flat name."""
        self._call(lambda name, tracker: tracker.log(dict(values), step=step))

    def show(self, picture: Image.Image, path: Path, step: int) -> None:
        """Pass on a picture of samples, which is also in the file ``path``."""
        self._call(lambda name, tracker: _show(name, tracker, picture, path, step))

    def close(self) -> None:
        """End all trackers, which then have sent everything."""
        self._call(lambda name, tracker: tracker.finish())
        self._running = {}

    def _call(self, action: Callable[[str, Any], None]) -> None:
        for name, tracker in list(self._running.items()):
            try:
                action(name, tracker)
            except Exception as error:  # a tracker must not end a long run
                show_origin(error)
                warn(f"trackers: {name} failed and gets nothing more: {cause(error)}")
                del self._running[name]


def _start(name: str, run: TrackedRun) -> Any:
    """Start a tracker and pass on the configuration."""
    kind: Any = LOGGER_TYPE_TO_CLASS[name]
    project = run.config.name
    if name == "tensorboard":
        tracker = kind("tensorboard", run.path, purge_step=run.step + 1 if run.step else None)
    elif name == "mlflow":
        tracker = kind(project, run_name=run.name)
    elif name == "wandb":
        tracker = kind(project, name=run.name, id=run.identity, resume="allow", dir=str(run.path))
    elif name == "trackio":
        tracker = kind(project, name=run.name, resume="allow" if run.step else "never")
    else:
        tracker = kind(project, run.path) if kind.requires_logging_directory else kind(project)
    tracker.start()
    if name == "tensorboard":
        _write_hyperparameters(tracker.writer, run.config)
    else:
        values = run.config.plain()
        tracker.store_init_configuration(dict(_flat(values)) if name == "mlflow" else values)
    return tracker


def _write_hyperparameters(writer: Any, config: Config) -> None:
    """The configuration as text, and as a row of TensorBoard's table of hyperparameters.

    Accelerate would write the row into a directory of its own for each session, named by the time.
    """
    from torch.utils.tensorboard.summary import hparams

    writer.add_text("configuration", "".join(f"    {line}\n" for line in config.yaml().splitlines()))
    for summary in hparams(dict(_flat(config.plain())), {}):
        writer.file_writer.add_summary(summary)
    writer.flush()


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, str | int | float]]:
    """A configuration as single values by their path: ``training.steps``, ``losses.0.name``."""
    if isinstance(values, Mapping | list) and values:
        items = values.items() if isinstance(values, Mapping) else enumerate(values)
        for key, value in items:
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        is_plain = isinstance(values, str | int | float) and not isinstance(values, bool)  # as numbers, true would be 1
        yield path, values if is_plain else json.dumps(values)


def _show(name: str, tracker: Any, picture: Image.Image, path: Path, step: int) -> None:
    """Pass a picture to a tracker that takes pictures."""
    if name == "tensorboard":
        tracker.log_images({"samples": np.asarray(picture)[None]}, step, dataformats="NHWC")
    elif name == "mlflow":
        tracker.log_artifact(str(path), "samples")
    elif name == "trackio":
        import trackio

        tracker.log({"samples": trackio.Image(picture)}, step=step)
    elif name in ("wandb", "swanlab"):
        tracker.log_images({"samples": [picture]}, step)
