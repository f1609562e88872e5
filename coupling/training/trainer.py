"""The loop: step, measure, log, draw, save. Reads top to bottom."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from coupling.config.config import Config
from coupling.data.batches import Batches
from coupling.data.domain_data import open_domains
from coupling.data.pictures import picture_grid, save_png
from coupling.errors import InputError, RunError
from coupling.losses.loss import labelled_domains
from coupling.metrics.scoring import Score
from coupling.model.model import CoupledModel
from coupling.networks.build import assemble
from coupling.networks.coupled import to_device
from coupling.networks.latent import LatentBatches
from coupling.networks.weights import fingerprint
from coupling.plugins import GivenPlugins, Plugins, plugins_of
from coupling.runs import checkpoint
from coupling.runs.directory import RunDirectory
from coupling.runs.resumption import check_same_data, is_finished, run_to_resume
from coupling.system.distributed import Processes, explain_lost_process
from coupling.system.file_lock import check_not_in_use
from coupling.system.foreign_code import guarded
from coupling.system.seeds import derive_seed, seed_all, torch_generator
from coupling.system.signals import Interrupted, caught_signals
from coupling.system.terminal import print_line
from coupling.training.algorithm import Losses
from coupling.training.batch_statistics import JOINT, set_statistics
from coupling.training.environment import continued, describe_environment, environment_changes
from coupling.training.launch import make_accelerator, speaks
from coupling.training.loss_means import LossMeans
from coupling.training.measurement import Measurement
from coupling.training.memory import explain_out_of_memory
from coupling.training.progress_bar import TrainingBar
from coupling.training.setup import make_algorithm, moving_average
from coupling.training.state import TrainingState

PICTURE_COLUMNS = 12


_BROKEN = (
    "the run stops, its last checkpoint is untouched; lower optimizer.lr, use precision: fp32, or another loss, "
    "in a new run"
)


def train(
    config: Config,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    plugins: GivenPlugins = None,
) -> RunDirectory:
    """Train a configuration; the same as ``coupling run``. Returns the run's directory.

    ``resume`` goes on with the run in ``output`` (default: the newest of this name under runs/)
    from its newest whole checkpoint; what it then computes is what it would have computed.
    """
    plugins = plugins_of(plugins)
    path = None if output is None else Path(output)
    if resume:  # what cannot go on is said before anything heavy is done
        before = run_to_resume(config, path, plugins.registry)
        if os.environ.get("WORLD_SIZE", "1") == "1":  # of several, one may already hold it for all
            check_not_in_use(before.path)
        if is_finished(before):
            if speaks():
                print_line(
                    f"{before.path}: finished at step {config.training.steps:,}; give more training.steps to go on"
                )
            return before
    else:
        RunDirectory.check_not_taken(path)
    with explain_lost_process():
        with explain_out_of_memory(config, lambda: "before the first step"):
            trainer = Trainer(config, plugins)
            trainer.open(path, resume=resume)
        return trainer.run()


class Trainer:
    """One run: its parts, and the loop over them."""

    def __init__(self, config: Config, plugins: Plugins) -> None:
        self.config = config
        self.plugins = plugins
        settings = config.training
        self.accelerator = make_accelerator(config)
        self.device = self.accelerator.device
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        self.processes = Processes(rank, processes)
        self.data = open_domains(config, plugins.registry, self.accelerator.main_process_first)
        self.measurement = Measurement(config, self.data, plugins.registry)
        domains = {name: data.domain for name, data in self.data.items()}
        self.networks = assemble(config, domains, plugins.registry)
        teams = self.networks.generator, self.networks.discriminator
        teacher = any(loss.needs_average for loss in self.networks.losses.values())
        averaged = self.networks.discriminator if teacher else None
        warning = set_statistics(teams, settings, processes, averaged=averaged)
        for told in (JOINT if config.batch_statistics == "joint" else None, warning):
            if told and self.accelerator.is_main_process:
                print_line(told)
        with self.accelerator.main_process_first():
            for data in self.data.values():
                data.prepare()
        if self.accelerator.is_main_process:
            self.measurement.prepare()
        self.streams = {
            name: Batches(data, config.seed, settings.batch_size, rank, processes) for name, data in self.data.items()
        }
        self.labelled = self._check_labels()
        """Domains whose labels some loss reads."""
        for stream in self.streams.values():
            stream.batch(0)  # what is wrong with the samples is said before anything is written
        self.latents = LatentBatches(config.latent, config.seed, settings.batch_size, rank, processes)
        everything = *teams, *self.networks.losses.values()
        for network in everything:
            to_device(network, self.device)
        if processes > 1:
            self.processes.agree(
                configuration=config.yaml(),
                data=self._fingerprints,
                initial_weights=fingerprint(*everything),
            )
        self.average = moving_average(config, self.networks)
        self.algorithm = make_algorithm(config, self.networks, self._uniform, self.device, processes, self.average)
        trained = self.algorithm.generators, self.algorithm.discriminators
        self.means = LossMeans(self._across, _BROKEN, self.algorithm.only)
        self.standings = self.measurement.standings
        self.state = TrainingState(self.networks, self.average, trained, self.means, self.standings)
        self.step = 0
        """Steps done."""
        self.rank = rank
        self.seconds = 0.0
        """Training time of earlier sessions of this run."""
        self.run_directory: RunDirectory

    @property
    def _fingerprints(self) -> dict[str, str]:
        return {name: data.fingerprint for name, data in self.data.items()}

    def _uniform(self, step: int, purpose: str, numbers: int) -> Tensor:
        batch = self.config.training.batch_size
        drawn = torch.rand(batch, numbers, generator=torch_generator(self.config.seed, "loss", purpose, step))
        return self._place(drawn[self.latents.slice])

    def _check_labels(self) -> list[str]:
        """Show each loss the labels that it reads; returns the domains that they are of."""
        for number, loss in enumerate(self.networks.losses.values()):
            path, names = f"losses[{number}]", loss.labels(list(self.data))
            labels = {name: self.data[name].labels(range(len(self.data[name]))) for name in names}
            with guarded(f"{path}: check_labels() of {self.config.losses[number].name}", f"{path}."):
                loss.check_labels(labels)
        return labelled_domains(self.networks.losses.values(), list(self.data))

    # -- the run's directory ---------------------------------------------------------------

    def open(self, output: Path | None, *, resume: bool) -> None:
        """Make the run's directory, or go on with an existing one."""
        path = None
        environment = {}
        if self.accelerator.is_main_process:
            environment = describe_environment(self.config, self.accelerator, self.data, self.plugins)
            if resume:
                self.run_directory = run_to_resume(self.config, output, self.plugins.registry)
                self.run_directory.lock()
            else:
                self.run_directory = RunDirectory.create(self.config, output)
            path = str(self.run_directory.path)
        if self.processes.count > 1:
            from accelerate.utils import broadcast_object_list

            [path] = broadcast_object_list([path])
        assert path is not None
        if not self.accelerator.is_main_process:
            self.run_directory = RunDirectory(Path(path), self.config)
        try:
            if resume:
                self.processes.agree(run_directory=self.run_directory.path.is_dir())
                check_same_data(self.run_directory, {name: data.fingerprints for name, data in self.data.items()})
                self._restore()
                self.processes.agree(step=self.step, restored_weights=fingerprint(self.networks.generator))
                if self.accelerator.is_main_process:
                    self.run_directory.write_config()  # steps and intervals may be new
            if self.accelerator.is_main_process:
                before = self.run_directory.read_json("environment.json")
                for line in environment_changes(before, environment):
                    print_line(f"--resume: {line}; the results may differ from those of one go")
                self.run_directory.write_json("environment.json", continued(before, environment))
        except BaseException:
            self.run_directory.release()
            raise
        if self.config.trackers:
            project = self.accelerator.project_configuration
            project.project_dir = project.logging_dir = str(self.run_directory.path)
            self.accelerator.init_trackers("trackers", config={"configuration": self.config.yaml()})

    def _restore(self) -> None:
        found, complaints = checkpoint.newest(self.run_directory.checkpoints)
        for complaint in complaints if self.accelerator.is_main_process else ():
            print_line(f"skipped: {complaint}")
        if found is None and complaints:
            raise InputError(
                f"{self.run_directory.checkpoints}: none of its {len(complaints)} checkpoints is whole (see above); "
                "bring one back, or move them away to start again from step 0"
            )
        if found is None:
            if self.accelerator.is_main_process:
                self.run_directory.rewind(0)
                print_line("no checkpoint yet: starting again from step 0")
            return  # the steps are the same
        self.state.restore(found)
        self.step = found.step
        if self.step > self.config.training.steps:
            raise InputError(
                f"training.steps: {self.config.training.steps:,} is less than the {self.step:,} steps that "
                f"{self.run_directory.path} has done; give more, or start a new run"
            )
        summary = self.run_directory.read_json("summary.json")
        if self.accelerator.is_main_process:
            self.seconds = self.run_directory.rewind(self.step)
            if summary.get("step") == self.step:  # more than the last line says
                self.seconds = max(self.seconds, summary.get("seconds", 0.0))
            print_line(f"{self.run_directory.path}: going on from step {self.step:,} of {self.config.training.steps:,}")

    # -- the loop ----------------------------------------------------------------------------

    def run(self) -> RunDirectory:
        """Train to the last step; on a signal or an error, leave a run that can go on."""
        settings, directory = self.config.training, self.run_directory
        started = time.monotonic() - self.seconds
        status = "failed"
        try:
            self._summarise("running")
            with (
                explain_out_of_memory(self.config, self._now, self.networks, self.processes.count),
                caught_signals() as order,
                explain_lost_process(),
                self._bar() as bar,
            ):
                with bar.aside():
                    if self.step == 0:
                        self._draw()
                    else:  # the run may have died between its checkpoint and what follows that
                        with order.interruptible():
                            self._look(self.step == settings.steps, saved=True)
                        self._end(self.processes.largest(order.number))
                while self.step < settings.steps:
                    losses = self._one_step()
                    self.step += 1
                    self.means.add(self.step, losses)
                    self.seconds = time.monotonic() - started
                    bar.advance()
                    last = self.step == settings.steps
                    # A signal to one process ends all. One that comes after this look at it is seen after the next
                    # step, or below.
                    stop = 0 if last else self.processes.largest(order.number)
                    saved = self._due(settings.checkpoint_every, last or stop > 0)
                    logged = self._due(settings.log_every, last)
                    if logged:
                        values = self.means.take()
                        bar.show(values)
                        self._log(values)
                        self._after_step(values)
                    elif saved or self.measurement.leads(self.step):
                        self.means.read()  # a loss that is not finite is named before anything is saved
                    with bar.aside():
                        if saved:  # first: what follows may fail
                            self._save()
                        if not stop:  # else it is done when the run goes on
                            with order.interruptible():
                                self._look(last, saved)
                            if logged or saved or self._looks(last):  # it took its time: no further step, then
                                stop = self.processes.largest(0 if last and not order.cut else order.number)
                                if stop and not saved:
                                    self.means.read()
                                    self._save()
                    self._end(stop)
            status = "finished"
            if self.accelerator.is_main_process:
                self.plugins.notify("after_training", run=directory, model=self.model())
        except Interrupted:
            status = "interrupted"
            raise
        except InputError as error:  # data that went away, say: the run itself was rightly asked for
            raise RunError(f"step {self.step + 1:,}: {error}; mend it, then go on with --resume") from None
        finally:
            with contextlib.suppress(RunError) if status == "failed" else contextlib.nullcontext():
                self._summarise(status)  # the first failure is the one to be told
            directory.release()
            if self.config.trackers:
                self.accelerator.end_training()
        return directory

    def _end(self, stop: int) -> None:
        """Raise :class:`Interrupted` where a signal, not 0, has come; everything is saved."""
        if stop:
            raise Interrupted(stop, self.step, self.run_directory.path)

    def _one_step(self) -> Losses:
        """Algorithm 1 once; what it draws is a function of (seed, step, process) alone."""
        step = self.step
        seed_all(derive_seed(self.config.seed, "step", step, self.rank))
        z = self._place(self.latents.batch(step))
        fresh = self._place(self.latents.batch(step, "fresh z")) if self.config.training.fresh_latent else None
        real = {name: self._place(stream.batch(step)) for name, stream in self.streams.items()}
        labels = {name: self.streams[name].labels(step).to(self.device) for name in self.labelled}
        losses = self.algorithm.step(step, z, real, fresh, labels)
        if self.average is not None:
            self.average.update(step)
        return losses

    def _place(self, samples: Tensor) -> Tensor:
        memory = torch.channels_last if samples.dim() == 4 else torch.contiguous_format
        if self.device.type == "cuda":
            samples = samples.pin_memory()
        return samples.to(self.device, non_blocking=True, memory_format=memory)

    def _due(self, every: int | None, last: bool) -> bool:
        return last or (every is not None and self.step % every == 0)

    def _across(self, numbers: Tensor) -> Tensor:
        """The mean over processes."""
        if self.processes.count > 1:
            numbers = self.accelerator.reduce(numbers, "mean")
        return numbers

    def _now(self) -> str:
        return f"at step {self.step + 1:,} on {self.device}"

    def _log(self, values: Mapping[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.run_directory.log(self.step, self.seconds, values)
        if self.config.trackers:
            self.accelerator.log(dict(values), step=self.step)

    def _note(self, score: Score) -> None:
        self._log(score.values)
        self.run_directory.note({score.name: score.record}, self.step)

    def _after_step(self, values: Mapping[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.plugins.notify("after_step", run=self.run_directory, step=self.step, losses=values)

    def model(self) -> CoupledModel:
        """The model as users will load it: averaged weights where they are kept."""
        shown = self.state.shown
        domains = {name: data.domain for name, data in self.data.items()}
        return CoupledModel(self.config, domains, shown.generator, shown.discriminator, self.step, shown.losses)

    def _looks(self, last: bool) -> bool:
        """Whether there is anything to measure or to draw."""
        return self.measurement.due(self.step, last) or self._due(self.config.training.sample_every, last)

    def _look(self, last: bool, saved: bool) -> None:
        """Measure and draw what is due, then part with old checkpoints."""
        measured = self.measurement.due(self.step, last)
        if measured and self.accelerator.is_main_process:
            best = self.measurement.take(self.model(), self.step, last, self._note)
            if best and not saved:
                self.state.check_finite(self.step, _BROKEN)
                self._write_checkpoint()
                saved = True
        if self._due(self.config.training.sample_every, last):
            self._draw()
        if saved and self.accelerator.is_main_process:
            keep = self.config.training.keep_checkpoints
            checkpoint.prune(self.run_directory.checkpoints, keep, self.standings.best_step)
        if saved or measured:
            self._summarise("running")

    def _draw(self) -> None:
        """One picture of corresponding samples, of the same z every time."""
        model = self.model()
        if self.accelerator.is_main_process and any(d.is_drawable for d in model.domains.values()):
            samples = model.sample(PICTURE_COLUMNS, seed=derive_seed(self.config.seed, "picture"))
            with self.run_directory.writing(self.run_directory.picture(self.step)) as path:
                save_png(picture_grid(samples, model.domains, PICTURE_COLUMNS), path)

    def _save(self) -> None:
        self.state.check_finite(self.step, _BROKEN)
        if self.accelerator.is_main_process:
            self._write_checkpoint()
            self._summarise("running")
        self.accelerator.wait_for_everyone()

    def _write_checkpoint(self) -> None:
        self.run_directory.settle()
        self.state.save(self.run_directory.checkpoints, self.config, self.step)

    def _summarise(self, status: str) -> None:
        if self.accelerator.is_main_process:
            self.run_directory.write_json(
                "summary.json",
                {
                    "status": status,
                    "step": self.step,
                    "steps": self.config.training.steps,
                    "seconds": round(self.seconds, 1),
                    "last": self.standings.last,
                    "best": self.standings.best,
                    "best_checkpoint": self._best_checkpoint(),
                },
            )

    def _best_checkpoint(self) -> str | None:
        """The checkpoint of the first metric's best step, as a path in the run's directory."""
        step, folder = self.standings.best_step, self.run_directory.checkpoints
        path = folder / f"step-{step or 0:07d}"
        return None if step is None or not path.is_dir() else str(path.relative_to(self.run_directory.path))

    def _bar(self) -> TrainingBar:
        settings = self.config.training
        return TrainingBar(
            self.config.name,
            self.step,
            settings.steps,
            images=settings.batch_size * len(self.data),
            shown=self.accelerator.is_main_process,
        )
