"""Short ways for a plugin's own tests: build a component, open domains, read batches, run a command."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import click.testing
import pydantic
from torch import Tensor

from coupling.api import parse_config
from coupling.batch import Batch
from coupling.cli import cli
from coupling.config.registry import Registry, options_model
from coupling.data import domain_data
from coupling.data.batches import Batches
from coupling.data.dataset import Dataset
from coupling.data.domain_data import DomainData
from coupling.domain import Domain
from coupling.plugins import GivenPlugins, plugins_of


def options_of(component: Callable[..., Any]) -> type[pydantic.BaseModel]:
    """The pydantic model of a component's options: its fields have the options' types, bounds and descriptions.

    Args:
        component: the class or function that a plugin registers.

    Raises:
        PluginError: an option has no type, or a type that a configuration cannot hold.
    """
    return options_model(component.__name__, component)


def build(component: Callable[..., Any], options: Mapping[str, Any] | None = None) -> Any:
    """Make a component from options as a configuration holds them, with all checks of their values.

    Args:
        component: the class or function that a plugin registers.
        options: {option: value}; by default the component's defaults.

    Raises:
        ConfigError: an option does not exist, is missing, or has a value that is not valid.
        PluginError: the options cannot be described, or the component raises an error of its own.
    """
    registry = Registry()
    registry.add("dataset", component.__name__, component, "a test")
    return registry.build("dataset", component.__name__, dict(options or {}), component.__name__)


def open_domains(values: Mapping[str, Any], *, plugins: GivenPlugins = None) -> dict[str, DomainData]:
    """Check a configuration and open the data of its domains; nothing is prepared or read yet.

    Args:
        values: the configuration as plain values, as a YAML file would hold them.
        plugins: names of modules to load besides the installed plugins.

    Returns:
        {domain: its data}, in the order of the configuration.

    Raises:
        ConfigError: the configuration is not valid.
        DataError: a data set is missing, empty, or too small for the domains that share it.
    """
    chosen = plugins_of(plugins)
    return domain_data.open_domains(parse_config(values, plugins=chosen), chosen.registry)


def training_batches(
    dataset: Dataset, batch_size: int, *, seed: int = 0, process: int = 0, processes: int = 1
) -> Callable[[int], Tensor]:
    """A function that reads a data set as training does: ``read(step)`` gives the batch of a step, from 0.

    Args:
        dataset: the data set; all of it is one domain.
        batch_size: samples in a step of all processes together, no more than the data set has.
        seed: seed of the run.
        process: number of this process, from 0.
        processes: number of processes; each reads its own part of a batch.

    Returns:
        ``read``: its batches are float32 (batch_size / processes, *dataset.shape) in the data set's range, augmented.

    Raises:
        ConfigError: the batch cannot be divided among the processes.
        DataError: the batch is larger than the data set; from ``read``: the samples are not what it declares.
    """
    domain = Domain("domain", dataset.shape, dataset.range)
    data = DomainData(domain, dataset, (1, 1), (), seed, type(dataset).__name__)
    return Batches(data, seed, Batch(batch_size, processes, process)).batch


def invoke(*arguments: str | os.PathLike[str] | float) -> click.testing.Result:
    """Run a command in this process: ``invoke("run", "digits.yaml")`` is ``coupling run digits.yaml``.

    Args:
        arguments: the command, its arguments and options.

    Returns:
        The result, with ``exit_code``, ``stdout``, ``stderr`` and ``output`` (both).
    """
    return click.testing.CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="coupling")
