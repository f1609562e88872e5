"""The run directory: make or resume it, then keep it up to date. Only the main process writes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from coupling.data.pictures import picture_grid, save_png
from coupling.errors import InputError
from coupling.metrics.scoring import Score
from coupling.networks.weights import fingerprint
from coupling.runs import checkpoint
from coupling.runs.directory import RunDirectory
from coupling.runs.provenance import session_starts
from coupling.runs.resumption import check_same_data, run_to_resume
from coupling.system.seeds import derive_seed
from coupling.system.terminal import print_line, warn
from coupling.training.checkpoint_writer import CheckpointWriter
from coupling.training.environment import continued, describe_environment, environment_changes
from coupling.training.loss_means import NOT_FINITE
from coupling.training.setup import Session
from coupling.training.trackers import TrackedRun, Trackers

PICTURE_COLUMNS = 12

KERNELS = "kernels.json"
"""File of the measured kernels: ``{operation and shapes: way}``."""


class Recorder:
    """Writes a training's log, pictures, checkpoints and summary; counts its steps and seconds."""

    def __init__(self, session: Session, directory: RunDirectory) -> None:
        self.session = session
        self.directory = directory
        self.step = 0
        """Number of steps done."""
        self.seconds = 0.0
        """Training time of this run, earlier sessions included."""
        self._trackers: Trackers | None = None
        self._writer = CheckpointWriter()
        self._saved = 0
        """Step of the checkpoint that was written last, or is being written."""

    # -- open --------------------------------------------------------------------------------

    def begin(self, environment: Mapping[str, Any], *, resume: bool) -> None:
        """Restore the newest checkpoint if ``resume``; record the environment; start the trackers.

        Raises:
            InputError: the run cannot be resumed with these data, steps or checkpoints, or a tracker cannot be started.
        """
        session = self.session
        if resume:
            session.processes.agree(run_directory=self.directory.path.is_dir())
            check_same_data(self.directory, {name: data.fingerprints for name, data in session.data.items()})
            self._restore()
            session.processes.agree(step=self.step, restored_weights=fingerprint(session.networks.generator))
        choices = session.choose_kernels(self.directory.read_json(KERNELS) if resume else {})
        if session.is_main:
            if choices:
                self.directory.write_json(KERNELS, dict(choices))
            if resume:
                self.directory.write_config()  # steps and intervals may be new
            self._write_environment(environment)
            self._trackers = Trackers(TrackedRun(session.config, self.directory.path, self._first_start(), self.step))
        if session.inheritance is not None:  # a resumed run begins with this checkpoint, and needs no parent
            if session.is_main:
                self.directory.write_json("parent.json", session.inheritance.plain())
            self.save()
            self.complete()

    def _first_start(self) -> str:
        """When the first session of the run started."""
        return session_starts(self.directory.read_json("environment.json"))[0]

    def _write_environment(self, now: Mapping[str, Any]) -> None:
        before = self.directory.read_json("environment.json")
        for line in environment_changes(before, now):
            warn(f"--resume: {line}; the results may differ from those of an uninterrupted run")
        self.directory.write_json("environment.json", continued(before, now))

    def _restore(self) -> None:
        session, path, steps = self.session, self.directory.path, self.session.config.training.steps
        found, complaints = checkpoint.newest(self.directory.checkpoints)
        for complaint in complaints if session.is_main else ():
            warn(f"skipped: {complaint}")
        if found is None and complaints:
            raise InputError(
                f"{self.directory.checkpoints}: none of its {len(complaints)} checkpoints is complete (see above); "
                "restore one, or start a new run without --resume"
            )
        if found is None and session.config.training.start is not None:
            raise InputError(
                f"{path}: ended before its first checkpoint, so that the weights it started from are unknown; start a "
                "new run without --resume"
            )
        if found is None:
            if session.is_main:
                self.directory.rewind(0)
                print_line("no checkpoint yet: starting again from step 0")
            return  # the steps will be the same
        session.state.restore(found)
        self.step = found.step
        if self.step > steps:
            raise InputError(
                f"training.steps: {steps:,} is less than the {self.step:,} steps that {path} has done; give more, or "
                "start a new run"
            )
        if session.is_main:
            summary = self.directory.read_json("summary.json")
            self.seconds = self.directory.rewind(self.step)
            if summary.get("step") == self.step:  # later than the last line of the log
                self.seconds = max(self.seconds, summary.get("seconds", 0.0))
            print_line(f"{path}: resuming from step {self.step:,} of {steps:,}")

    # -- keep --------------------------------------------------------------------------------

    def log(self, values: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl, and pass the values to the trackers."""
        if self.session.is_main:
            self.directory.log(self.step, self.seconds, values)
            if self._trackers is not None:
                self._trackers.log(values, self.step)

    def note(self, score: Score) -> None:
        """Log a metric's score, and record in evaluation.json how it was computed."""
        self.log(score.values)
        self.directory.note({score.name: score.record}, self.step)

    def draw(self) -> None:
        """Write a picture of corresponding samples, of the same z each time."""
        model = self.session.model(self.step)
        if self.session.is_main and any(domain.is_drawable for domain in model.domains.values()):
            samples = model.sample(PICTURE_COLUMNS, seed=derive_seed(self.session.config.seed, "picture"))
            picture = picture_grid(samples, model.domains, PICTURE_COLUMNS)
            with self.directory.writing(self.directory.picture(self.step)) as path:
                save_png(picture, path)
            if self._trackers is not None:
                self._trackers.show(picture, path, self.step)

    def save(self) -> None:
        """Begin to write a checkpoint of this step; nothing that is not finite is saved."""
        if self.session.is_main:
            self.save_checkpoint()
        else:
            self.check_finite()

    def save_checkpoint(self) -> None:
        """Copy what a checkpoint holds, and write it in a thread. Called on the main process alone."""
        self.check_finite()
        self.settle()
        copied, folder = self.session.state.snapshot(self.session.config, self.step), self.directory.checkpoints

        def write() -> None:
            self.directory.settle()
            copied.write(folder)

        self._saved = self.step
        self._writer.start(write)

    def settle(self, *, wait: bool = True) -> None:
        """Wait until the last checkpoint is on the disk; then delete old ones and write the summary.

        It is called before anything of a later step is written into the directory, so that what a kill leaves there
        never tells of later steps than those since the checkpoint before. ``wait``: False: only if it is there already.

        Raises:
            RunError: it could not be written. The run ends at its step, as if the steps had waited for it.
        """
        if not self._writer.pending or not (wait or self._writer.done):
            return
        try:
            self._writer.finish()
        except Exception:
            self.step = self._saved
            raise
        self.prune()
        self.summarise("running")

    def complete(self) -> None:
        """Wait until the last checkpoint is on the disk, on all processes: a launcher may end one that still writes."""
        self.settle()
        self.session.accelerator.wait_for_everyone()

    def check_finite(self) -> None:
        """Raise :class:`RunError` if anything that would be saved is not finite."""
        self.session.state.check_finite(self.step, NOT_FINITE)

    def prune(self) -> None:
        """Delete old checkpoints, except the newest and the best."""
        best = self.session.measurement.best_scores.best_step
        checkpoint.prune(self.directory.checkpoints, self.session.config.training.keep_checkpoints, best)

    def summarise(self, status: str) -> None:
        """Write summary.json; ``status``: running, finished, interrupted or failed."""
        if self.session.is_main:
            scores = self.session.measurement.best_scores
            self.directory.write_json(
                "summary.json",
                {
                    "status": status,
                    "step": self.step,
                    "steps": self.session.config.training.steps,
                    "seconds": round(self.seconds, 1),
                    "last": scores.last,
                    "best": scores.best,
                    "beside": scores.beside,
                    "collapsed": self.session.collapse.collapsed,
                    "best_checkpoint": self._best_checkpoint(),
                },
            )

    def _best_checkpoint(self) -> str | None:
        """The checkpoint of the first metric's best step, as a path in the run's directory."""
        step, folder = self.session.measurement.best_scores.best_step, self.directory.checkpoints
        path = folder / f"step-{step or 0:07d}"
        return None if step is None or not path.is_dir() else str(path.relative_to(self.directory.path))

    def close(self) -> None:
        """Release the run directory, and end the trackers."""
        self.directory.release()
        if self._trackers is not None:
            self._trackers.close()


def open_run(session: Session, output: Path | None, *, resume: bool) -> Recorder:
    """Make the run's directory, or resume an existing one. A run that cannot begin leaves nothing behind."""
    environment = describe_environment(session.config, session.accelerator, session.data, session.plugins)
    above = [] if resume else _missing_above(output)
    directory = None
    try:
        directory = _open_directory(session, output, resume=resume)
        recorder = Recorder(session, directory)
        recorder.begin(environment, resume=resume)
    except BaseException:
        if directory is not None:
            directory.release()
        if session.is_main and not resume:
            if directory is not None:
                shutil.rmtree(directory.path, ignore_errors=True)
            for folder in above:
                with suppress(OSError):  # it was not made, or another run has begun there
                    folder.rmdir()
        raise
    return recorder


def _missing_above(output: Path | None) -> list[Path]:
    """The folders that are made for a run's directory to lie in, the innermost first."""
    return [folder for folder in (output or Path("runs/x")).parents if not folder.exists()]


def _open_directory(session: Session, output: Path | None, *, resume: bool) -> RunDirectory:
    """The main process chooses and locks the directory; the other processes receive its path."""
    config, path, directory = session.config, None, None
    if session.is_main:
        if resume:
            directory = run_to_resume(config, output, session.plugins.registry)
            directory.lock()
        else:
            directory = RunDirectory.create(config, output)
        path = str(directory.path)
    if session.processes.count > 1:
        from accelerate.utils import broadcast_object_list

        [path] = broadcast_object_list([path])
    assert path is not None
    return directory or RunDirectory(Path(path), config)
