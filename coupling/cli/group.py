"""The command group, the only place that turns errors into exit codes; and what several commands take."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from coupling.errors import CouplingError, nearest
from coupling.plugins import Plugins, installed
from coupling.system.signals import Terminated, terminable
from coupling.system.terminal import print_line, show_origin


class CouplingGroup(click.Group):
    """The command group; errors of ours are one message and an exit code, never a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and exit with the code that the design fixes."""
        try:
            return super().main(*args, **kwargs)
        except CouplingError as error:
            show_origin(error)
            print_line(str(error) if error.exit_code > 128 else f"error: {error}")  # an interruption is no error
            sys.exit(error.exit_code)
        except OSError as error:  # the commands name the files they write: what is left is their output
            show_origin(error)
            print_line(f"error: the output cannot be written: {error.strerror or error}")
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """An interruption before or after training, which saves for itself, has the shell's own exit code."""
        try:
            with terminable():
                return super().invoke(ctx)
        except Terminated:
            print_line("terminated")
            ctx.exit(143)
        except KeyboardInterrupt:
            print_line("interrupted")
            ctx.exit(130)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Own commands first; plugins are asked only for a name that is none of ours."""
        return super().get_command(ctx, cmd_name) or self._plugin_commands().get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Own commands and the plugins'."""
        return [*super().list_commands(ctx), *self._plugin_commands()]

    def _plugin_commands(self) -> Mapping[str, click.Command]:
        return installed().commands(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown command gets the nearest name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            _remark_broken(installed())
            ctx.fail(f"no command '{args[0]}'; {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


class Number(click.FloatRange):
    """A number in a range, which "nan" is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does, but without "nan", which is neither below nor above any bound."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


plugin_option = click.option(
    "--plugin", "modules", multiple=True, metavar="MODULE", help="A plugin module or .py file to load besides."
)


set_option = click.option(
    "--set", "overrides", multiple=True, metavar="K=V", help="Override a key: training.steps=10. May be repeated."
)


device_option = click.option("--device", help="Where the model is: cpu, cuda ... (default: a GPU where there is one).")


run_argument = click.argument("run", type=click.Path(path_type=Path))


config_argument = click.argument("config", type=click.Path(path_type=Path))


def with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments that every command on a configuration takes."""
    return config_argument(set_option(plugin_option(command)))


def load_plugins(modules: Iterable[str]) -> Plugins:
    """What is installed and the modules of ``--plugin``; what could not be loaded is told."""
    plugins = installed(tuple(modules))
    _remark_broken(plugins)
    return plugins


def console() -> Console:
    """Prints results as they are: descriptions hold brackets and colons that are no markup."""
    width = None if sys.stdout.isatty() else 240  # a pipe has no width: lines stay whole, to be searched
    return Console(markup=False, highlight=False, emoji=False, width=width)


def _remark_broken(plugins: Plugins) -> None:
    for name, reason in plugins.registry.broken.items():
        print_line(f"plugin '{name}' is left out: {reason}")
