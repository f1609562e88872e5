"""Demo models, demo:NAME: small finished models that travel with plugins, to try without training.

A distribution names each of its demos in the entry-point group ``coupling.demos``. The entry point's name is the
demo's, its value a package. The package holds ``NAME.safetensors``, the model; ``NAME.yaml``, the configuration that
made it, whose first comment describes it; and perhaps ``NAME.coverage.json``, the errors of real samples by which
``coupling transform`` knows what the model covers.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path, PurePath

from coupling.errors import InputError, cause, nearest

GROUP = "coupling.demos"


_ADDRESS = re.compile(r"demo:(?P<name>.*)")


@dataclass(frozen=True)
class Demo:
    """A demo model that an installed distribution brings."""

    name: str
    distribution: str
    file: Path
    """The model, a safetensors file."""

    @property
    def configuration(self) -> Path:
        """The configuration that the model was trained with."""
        return self.file.with_suffix(".yaml")

    @property
    def coverage(self) -> Path:
        """Errors of real samples (:mod:`coupling.generation.coverage`); it need not exist."""
        return self.file.with_suffix(".coverage.json")

    @property
    def about(self) -> str:
        """What the demo draws: the comment at the top of its configuration, up to the first empty line."""
        lines = []
        for line in self.configuration.read_text("utf-8").splitlines():
            if not line.startswith("# "):
                break
            lines.append(line.removeprefix("# "))
        return " ".join(lines)


def demo_name(path: str | PurePath) -> str | None:
    """The name in an address demo:NAME; None if ``path`` is no such address."""
    match = _ADDRESS.fullmatch(str(path))
    return None if match is None else match["name"]


def demo_names() -> list[str]:
    """The names of all demos of the installed distributions."""
    return sorted(point.name for point in importlib.metadata.entry_points(group=GROUP))


def find_demo(name: str) -> Demo:
    """The demo of a name.

    Raises:
        InputError: there is no such demo, or its distribution lacks its files.
    """
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if name not in points:
        if not points:
            raise InputError(f"demo:{name}: no demo is installed; pip install coupling-faces brings some")
        raise InputError(f"demo:{name}: no such demo; {nearest(name, points)}; `coupling demo` lists all")
    folder = _folder(points[name])
    owner = points[name].dist
    demo = Demo(name, owner.name if owner else "", folder / f"{name}.safetensors")
    for file in (demo.file, demo.configuration):
        if not file.is_file():
            raise InputError(f"demo:{name}: {file} is missing; install {demo.distribution} again")
    return demo


def _folder(point: EntryPoint) -> Path:
    """The folder of the package that an entry point names."""
    try:
        spec = importlib.util.find_spec(point.value)
    except Exception as error:  # a plugin's code
        raise InputError(f"demo:{point.name}: {point.value} cannot be imported: {cause(error)}") from error
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise InputError(f"demo:{point.name}: the package {point.value} is missing; install its distribution again")
    return Path(next(iter(places)))
