"""The loop: step, measure, log, draw, save. Reads top to bottom."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from coupling import checkpoint
from coupling.algorithm import Algorithm1, Losses, Team
from coupling.assembly import assemble, make_optimizer
from coupling.config import Config
from coupling.ema import MovingAverage
from coupling.environment import describe_environment
from coupling.errors import ConfigError, CouplingError, InputError, RunError
from coupling.interruption import Interrupted, caught_signals
from coupling.launch import launched
from coupling.metric import Evaluation, Metric, open_metrics
from coupling.model import CoupledModel
from coupling.normalisation import DomainBatchNorm
from coupling.parts import open_domains
from coupling.pictures import grid, save_png
from coupling.plugins import Plugins, installed
from coupling.randomness import derive, generator
from coupling.resumption import resumable
from coupling.run_directory import RunDirectory
from coupling.streams import LatentStream, Stream
from coupling.terminal import remark
from coupling.training_bar import TrainingBar
from coupling.training_state import TrainingState

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
    plugins: Plugins | None = None,
) -> RunDirectory:
    """Train a configuration; the same as ``coupling run``. Returns the run's directory.

    ``resume`` goes on with the run in ``output`` (default: the newest of this name under runs/)
    from its newest whole checkpoint; what it then computes is what it would have computed.
    """
    plugins = plugins or installed()
    path = None if output is None else Path(output)
    if resume:  # what cannot go on is said before anything heavy is done
        resumable(config, path, plugins)
    else:
        RunDirectory.refuse_taken(path)
    trainer = Trainer(config, plugins)
    trainer.open(path, resume=resume)
    return trainer.run()


class Trainer:
    """One run: its parts, and the loop over them."""

    def __init__(self, config: Config, plugins: Plugins) -> None:
        self.config = config
        self.plugins = plugins
        settings = config.training
        self.accelerator = launched(config)
        self.device = self.accelerator.device
        self.processes = self.accelerator.num_processes
        rank = self.accelerator.process_index
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
        teams = self.algorithm.generators, self.algorithm.discriminators
        self.state = TrainingState(self.networks, self.average, teams)
        # A signal to one process ends all. They agree on the CPU, so that no device is waited for.
        self._control = dist.new_group(backend="gloo") if self.processes > 1 else None
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
        environment = {}
        if self.accelerator.is_main_process:
            environment = describe_environment(self.config, self.accelerator, self.data, self.plugins)
            if resume:
                directory = resumable(self.config, output, self.plugins)
                directory.write_config()  # steps and intervals may be new
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
            self.run_directory.write_json("environment.json", environment)
        if self.config.trackers:
            project = self.accelerator.project_configuration
            project.project_dir = project.logging_dir = str(self.run_directory.path)
            self.accelerator.init_trackers("trackers", config={"configuration": self.config.yaml()})

    def _restore(self) -> None:
        found, complaints = checkpoint.newest(self.run_directory.checkpoints)
        for complaint in complaints if self.accelerator.is_main_process else ():
            remark(f"skipped: {complaint}")
        if found is None:
            if self.accelerator.is_main_process:
                self.run_directory.rewind(0)
            return  # interrupted before its first checkpoint: start again, the steps are the same
        self.state.restore(found)
        self.step = found.step
        if self.step > self.config.training.steps:
            raise InputError(
                f"training.steps: {self.config.training.steps:,} is less than the {self.step:,} steps that "
                f"{self.run_directory.path} has done; give more, or start a new run"
            )
        summary = self.run_directory.read_json("summary.json")
        # What was measured after the checkpoint is measured again.
        self.best = {name: b for name, b in summary.get("best", {}).items() if b["step"] <= self.step}
        self.last = summary.get("last", {})
        if self.accelerator.is_main_process:
            self.seconds = self.run_directory.rewind(self.step)
            remark(f"going on from step {self.step:,} of {self.config.training.steps:,}")

    # -- the loop ----------------------------------------------------------------------------

    def run(self) -> RunDirectory:
        """Train to the last step; on a signal or an error, leave a run that can go on."""
        settings, directory = self.config.training, self.run_directory
        started = time.monotonic() - self.seconds
        pending: list[tuple[int, Losses]] = []
        status = "failed"
        self._summarise("running")
        try:
            with caught_signals() as caught, self._bar() as bar:
                with bar.aside():
                    if self.step == 0:
                        self._draw()
                    else:  # the run may have died between its checkpoint and what follows that
                        self._look(self.step == settings.steps)
                while self.step < settings.steps:
                    pending.append((self.step + 1, self._one_step()))
                    self.step += 1
                    self.seconds = time.monotonic() - started
                    bar.advance()
                    last = self.step == settings.steps
                    stop = 0 if last else self._signal(caught)  # a later one ends the next step, which is saved
                    saved = self._due(settings.checkpoint_every, last or stop > 0)
                    # Reading the losses waits for the device, so it is done rarely; a checkpoint ends
                    # a line, so that a resumed run takes its means over the same steps.
                    if saved or self._due(settings.log_every, last):
                        values = self._read(pending)
                        bar.show(values)
                        self._log(values)
                        self._after_step(values)
                    with bar.aside():
                        if saved:  # first: what follows may fail
                            self._save()
                        self._look(last)
                    if stop:
                        status = "interrupted"
                        raise Interrupted(stop, self.step, directory.path)
            status = "finished"
            if self.accelerator.is_main_process:
                self.plugins.notify("after_training", run=directory, model=self.model())
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory at step {self.step + 1} on {self.device}: lower training.batch_size "
                f"({settings.batch_size}) or the architecture's width, then go on with --resume: {error}"
            ) from None
        except InputError as error:  # data that went away, say: the run itself was rightly asked for
            raise RunError(f"step {self.step + 1:,}: {error}; mend it, then go on with --resume") from None
        finally:
            self._summarise(status)
            if self.config.trackers:
                self.accelerator.end_training()
        return directory

    def _signal(self, caught: Sequence[int]) -> int:
        """The signal that ends the run, 0 for none: the same on all processes, which must stop together."""
        number = caught[0] if caught else 0
        if self.processes > 1:
            numbers = torch.tensor(number)
            dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._control)
            number = int(numbers)
        return number

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
        """Mean of each loss since the last line, in one transfer; a number that is not finite ends the run."""
        numbers = torch.stack([value.float() for _, losses in pending for value in losses.values()])
        if self.processes > 1:
            numbers = self.accelerator.reduce(numbers, "mean")
        row = iter(numbers.tolist())
        collected: dict[str, list[float]] = {}
        for step, losses in pending:
            values = {name: next(row) for name in losses}
            for name, value in sorted(values.items(), key=lambda item: -item[0].count("/")):
                if not math.isfinite(value):
                    raise RunError(f"{name} is {value} at step {step}: {_BROKEN}")
            for name, value in values.items():
                collected.setdefault(name, []).append(value)
        pending.clear()
        return {name: sum(values) / len(values) for name, values in collected.items()}

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
        network = self.state.averaged or self.networks.generator
        domains = {name: data.domain for name, data in self.data.items()}
        return CoupledModel(self.config, domains, network, self.networks.discriminator, self.step)

    def _look(self, last: bool) -> None:
        """Measure and draw what is due."""
        if any(self._due(m.every, last) for m in self.config.metrics):
            self._measure(last)
        if self._due(self.config.training.sample_every, last):
            self._draw()

    def _measure(self, last: bool) -> None:
        """Measure the metrics that are due, on the main process."""
        if not self.accelerator.is_main_process:
            return
        evaluation = Evaluation(self.model(), self.data, self.config.seed)
        for entry, metric in zip(self.config.metrics, self.metrics, strict=True):
            if self._due(entry.every, last):
                values = self._value(metric, evaluation, entry.name)
                self._log(values)
                name, value = next(iter(values.items()))
                if math.isfinite(value):
                    self.last[name] = value
                    if name not in self.best or metric.improves(value, self.best[name]["value"]):
                        self.best[name] = {"value": value, "step": self.step}
                remark(f"step {self.step:,}: " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()))

        self._summarise("running")

    def _value(self, metric: Metric, evaluation: Evaluation, name: str) -> dict[str, float]:
        try:
            return metric.measure(evaluation)
        except CouplingError:
            raise
        except Exception as error:  # a plugin's metric may fail in any way
            raise RunError(
                f"metric '{name}' failed at step {self.step:,}: {type(error).__name__}: {error}; leave it out "
                "of metrics or mend it, then go on with --resume"
            ) from error

    def _draw(self) -> None:
        """One picture of corresponding samples, of the same z every time."""
        model = self.model()
        if self.accelerator.is_main_process and any(d.is_image for d in model.domains.values()):
            samples = model.sample(PICTURE_COLUMNS, seed=derive(self.config.seed, "picture"))
            with self.run_directory.writing(self.run_directory.picture(self.step)) as path:
                save_png(grid(samples, model.domains, PICTURE_COLUMNS), path)

    def _save(self) -> None:
        self.state.check_finite(self.step, _BROKEN)
        if self.accelerator.is_main_process:
            folder = self.run_directory.checkpoints
            self.state.save(folder, self.config, self.step)
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
