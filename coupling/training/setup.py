"""The session of a run: everything that training works with, built from the configuration and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.data.batches import Batches
from coupling.data.domain_data import DomainData, open_domains
from coupling.losses.build import doubtful_losses
from coupling.losses.loss import Loss, labelled_domains
from coupling.model.model import CoupledModel
from coupling.model.parent import Inheritance, start_networks
from coupling.networks.build import Networks, assemble
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, to_device
from coupling.networks.kernels import Kernels, use_kernels
from coupling.networks.weights import fingerprint
from coupling.plugins import Plugins
from coupling.system.collector import rare_collections
from coupling.system.distributed import Processes
from coupling.system.foreign_code import guarded
from coupling.system.terminal import print_line, warn
from coupling.training.algorithm import Algorithm1
from coupling.training.batch_statistics import JOINT, set_statistics
from coupling.training.build import make_algorithm, moving_average
from coupling.training.collapse import CollapseWarning
from coupling.training.ema import MovingAverage
from coupling.training.inputs import StepInputs
from coupling.training.kernel_choice import measure_kernels
from coupling.training.launch import make_accelerator
from coupling.training.loss_means import NOT_FINITE, LossMeans
from coupling.training.measurement import Measurement
from coupling.training.state import TrainingState


@dataclass(frozen=True)
class Session:
    """Everything that this process trains with: configuration, data, networks, optimizers and metrics."""

    config: Config
    plugins: Plugins
    accelerator: Accelerator
    processes: Processes
    batch: Batch
    data: Mapping[str, DomainData]
    networks: Networks
    average: MovingAverage | None
    inputs: StepInputs
    algorithm: Algorithm1
    measurement: Measurement
    means: LossMeans
    collapse: CollapseWarning
    state: TrainingState
    inheritance: Inheritance | None
    """What a new run took from the model that it starts from."""

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints messages."""
        return bool(self.accelerator.is_main_process)

    @property
    def fingerprints(self) -> dict[str, str]:
        """A fingerprint of each domain's samples."""
        return {name: data.fingerprint for name, data in self.data.items()}

    def model(self, step: int) -> CoupledModel:
        """The model after ``step`` steps as users will load it: averaged weights if there are any."""
        shown = self.state.shown
        domains = {name: data.domain for name, data in self.data.items()}
        return CoupledModel(self.config, domains, shown.generator, shown.discriminator, step, shown.losses)

    def choose_kernels(self, kept: Mapping[str, str]) -> Mapping[str, str]:
        """Choose the kernels of the convolutions, if they shall be measured: ``kept`` with the run, or measured now.

        Returns the choices; none without a measurement, and on other devices than a CPU, which has one way for each.
        """
        kernels, settings = self.state.kernels, self.config.training
        if settings.kernels == "measured" and self.device.type == "cpu" and not kernels.choices:
            choices = dict(kept)
            if self.is_main and not choices:
                domains = {name: data.domain for name, data in self.data.items()}
                choices = measure_kernels(self.config, domains, self.plugins.registry, self.batch)
            kernels.choices |= Kernels(self.processes.of_main(choices)).choices
        return kernels.choices

    def describe(self) -> list[str]:
        """Lines about the device and the sizes, printed at the start of a run."""
        settings = self.config.training
        processes = f", {self.processes.count} processes" if self.processes.count > 1 else ""
        sizes = ", ".join(_size(network) for network in (self.networks.generator, self.networks.discriminator))
        samples = ", ".join(f"{name} {len(data):,}" for name, data in self.data.items())
        return [
            *(self.inheritance.lines() if self.inheritance is not None else ()),
            f"device: {self.device}, {settings.precision}{processes}",
            f"parameters: {sizes}",
            f"samples: {samples}; {settings.steps:,} steps of {settings.batch_size} a domain",
        ]


@rare_collections()
def set_up(config: Config, plugins: Plugins, *, resume: bool = False) -> Session:
    """Open the data, build the networks, and check everything that can be checked before the first step.

    ``resume``: the weights will be restored, so that the model that the run started from is not read.

    Raises:
        InputError: something that the configuration names cannot be used; the message says what and why.
    """
    settings = config.training
    accelerator = make_accelerator(config)
    processes = Processes(accelerator.process_index, accelerator.num_processes)
    batch = Batch(settings.batch_size, processes.count, processes.number, settings.accumulate)
    data = open_domains(config, plugins.registry, accelerator.main_process_first)
    networks = assemble(config, {name: d.domain for name, d in data.items()}, plugins.registry)
    with accelerator.main_process_first():  # it may be downloaded
        inheritance = start_networks(config, networks, resume=resume)
    measurement = Measurement(config, data, networks.losses, plugins.registry)
    _set_statistics(config, networks, batch, is_main=accelerator.is_main_process)
    with accelerator.main_process_first():
        for domain in data.values():
            domain.prepare()
    if accelerator.is_main_process:
        measurement.prepare()
        for warning in doubtful_losses(config, networks.losses):
            warn(warning)
    samples = {name: Batches(domain, config.seed, batch) for name, domain in data.items()}
    _check_losses(config, networks, data, batch)
    for domain_samples in samples.values():
        domain_samples.batch(0)  # read once, so that wrong samples are an error before anything is written
    labelled = labelled_domains(networks.losses.values(), list(data))
    inputs = StepInputs(config, samples, labelled, batch, accelerator.device)
    _place(networks, accelerator.device)
    _agree(processes, config, data, networks)
    kernels = _kernels(config, networks)
    average = moving_average(config, networks)
    algorithm = make_algorithm(config, networks, inputs.uniform, accelerator.device, processes.count, average)
    across = partial(_mean_over_processes, accelerator)
    means = LossMeans(across, NOT_FINITE, algorithm.only)
    collapse = CollapseWarning(list(data), settings.log_every, across)
    algorithm.observe = collapse.add
    trained = algorithm.generators, algorithm.discriminators
    state = TrainingState(
        networks, average, trained, means, measurement.best_scores, collapse, algorithm.augmenter, kernels
    )  # fmt: skip
    return Session(
        config, plugins, accelerator, processes, batch, data, networks, average, inputs, algorithm, measurement, means,
        collapse, state, inheritance,
    )  # fmt: skip


def _kernels(config: Config, networks: Networks) -> Kernels:
    """The choice that the networks' convolutions follow; it is empty until kernels are measured or restored."""
    kernels = Kernels()
    if config.training.kernels == "measured":
        use_kernels(_modules(networks), kernels)
    return kernels


def _set_statistics(config: Config, networks: Networks, batch: Batch, *, is_main: bool) -> None:
    """Set over which samples batch normalisation takes its statistics; warn if these are few."""
    teacher = any(loss.needs_average for loss in networks.losses.values())
    few = set_statistics(
        (networks.generator, networks.discriminator),
        batch,
        synchronised=config.training.sync_batch_norm,
        averaged=networks.discriminator if teacher else None,
    )
    if is_main and config.batch_statistics == "joint":
        print_line(JOINT)
    if is_main and few:
        warn(few)


def _mean_over_processes(accelerator: Accelerator, numbers: Tensor) -> Tensor:
    return accelerator.reduce(numbers, "mean") if accelerator.num_processes > 1 else numbers


def _check_losses(config: Config, networks: Networks, data: Mapping[str, DomainData], batch: Batch) -> None:
    """Let each loss check the number of samples that it gets at once, and the labels that it reads."""
    for number, loss in enumerate(networks.losses.values()):
        path = f"losses[{number}]"
        labels = {name: data[name].labels(range(len(data[name]))) for name in loss.labels(list(data))}
        name = config.losses[number].name
        with guarded(f"{path}: check_labels() of {name}", f"{path}."):
            loss.check_labels(labels)
        with guarded(f"{path}: check_batch() of {name}", f"{path} {name}: "):
            loss.check_batch(batch.share // batch.accumulate)


def _size(network: CoupledGenerator | CoupledDiscriminator) -> str:
    """``generators 1,234 (567 shared)``."""
    shared = sum(p.numel() for p, domains in network.sharing_sets() if len(domains) > 1)
    return f"{network.graph.team}s {sum(p.numel() for p in network.parameters()):,} ({shared:,} shared)"


def _modules(networks: Networks) -> Sequence[torch.nn.Module]:
    losses: Sequence[Loss] = list(networks.losses.values())
    return networks.generator, networks.discriminator, *losses


def _place(networks: Networks, device: torch.device) -> None:
    for module in _modules(networks):
        to_device(module, device)


def _agree(processes: Processes, config: Config, data: Mapping[str, DomainData], networks: Networks) -> None:
    """Raise an error if the processes of one launch would train different things."""
    if processes.count > 1:
        processes.agree(
            configuration=config.yaml(),
            data={name: domain.fingerprint for name, domain in data.items()},
            initial_weights=fingerprint(*_modules(networks)),
        )
