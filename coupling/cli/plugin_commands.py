"""Commands of plugins, found without importing the plugins.

A distribution lists its commands in the entry-point group ``coupling.commands``. The metadata of the installed
distributions then give the names; a command's module is imported when the command runs or its help is asked for.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click

from coupling import hookspecs
from coupling.errors import PluginError, cause
from coupling.plugins import installed

_MAY_REGISTER = re.compile(rb"register_commands|import \*")
"""What the source of a module holds that has the hook ``register_commands``."""


class PluginCommand(click.Command):
    """A command of the entry-point group, which imports its module when it is used."""

    def __init__(self, name: str, points: list[EntryPoint]) -> None:
        """``points``: the entry points of this name; more than one is an error when the command is used."""
        self.points = points
        self.owners = [_owner(point) for point in points]
        super().__init__(name, short_help=f"A command of the plugin {self.owners[0]}.")

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Import the command and continue with it."""
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> click.Command:
        """Import the command; raises :class:`PluginError` where that fails, or two plugins have the name."""
        if len(self.points) > 1:
            raise PluginError(
                f"command '{self.name}' is registered twice: by '{self.owners[0]}' and by '{self.owners[1]}'; "
                "uninstall or rename one of them"
            )
        try:
            command = self.points[0].load()
        except (Exception, SystemExit) as error:
            message = f"command '{self.name}' of plugin '{self.owners[0]}' cannot be imported: {cause(error)}"
            raise PluginError(message) from error
        if not isinstance(command, click.Command):
            raise PluginError(
                f"command '{self.name}' of plugin '{self.owners[0]}': {self.points[0].value} is not a click command"
            )
        return command


def listed_commands() -> dict[str, PluginCommand]:
    """The commands of the entry-point group by name, sorted."""
    points: dict[str, list[EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=hookspecs.COMMANDS):
        points.setdefault(point.name, []).append(point)
    return {name: PluginCommand(name, points[name]) for name in sorted(points)}


def hooked_commands(ours: Iterable[str]) -> Mapping[str, click.Command]:
    """The commands that plugins register by the hook ``register_commands`` and that no entry point names.

    The plugins are imported only if the source of one of them has the hook. ``ours``: names of coupling's own commands.
    """
    if not hook_is_used():
        return {}
    owners = {name: command.owners[0] for name, command in listed_commands().items()}
    return installed().commands(owners | dict.fromkeys(ours, "coupling"))


def hook_is_used() -> bool:
    """Whether an installed plugin may have the hook ``register_commands``."""
    return any(map(_may_register, importlib.metadata.entry_points(group=hookspecs.PROJECT)))


def _may_register(point: EntryPoint) -> bool:
    """Whether a plugin's source names the hook, or cannot be read; nothing of the plugin is imported."""
    package, *inner = point.module.split(".")
    try:
        spec = importlib.util.find_spec(package)
        for part in inner:
            assert spec is not None
            path = spec.submodule_search_locations
            spec = importlib.machinery.PathFinder.find_spec(f"{spec.name}.{part}", path)
        assert spec is not None
        return _MAY_REGISTER.search(Path(str(spec.origin)).read_bytes()) is not None
    except (AssertionError, ImportError, OSError, ValueError):
        return True


def _owner(point: EntryPoint) -> str:
    """The distribution of an entry point."""
    return point.dist.name if point.dist else point.name
