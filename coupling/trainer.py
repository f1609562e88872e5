"""The loop: step, measure, log, draw, save. Reads top to bottom."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from coupling import checkpoint
from coupling.algorithm import Algorithm1, Losses, Team
from coupling.assembly import assemble, make_optimizer
from coupling.config import Config, load_config
from coupling.ema import MovingAverage
from coupling.environment import describe_environment
from coupling.errors import ConfigError, CouplingError, InputError, RunError, nearest
from coupling.metric import Evaluation, open_metrics
from coupling.model import CoupledModel, load_tensors, metadata, model_tensors
from coupling.networks import CoupledGenerator
from coupling.normalisation import DomainBatchNorm
from coupling.parts import open_domains
from coupling.pictures import grid, save_png
from coupling.plugins import Plugins, installed
from coupling.randomness import derive, generator
from coupling.run_directory import MARKER, RunDirectory, latest_numbers, write_text
from coupling.streams import LatentStream, Stream
from coupling.terminal import remark
from coupling.training_bar import TrainingBar

PICTURE_COLUMNS = 12
MAY_CHANGE = (
    "training.steps",
    "training.log_every",
    "training.sample_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "trackers",
    "metrics",
)
"""Keys that may differ when a run is resumed: they do not change what is learned at a step."""


_BROKEN = (
    "the run stops, its last checkpoint is untouched; lower optimizer.lr, use precision: fp32, or another loss, "
    "in a new run"
)


class Interrupted(CouplingError):  # noqa: N818  (as KeyboardInterrupt)
    """A signal ended the run, after everything was saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


def train(
    config: Config,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    plugins: Plugins | None = None,
) -> RunDirectory:
    """Train a configuration; the same as ``coupling run``. Returns the run's directory.

    ``resume`` goes on with the run in ``output`` (default: the newest of this name under runs/)
    from its newest whole checkpoint; what it then computes is what it would have computed.
    """
    trainer = Trainer(config, plugins or installed())
    trainer.open(None if output is None else Path(output), resume=resume)
    return trainer.run()


class Trainer:
    """One run: its parts, and the loop over them."""

    def __init__(self, config: Config, plugins: Plugins) -> None:
        self.config = config
        self.plugins = plugins
        settings = config.training
        self.accelerator = Accelerator(log_with=_trackers(config.trackers), project_dir=".")
        self.device = self.accelerator.device
        self.processes = self.accelerator.num_processes
        rank = self.accelerator.process_index
        _refuse_unconnected(self.processes)
        if settings.batch_size % self.processes:
            raise ConfigError(
                f"training.batch_size: {settings.batch_size} cannot be divided among {self.processes} processes; "
                f"choose a multiple of {self.processes}"
            )
        self.data = open_domains(config, plugins)
        self.metrics = open_metrics(config, self.data, plugins.registry)
        domains = {name: data.domain for name, data in self.data.items()}
        self.networks = assemble(config, domains, plugins.registry)
        share = settings.batch_size // self.processes
        if share == 1 and any(isinstance(m, DomainBatchNorm) for m in self.networks.generator.modules()):
            raise ConfigError(
                f"training.batch_size: {settings.batch_size} leaves one sample a process, and batch normalisation "
                f"needs more; choose {2 * self.processes} or more"
            )
        with self.accelerator.main_process_first():
            for data in self.data.values():
                data.prepare()
        self.streams = {
            name: Stream(data, config.seed, settings.batch_size, rank, self.processes)
            for name, data in self.data.items()
        }
        for stream in self.streams.values():
            stream.batch(0)  # what is wrong with the samples is said before anything is written
        self.latents = LatentStream(config.latent, config.seed, settings.batch_size, rank, self.processes)
        self._to_device()
        self.average = None if settings.ema is None else MovingAverage(self.networks.generator, settings.ema)
        self.algorithm = self._algorithm()
        self.step = 0
        """Steps done."""
        self.rank = rank
        self.best: dict[str, dict[str, float]] = {}
        self.last: dict[str, float] = {}
        self.seconds = 0.0
        """Training time of earlier sessions of this run."""
        self.run_directory: RunDirectory

    def _to_device(self) -> None:
        for network in (self.networks.generator, self.networks.discriminator, *self.networks.losses.values()):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _algorithm(self) -> Algorithm1:
        networks, settings = self.networks, self.config.training
        generators, discriminators = (
            Team(network, networks.losses, self._optimizer(network.graph.team), self.processes)
            for network in (networks.generator, networks.discriminator)
        )
        algorithm = Algorithm1(
            [data.domain for data in self.data.values()],
            generators,
            discriminators,
            networks.losses,
            autocast=self._autocast,
            uniform=self._uniform,
        )
        if settings.compile:
            algorithm.g = torch.compile(algorithm.g)  # type: ignore[assignment]
            algorithm.f = torch.compile(algorithm.f)  # type: ignore[assignment]
        return algorithm

    def _optimizer(self, team: str) -> Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]:
        return partial(make_optimizer, self.config.team_optimizer(team))

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.config.training.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _uniform(self, step: int, purpose: str, numbers: int) -> Tensor:
        batch = self.config.training.batch_size
        drawn = torch.rand(batch, numbers, generator=generator(self.config.seed, "loss", purpose, step))
        return drawn[self.latents.slice]

    # -- the run's directory ---------------------------------------------------------------

    def open(self, output: Path | None, *, resume: bool) -> None:
        """Make the run's directory, or go on with an existing one."""
        path = None
        if self.accelerator.is_main_process:
            if resume:
                directory = _existing(self.config, output, self.plugins)
            else:
                directory = RunDirectory.create(self.config, output)
            path = str(directory.path)
        if self.processes > 1:
            from accelerate.utils import broadcast_object_list

            [path] = broadcast_object_list([path])
        assert path is not None
        self.run_directory = RunDirectory(Path(path), self.config)
        if resume:
            self._restore()
        if self.accelerator.is_main_process:
            self.run_directory.write_json(
                "environment.json", describe_environment(self.config, self.accelerator, self.data, self.plugins)
            )
        if self.config.trackers:
            project = self.accelerator.project_configuration
            project.project_dir = project.logging_dir = str(self.run_directory.path)
            self.accelerator.init_trackers("trackers", config={"configuration": self.config.yaml()})

    def _restore(self) -> None:
        found, complaints = checkpoint.newest(self.run_directory.checkpoints)
        for complaint in complaints:
            remark(f"skipped: {complaint}")
        if found is None:
            self.run_directory.rewind(0)
            return  # interrupted before its first checkpoint: start again, the steps are the same
        tensors, state = found.model(), found.state()
        load_tensors(self.networks.generator, tensors, "generator", found.path)
        load_tensors(self.networks.discriminator, tensors, "discriminator", found.path)
        for name, loss in self.networks.losses.items():
            load_tensors(loss, tensors, f"loss.{name}", found.path)
        if self.average is not None:
            load_tensors(self.average.network, tensors, "ema", found.path)
        for team in self._teams:
            own = {k.removeprefix(f"{team.name}."): v for k, v in state.items() if k.startswith(f"{team.name}.")}
            checkpoint.restore_optimizer(team.optimizer, own)
        self.step = found.step
        summary = self.run_directory.read_json("summary.json")
        self.best = summary.get("best", {})
        self.last = summary.get("last", {})
        if self.accelerator.is_main_process:
            self.seconds = self.run_directory.rewind(self.step)
        remark(f"going on from step {self.step:,} of {self.config.training.steps:,}")

    @property
    def _teams(self) -> tuple[Team, Team]:
        return self.algorithm.generators, self.algorithm.discriminators

    # -- the loop ----------------------------------------------------------------------------

    def run(self) -> RunDirectory:
        """Train to the last step; on a signal or an error, leave a run that can go on."""
        settings, directory = self.config.training, self.run_directory
        started = time.monotonic() - self.seconds
        pending: list[tuple[int, Losses]] = []
        status = "failed"
        self._summarise("running")
        try:
            with _signals() as caught, self._bar() as bar:
                if self.step == 0:
                    self._draw()
                while self.step < settings.steps:
                    pending.append((self.step + 1, self._one_step()))
                    self.step += 1
                    self.seconds = time.monotonic() - started
                    bar.advance()
                    last = self.step == settings.steps
                    stop = bool(caught) and not last  # read once: a later signal ends the next step, which is saved
                    logged = self._due(settings.log_every, last)
                    saved = self._due(settings.checkpoint_every, last or stop)
                    if logged or saved:  # reading the losses waits for the device, so it is done rarely
                        values = self._read(pending)
                        bar.show(values)
                    if logged:
                        self._log(values)
                        self._after_step(values)
                    if any(self._due(m.every, last) for m in self.config.metrics):
                        self._measure(last)
                    if self._due(settings.sample_every, last):
                        self._draw()
                    if saved:
                        self._save()
                    if stop:
                        status = "interrupted"
                        name = signal.Signals(caught[0]).name
                        raise Interrupted(
                            caught[0],
                            f"{name} at step {self.step:,}: saved in {directory.path}; go on with --resume",
                        )
            status = "finished"
            if self.accelerator.is_main_process:
                self.plugins.notify("after_training", run=directory, model=self.model())
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory at step {self.step + 1} on {self.device}: lower training.batch_size "
                f"({settings.batch_size}) or the architecture's width, then go on with --resume: {error}"
            ) from None
        finally:
            self._summarise(status)
            if self.config.trackers:
                self.accelerator.end_training()
        return directory

    def _one_step(self) -> Losses:
        """Algorithm 1 once; what it draws is a function of (seed, step, process) alone."""
        step = self.step
        torch.manual_seed(derive(self.config.seed, "step", step, self.rank))
        z = self.latents.batch(step).to(self.device)
        fresh = self.latents.batch(step, "fresh z").to(self.device) if self.config.training.fresh_latent else None
        real = {name: self._place(stream.batch(step)) for name, stream in self.streams.items()}
        losses = self.algorithm.step(step, z, real, fresh)
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

    def _read(self, pending: list[tuple[int, Losses]]) -> dict[str, float]:
        """Losses of the newest step, in one transfer; a number that is not finite ends the run."""
        numbers = torch.stack([value.float() for _, losses in pending for value in losses.values()])
        if self.processes > 1:
            numbers = self.accelerator.reduce(numbers, "mean")
        row = iter(numbers.tolist())
        values: dict[str, float] = {}
        for step, losses in pending:
            values = {name: next(row) for name in losses}
            for name, value in sorted(values.items(), key=lambda item: -item[0].count("/")):
                if not math.isfinite(value):
                    raise RunError(f"{name} is {value} at step {step}: {_BROKEN}")
        pending.clear()
        return values

    def _log(self, values: Mapping[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.run_directory.log(self.step, self.seconds, values)
        if self.config.trackers:
            self.accelerator.log(dict(values), step=self.step)

    def _after_step(self, values: Mapping[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.plugins.notify("after_step", run=self.run_directory, step=self.step, losses=values)

    def model(self) -> CoupledModel:
        """The model as users will load it: averaged weights where they are kept."""
        network = self.networks.generator if self.average is None else self.average.network
        assert isinstance(network, CoupledGenerator)
        domains = {name: data.domain for name, data in self.data.items()}
        return CoupledModel(self.config, domains, network, self.networks.discriminator, self.step)

    def _measure(self, last: bool) -> None:
        """Measure the metrics that are due, on the main process."""
        if not self.accelerator.is_main_process:
            return
        evaluation = Evaluation(self.model(), self.data, self.config.seed)
        for entry, metric in zip(self.config.metrics, self.metrics, strict=True):
            if self._due(entry.every, last):
                values = metric.measure(evaluation)
                self._log(values)
                name, value = next(iter(values.items()))
                self.last[name] = value
                best = self.best.get(name)
                if best is None or (value > best["value"]) == (metric.better == "higher"):
                    self.best[name] = {"value": value, "step": self.step}
                remark(f"step {self.step:,}: " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()))

    def _draw(self) -> None:
        """One picture of corresponding samples, of the same z every time."""
        model = self.model()
        if self.accelerator.is_main_process and any(d.is_image for d in model.domains.values()):
            samples = model.sample(PICTURE_COLUMNS, seed=derive(self.config.seed, "picture"))
            with self.run_directory.writing(self.run_directory.picture(self.step)) as path:
                save_png(grid(samples, model.domains, PICTURE_COLUMNS), path)

    def _check_weights(self) -> None:
        """A finite loss may have an infinite gradient: broken weights must not become the newest checkpoint."""
        owners: dict[str, torch.nn.Module] = {team.name: team.network for team in self._teams}
        for owner, module in {**owners, **self.networks.losses}.items():
            for name, parameter in module.named_parameters():
                if not parameter.isfinite().all():
                    raise RunError(f"{owner}: {name} is not finite at step {self.step}: {_BROKEN}")

    def _save(self) -> None:
        self._check_weights()
        if self.accelerator.is_main_process:
            average = None if self.average is None else self.average.network
            assert average is None or isinstance(average, CoupledGenerator)
            state = {
                f"{team.name}.{name}": tensor
                for team in self._teams
                for name, tensor in checkpoint.optimizer_tensors(team.optimizer).items()
            }
            folder = self.run_directory.checkpoints
            checkpoint.save(
                folder,
                self.step,
                model_tensors(self.networks, average),
                state,
                metadata(self.config, self.networks, self.step),
            )
            checkpoint.prune(folder, self.config.training.keep_checkpoints)
            self._summarise("running")
        self.accelerator.wait_for_everyone()

    def _summarise(self, status: str) -> None:
        if self.accelerator.is_main_process:
            self.run_directory.write_json(
                "summary.json",
                {
                    "status": status,
                    "step": self.step,
                    "steps": self.config.training.steps,
                    "seconds": round(self.seconds, 1),
                    "last": self.last,
                    "best": self.best,
                },
            )

    def _bar(self) -> TrainingBar:
        settings = self.config.training
        return TrainingBar(
            self.config.name,
            self.step,
            settings.steps,
            images=settings.batch_size * len(self.data),
            shown=self.accelerator.is_main_process,
        )


def _existing(config: Config, output: Path | None, plugins: Plugins) -> RunDirectory:
    """The run to go on with; refused where its configuration is another one."""
    if output is None:
        runs = Path("runs")
        numbers = latest_numbers(runs, config.name) if runs.is_dir() else []
        if not numbers:
            raise InputError(f"--resume: there is no run of '{config.name}' under {runs}/ yet; leave --resume out")
        output = runs / f"{config.name}-{max(numbers):03d}"
    if not (output / MARKER).is_file():
        raise InputError(f"--resume: {output} is no run directory ({MARKER} is missing)")
    before = load_config(output / MARKER, plugins=plugins)
    changes = [line for line in differences(before, config) if not line.startswith(MAY_CHANGE)]
    if changes:
        raise InputError(
            f"--resume: {output} was made with another configuration:\n  "
            + "\n  ".join(changes)
            + "\nundo the changes, or start a new run with another --output"
        )
    run = RunDirectory(output, config)
    with run.writing(output / MARKER) as path:
        write_text(path, config.yaml())  # steps and intervals may be new
    return run


def differences(before: Config, after: Config) -> list[str]:
    """Keys whose values differ, one a line: ``key: before -> after``."""
    old, new = dict(_flat(before.plain())), dict(_flat(after.plain()))
    keys = dict.fromkeys([*old, *new])
    return [f"{k}: {old.get(k)!r} -> {new.get(k)!r}" for k in keys if old.get(k) != new.get(k)]


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, values


def _trackers(names: Sequence[str]) -> list[str] | None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    available = {str(kind) for kind in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(f"trackers: no tracker is called '{name}'; {nearest(name, LOGGER_TYPE_TO_CLASS)}")
        if name not in available:
            raise ConfigError(f"trackers: '{name}' is not installed; pip install {name}, or leave it out")
    return list(names) or None


def _refuse_unconnected(processes: int) -> None:
    """Launched as several processes that do not know each other, each would train alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != processes:
        raise RunError(
            f"launched as {world} processes, but they are not connected (this one sees {processes}): each would train "
            "alone; on CPUs launch with ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N"
        )


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying: the loop ends after its step. A second one kills."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are the caller's
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
