"""The hooks of a plugin.

A plugin is a module with some of these functions, each marked with ``@coupling.hookimpl``. Its distribution names it
in the entry-point group ``coupling``, or the user names it by ``--plugin MODULE``. The built-in components are
registered in the same way (:mod:`coupling.builtin`).

``register(name, component)`` takes a class or a function whose keyword parameters are the component's options. They
have types, and bounds and descriptions by ``Annotated[..., pydantic.Field(...)]``. A name that is taken is an error,
which names both plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from coupling.model.model import CoupledModel
    from coupling.runs.directory import RunDirectory


PROJECT = "coupling"
"""Name of the hooks, and of the entry-point group in which a distribution names its plugin modules."""


COMMANDS = "coupling.commands"
"""The entry-point group of commands: the name is the command's, the value a :class:`click.Command`."""


hookspec = pluggy.HookspecMarker(PROJECT)


hookimpl = pluggy.HookimplMarker(PROJECT)
"""Decorator that marks a function of a plugin as one of its hooks: ``@hookimpl`` before ``register_datasets``."""


Register = Callable[[str, Callable[..., Any]], None]
"""The function that a hook such as ``register_datasets`` gets: ``register(name, component)``.

The component is a class or a function whose keyword parameters are its options. It raises :class:`PluginError` if the
name is taken or the options cannot be described.
"""


@hookspec
def register_architectures(register: Register) -> None:
    """Register architectures: the layers of one domain's generator or discriminator.

    A component has the methods ``generator(domain, latent)`` and ``discriminator(domain, outputs)``. Each returns a
    list of ``nn.Module``, one for each layer, in order (:class:`coupling.Architecture`).
    """


@hookspec
def register_datasets(register: Register) -> None:
    """Register data sets: unpaired samples of one domain (:class:`coupling.Dataset`)."""


@hookspec
def register_transforms(register: Register) -> None:
    """Register image operators, which make a domain from another one.

    A component has the method ``transform(images, range)``: images (B, C, H, W) in ``range`` to images of the same
    shape and range.
    """


@hookspec
def register_augmentations(register: Register) -> None:
    """Register augmentations: random changes of what discriminators see (:class:`coupling.Augmentation`)."""


@hookspec
def register_losses(register: Register) -> None:
    """Register losses: terms of the two teams' objectives (:class:`coupling.Loss`)."""


@hookspec
def register_metrics(register: Register) -> None:
    """Register metrics: measures of a trained model (:class:`coupling.Metric`)."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Register commands of ``coupling`` in code.

    Prefer the entry-point group ``coupling.commands``: help and completion list its commands without importing them.
    A command of this hook runs, but only ``coupling plugins`` lists it.
    """


@hookspec
def after_step(run: RunDirectory, step: int, losses: Mapping[str, float]) -> None:
    """Act on the main process after each step that is logged; steps are counted from 1."""


@hookspec
def after_training(run: RunDirectory, model: CoupledModel) -> None:
    """Act once on the main process after the last checkpoint of a run."""


@hookspec
def report_sections(run: RunDirectory) -> list[tuple[str, str]]:  # type: ignore[empty-body]
    """Return more sections for the report of a run: pairs of title and HTML."""
