"""Reading configurations and models with the plugins of this environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from coupling.config.config import Config, build_config, read_config
from coupling.model.loading import read_model
from coupling.model.model import CoupledModel
from coupling.plugins import GivenPlugins, plugins_of


def load_config(path: str | Path, overrides: Iterable[str] = (), *, plugins: GivenPlugins = None) -> Config:
    """Read and check the configuration in a YAML file.

    Args:
        path: the file.
        overrides: ``key=value`` assignments, as ``--set`` takes them; the value is YAML.
        plugins: names of modules or .py files to load besides the installed plugins.

    Raises:
        ConfigError: names the file and, for each problem, the path in it, the value and the fix.
        PluginError: a module cannot be loaded.
    """
    return read_config(path, overrides, plugins_of(plugins).registry)


def parse_config(values: Mapping[str, Any], *, plugins: GivenPlugins = None) -> Config:
    """Check a configuration that is given as plain values, as a YAML file would hold them.

    Args:
        values: the configuration.
        plugins: names of modules or .py files to load besides the installed plugins.

    Raises:
        ConfigError: names, for each problem, the path, the value and the fix.
        PluginError: a module cannot be loaded.
    """
    return build_config(values, plugins_of(plugins).registry)


def load_model(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    plugins: GivenPlugins = None,
    live: bool = False,
    token: str | None = None,
) -> CoupledModel:
    """Load a trained model. It needs the plugins of the architectures and losses, not those of the data.

    Args:
        path: a run directory, a checkpoint, a model file, ``hf://USER/MODEL[@REVISION]``, or ``demo:NAME``.
        device: the device of the model: "cpu", "cuda", ...
        plugins: names of modules or .py files to load besides the installed plugins.
        live: whether to take the weights of the last step; by default their moving average, if the run kept one.
        token: for a private model on the hub; by default the one of ``hf auth login``.

    Raises:
        InputError: nothing can be loaded from there; the message says why.
        PluginError: a module cannot be loaded.
    """
    return read_model(path, plugins_of(plugins).registry, device=device, live=live, token=token)
