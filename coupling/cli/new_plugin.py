"""A new plugin to start from: a folder that can be installed, passes its tests and runs."""

from __future__ import annotations

import importlib.resources
import importlib.util
import re
import shutil
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from coupling.config.registry import Registry
from coupling.errors import InputError
from coupling.system.atomic_files import writing
from coupling.version import __version__

_NAME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"


_LONGEST = 64


_SUFFIX = ".template"


def write_plugin(name: str, parent: Path, registry: Registry) -> Path:
    """Write the plugin ``name`` into the folder ``parent/coupling-<name>``, which is returned.

    Raises:
        InputError: the name is not valid or taken, or the folder exists or cannot be written.
    """
    name = name.removeprefix("coupling-")
    _check_name(name, registry)
    package = f"coupling_{name.replace('-', '_')}"
    folder = parent / f"coupling-{name}"
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder}: exists already; choose another name, or move it away")
    words = {"name": name, "package": package, "version": __version__}
    with writing(folder, "go to another directory"):
        folder.mkdir(parents=True)
        try:
            for place, template in _templates(importlib.resources.files("coupling.cli") / "plugin_template"):
                file = folder / _path_in_plugin(place, name, package)
                file.parent.mkdir(exist_ok=True)
                file.write_text(Template(template.read_text("utf-8")).substitute(words), encoding="utf-8")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # leave no unfinished plugin
            raise
    return folder


def _check_name(name: str, registry: Registry) -> None:
    """Raise :class:`InputError` if the name is not valid, or a component or package has it."""
    if not re.fullmatch(_NAME, name) or len(name) > _LONGEST:
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").lstrip("0123456789-")
        raise InputError(
            f"NAME '{name:.80}': a plugin's name consists of lower-case letters, digits and single -, and begins with "
            f"a letter; it has at most {_LONGEST}: '{near[:_LONGEST] or 'sea-birds'}', for example"
        )
    for component in registry.components.values():
        if component.name == name or component.name.startswith(f"{name}-"):
            raise InputError(f"NAME '{name}': {component} exists already; choose another name")
    package = f"coupling_{name.replace('-', '_')}"
    if importlib.util.find_spec(package) is not None:
        raise InputError(f"NAME '{name}': a package '{package}' is installed already; choose another name")


def _templates(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    """Every template in ``folder`` with its path."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield above + entry.name, entry


def _path_in_plugin(place: str, name: str, package: str) -> str:
    """The path of a template's text in the plugin's folder."""
    place = place.removesuffix(_SUFFIX).replace("NAME", name).replace("PACKAGE", package)
    return ".gitignore" if place == "gitignore" else place  # a .gitignore among the templates would apply to them
