"""The plugins that are known to this version, installed or not."""

from __future__ import annotations

import importlib.metadata
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from coupling.cli.tables import table

FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class AvailablePlugin:
    """A plugin that can be installed."""

    name: str
    """Name of its distribution."""
    description: str
    address: str
    """Where its documentation is."""

    @property
    def installed(self) -> str | None:
        """The version that is installed; None if there is none."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def plain(self) -> dict[str, Any]:
        """The plugin as JSON values."""
        return asdict(self) | {"installed": self.installed, "install": f"pip install {self.name}"}


@cache
def available_plugins() -> list[AvailablePlugin]:
    """The plugins in the list that comes with this version, in its order."""
    values = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [AvailablePlugin(name, **entry) for name, entry in values.items()]


_WIDE = 140
"""Columns that a table with whole addresses needs."""


def print_available(console: Console) -> None:
    """Print the plugins with what is installed of them."""
    if console.width < _WIDE:
        for plugin in available_plugins():
            console.print(f"{plugin.name}  {plugin.installed or 'not installed'}")
            for text in (plugin.description, plugin.address):
                console.print(Padding(Text(text, overflow="fold"), (0, 0, 0, 2)))
    else:
        made = table("plugin", "installed", "description", "address", whole=("plugin", "installed"))
        for plugin in available_plugins():
            made.add_row(plugin.name, plugin.installed or "no", plugin.description, plugin.address)
        console.print(made)
    console.print("\nTo install one: pip install NAME. To write one: coupling new-plugin NAME.")
