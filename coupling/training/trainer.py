"""Training: the loop around Algorithm 1. Step, log, save, measure, draw."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from coupling.config.config import Config
from coupling.errors import InputError, RunError
from coupling.plugins import GivenPlugins, Plugins, plugins_of
from coupling.runs.directory import RunDirectory
from coupling.runs.resumption import check_checkpoints_kept, is_finished, run_to_resume
from coupling.system.distributed import explain_lost_process
from coupling.system.file_lock import check_not_in_use
from coupling.system.launchers import launched_processes
from coupling.system.signals import Interrupted, StopRequest, caught_signals
from coupling.system.terminal import print_line, warn
from coupling.training.callbacks import Callbacks
from coupling.training.launch import is_main_process
from coupling.training.memory import explain_out_of_memory
from coupling.training.progress_bar import TrainingBar
from coupling.training.recorder import Recorder, open_run
from coupling.training.setup import Session, set_up


def train(
    config: Config,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    plugins: GivenPlugins = None,
    callbacks: Iterable[object] = (),
) -> RunDirectory:
    """Train a configuration by Algorithm 1, as ``coupling run`` does.

    Args:
        config: the configuration, from :func:`coupling.load_config`.
        output: the run's directory; by default a new one, ``runs/<name>-<NNN>``.
        resume: continue the run in ``output`` (by default the newest of this name) from its newest complete
            checkpoint; the result is that of an uninterrupted run, bit for bit.
        plugins: the components that the configuration names; by default those of this environment.
        callbacks: called on the main process like the hooks of a plugin: objects with the methods
            ``after_step(run, step, losses)``, for each step that is logged, or ``after_training(run, model)``, or
            functions, which are called as ``after_step``. Each takes those of these arguments that it names. One that
            raises an exception gives a warning; ``signal.raise_signal(signal.SIGINT)`` saves and ends the run.

    Returns:
        The run's directory.

    Raises:
        InputError: something that the configuration names or a callback cannot be used, or there is nothing to resume.
        RunError: the run failed; the message says how to continue.
    """
    plugins, checked = plugins_of(plugins), Callbacks(callbacks)
    path = None if output is None else Path(output)
    if not resume:
        RunDirectory.check_not_taken(path)
        if is_main_process():
            RunDirectory.try_output(path)
    elif (finished := _finished_run(config, path, plugins)) is not None:
        return finished
    with explain_lost_process():
        with explain_out_of_memory(config, lambda: "before the first step"):
            session = set_up(config, plugins, resume=resume)
            recorder = open_run(session, path, resume=resume)
        return Trainer(session, recorder, checked).run()


def _finished_run(config: Config, path: Path | None, plugins: Plugins) -> RunDirectory | None:
    """The run to resume if it is finished already; a run that cannot be resumed is an error before heavy work."""
    run = run_to_resume(config, path, plugins.registry)
    if launched_processes() == 1:  # with several processes, one may already hold the lock for all
        check_not_in_use(run.path)
    if not is_finished(run):
        check_checkpoints_kept(run, plugins.registry)
        return None
    if is_main_process():
        print_line(f"{run.path}: finished at step {config.training.steps:,}; set more training.steps to continue")
    return run


@dataclass(frozen=True)
class Due:
    """The actions that are due after a step."""

    last: bool
    log: bool
    save: bool
    measure: bool
    draw: bool

    def __bool__(self) -> bool:
        """Whether anything is due, so that something is written."""
        return self.last or self.log or self.save or self.measure or self.draw


class Trainer:
    """The loop over the steps of one run."""

    def __init__(self, session: Session, recorder: Recorder, callbacks: Callbacks | None = None) -> None:
        self.session = session
        self.callbacks = callbacks or Callbacks()
        self.recorder = recorder
        self.settings = session.config.training

    @property
    def step(self) -> int:
        """Steps done."""
        return self.recorder.step

    def run(self) -> RunDirectory:
        """Train to the last step. After a signal or an error, the run can be resumed."""
        status = "failed"
        try:
            self.recorder.summarise("running")
            self._announce()
            self._train()
            status = "finished"
            if self.session.is_main:
                self._notify("after_training", model=self.session.model(self.step))
        except Interrupted:
            status = "interrupted"
            raise
        except InputError as error:  # for example, data have disappeared
            raise RunError(f"step {self.step + 1:,}: {error}; fix it, then continue with --resume") from None
        finally:
            # The first failure is reported. A checkpoint that is being written is completed in any case.
            for end in (self.recorder.settle, partial(self.recorder.summarise, status)):
                with contextlib.suppress(RunError) if status == "failed" else contextlib.nullcontext():
                    end()
            self.recorder.close()
        return self.recorder.directory

    def _announce(self) -> None:
        if self.session.is_main:
            for line in (f"run: {self.recorder.directory.path}", *self.session.describe()):
                print_line(line)

    def _train(self) -> None:
        recorder, session = self.recorder, self.session
        started = time.monotonic() - recorder.seconds
        with self._explained() as (stop_request, bar), self._inputs_ahead():
            with bar.aside():
                self._start(stop_request)
            while self.step < self.settings.steps:
                losses = session.inputs.take_step(self.step, session.algorithm, session.average)
                recorder.step += 1
                session.means.add(self.step, losses)
                recorder.seconds = time.monotonic() - started
                bar.advance()
                # A signal to one process ends all. A signal after this line is handled in _follow or after the next
                # step.
                stop = 0 if self.step == self.settings.steps else session.processes.largest(stop_request.number)
                due = self._due(stop)
                with bar.aside():
                    recorder.settle(wait=bool(due))
                self._log(due, bar)
                with bar.aside():
                    stop = self._follow(due, stop, stop_request)
                self._end(stop)

    def _inputs_ahead(self) -> contextlib.AbstractContextManager[None]:
        return self.session.inputs.ahead(self.settings.steps) if self.settings.prefetch else contextlib.nullcontext()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[tuple[StopRequest, TrainingBar]]:
        """Catch signals, explain errors and show the progress bar."""
        session = self.session
        with (
            explain_out_of_memory(session.config, self._now, session.networks, session.batch),
            caught_signals() as stop_request,
            explain_lost_process(),
            self._bar() as bar,
        ):
            yield stop_request, bar

    def _start(self, stop_request: StopRequest) -> None:
        """Draw the first picture; in a resumed run, measure and draw what was still due at its checkpoint."""
        if self.step == 0:
            self.recorder.draw()
            return
        with stop_request.interruptible():
            self._look(self._due(0), saved=True)
            if self.session.is_main:
                self.recorder.prune()
            self.recorder.summarise("running")
        self._end(self.session.processes.largest(stop_request.number))

    def _due(self, stop: int) -> Due:
        """The actions that are due after this step; ``stop``: a signal's number, 0 for none."""
        settings, last = self.settings, self.step == self.settings.steps

        def due(every: int | None) -> bool:
            return last or (every is not None and self.step % every == 0)

        return Due(
            last=last,
            log=due(settings.log_every),
            save=due(settings.checkpoint_every) or stop > 0,
            measure=self.session.measurement.due(self.step, last),
            draw=due(settings.sample_every),
        )

    def _log(self, due: Due, bar: TrainingBar) -> None:
        """Log the losses and the batch's diversity; a loss that is not finite is an error before anything is saved."""
        session = self.session
        if due.log:
            values = session.means.take()
            diversity = session.collapse.take()
            bar.show(values, session.inputs.waited)
            for warning in session.collapse.note(self.step, diversity) if session.is_main else ():
                warn(warning)
            self.recorder.log(values | diversity)
            if session.is_main:
                self._notify("after_step", step=self.step, losses=values)
        elif due.save or session.measurement.leads(self.step):
            session.means.read()

    def _notify(self, hook: str, **values: Any) -> None:
        """Call a hook of all plugins, then of the callbacks."""
        for called in (self.session.plugins, self.callbacks):
            called.notify(hook, run=self.recorder.directory, **values)

    def _follow(self, due: Due, stop: int, stop_request: StopRequest) -> int:
        """Save, measure and draw what is due; returns the signal that ends the run, 0 for none."""
        if due.save:  # first, as measuring and drawing may fail
            self.recorder.save()
        if stop:  # the resumed run measures and draws what is due
            self.recorder.complete()
            return stop
        with stop_request.interruptible():
            self._look(due, due.save)
        if due.log or due.save or due.measure or due.draw:  # a signal may have come during this work
            stop = self.session.processes.largest(0 if due.last and not stop_request.cut else stop_request.number)
            if stop:
                if not due.save:
                    self.session.means.read()
                    self.recorder.save()
                self.recorder.complete()
        return stop

    def _look(self, due: Due, saved: bool) -> None:
        """Measure and draw what is due. ``saved``: whether this step's checkpoint is there, or is being written."""
        session, recorder = self.session, self.recorder
        if due.measure and session.is_main:
            session.inputs.settle()  # metrics read the data
            best = session.measurement.take(session.model(self.step), self.step, due.last, recorder.note)
            if best and not saved:
                recorder.save_checkpoint()
        if due.draw:
            recorder.draw()
        if due.measure or due.last:
            recorder.settle()
            recorder.summarise("running")

    def _end(self, stop: int) -> None:
        """Raise :class:`Interrupted` if a signal has come; everything is saved by then."""
        if stop:
            raise Interrupted(stop, self.step, self.recorder.directory.path)

    def _now(self) -> str:
        return f"at step {self.step + 1:,} on {self.session.device}"

    def _bar(self) -> TrainingBar:
        images = self.settings.batch_size * len(self.session.data)
        name = self.session.config.name
        return TrainingBar(name, self.step, self.settings.steps, images=images, shown=self.session.is_main)
