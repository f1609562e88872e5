"""The facts of `coupling doctor`: what this environment has, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coupling.config.yaml_text import parse_yaml, read_text
from coupling.data.cache_entries import cache_entries
from coupling.errors import CouplingError, cause
from coupling.system.data_directory import data_directory
from coupling.system.resources import available_cores, available_memory, total_memory
from coupling.version import __version__

if TYPE_CHECKING:
    from coupling.plugins import Plugins

DISTRIBUTION = "coupling-gan"

_LAUNCH = re.compile(r"(ACCELERATE_|CUDA_VISIBLE|COUPLING_|OMP_NUM|HF_(HOME|HUB_OFFLINE)|RANK|WORLD_SIZE|MASTER_)")
"""Environment variables that change how a run starts. Tokens are not among them."""

_LITTLE = 2 * 1024**3
"""Free bytes under which a disk is called nearly full."""

_FASTER = 2
"""How many times the rate of fp32 bf16 must have: a step gains less than its matrix products."""


def diagnose(plugins: Plugins) -> dict[str, Any]:
    """All facts by section, and ``problems``: a line for each thing that is wrong.

    A section that cannot be read is a problem too; the others are there all the same.
    """
    sections: dict[str, Callable[[list[str]], Any]] = {
        "coupling": _versions,
        "torch": _torch,
        "accelerate": _accelerate,
        "extras": _extras,
        "plugins": lambda problems: _plugins(plugins, problems),
        "data": _data,
        "variables": lambda problems: {k: v for k, v in sorted(os.environ.items()) if _LAUNCH.match(k)},
    }
    problems: list[str] = []
    facts: dict[str, Any] = {}
    for name, read in sections.items():
        try:
            facts[name] = read(problems)
        except Exception as error:  # the libraries that are asked may fail in any way
            facts[name] = {}
            problems.append(f"{name}: cannot be read: {cause(error)}")
    return facts | {"problems": problems}


def _versions(problems: list[str]) -> dict[str, Any]:
    return {
        "version": __version__,
        "place": str(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": available_cores(),
        "memory": size_text(total_memory()),
        "memory free": size_text(available_memory()),
    }


def _torch(problems: list[str]) -> dict[str, Any]:
    import torch

    from coupling.system.device import matrix_rate

    found: dict[str, Any] = {"version": torch.__version__, "threads": torch.get_num_threads()}
    found["built for CUDA"] = torch.version.cuda or "no"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            found[f"cuda:{number}"] = f"{properties.name}, {size_text(properties.total_memory)}"
    elif torch.version.cuda:
        problems.append(
            "torch: is built for CUDA and finds no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or ignore it on a "
            "machine without one"
        )
    if torch.backends.mps.is_available():
        found["mps"] = "available"
    found["devices"] = ", ".join(["cpu", *(name for name in found if name.startswith(("cuda:", "mps")))])
    full, half = (matrix_rate(kind) / 1e9 for kind in (torch.float32, torch.bfloat16))  # a broken installation fails
    found["matrix products"] = f"{full:.0f} GFLOP/s in fp32, {half:.0f} in bf16"
    faster = "training.precision: bf16 makes a step of wide networks about twice as fast on this CPU"
    found["bf16"] = faster if half > _FASTER * full else "has no fast units on this CPU: train in fp32"
    return found


def _accelerate(problems: list[str]) -> dict[str, Any]:
    from accelerate.commands.config.config_args import default_config_file
    from accelerate.tracking import get_available_trackers

    path = Path(default_config_file)
    found: dict[str, Any] = {
        "version": importlib.metadata.version("accelerate"),
        "trackers": ", ".join(sorted(map(str, get_available_trackers()))) or "none",
        "configuration": str(path) if path.is_file() else f"none ({path})",
    }
    if path.is_file():
        try:
            values = parse_yaml(read_text(path))
            settings = dict(values) if isinstance(values, Mapping) else {}
        except CouplingError as error:
            problems.append(f"accelerate: {error}; write it again: accelerate config")
            return found
        found |= {str(key): value for key, value in settings.items() if isinstance(value, str | int | float)}
        if settings.get("distributed_type") in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
            problems.append(
                f"accelerate: {path} sets distributed_type {settings['distributed_type']}, which cannot train a "
                "coupled GAN; launch with --multi_gpu (docs/scaling.md)"
            )
    return found


def _extras(problems: list[str]) -> dict[str, str]:
    """Each extra of coupling with the versions of its packages; what is missing is no problem."""
    found: dict[str, list[str]] = {}
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        if extra := re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line):
            found.setdefault(extra[2], []).append(f"{extra[1]} {_version(extra[1])}")
    return {
        extra: ", ".join(packages)
        + (f": pip install '{DISTRIBUTION}[{extra}]'" if any(p.endswith(" missing") for p in packages) else "")
        for extra, packages in found.items()
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _plugins(plugins: Plugins, problems: list[str]) -> dict[str, str]:
    """The plugins with their versions, and the reasons why others are left out."""
    problems += [f"plugin {name}: is left out: {reason}" for name, reason in plugins.registry.broken.items()]
    counts = dict.fromkeys(plugins.owners, 0)
    for component in plugins.registry.components.values():
        counts[component.owner] += 1
    return {
        name: f"{version or 'no distribution'}, {counts[name]} components"
        for name, version in plugins.versions().items()
    }


def _data(problems: list[str]) -> dict[str, str]:
    """The data directory, and the size of each folder in it."""
    root = data_directory("any").parent
    given = "COUPLING_DATA" if os.environ.get("COUPLING_DATA") else "default; COUPLING_DATA sets another"
    found = {"directory": f"{root} ({given})"}
    there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        problems.append(f"data: {there} cannot be written; set COUPLING_DATA to a directory that can")
    free = shutil.disk_usage(there).free
    found["free"] = size_text(free)
    if free < _LITTLE:
        problems.append(f"data: only {size_text(free)} are free on the disk of {root}")
    if root.is_dir():
        kept = cache_entries()
        sizes = size_text(sum(entry.size for entry in kept))
        found["cache"] = f"{len(kept)} entries, {sizes}; coupling cache lists them, coupling cache clear removes them"
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            files, size = _measure(folder)
            found[folder.name] = f"{size_text(size)} in {files:,} files"
    return found


def _measure(folder: Path) -> tuple[int, int]:
    """Number and bytes of the files below a folder; what cannot be read is left out."""
    files = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(place, name)).st_size
                files += 1
            except OSError:
                continue
    return files, size


def size_text(count: float) -> str:
    """A number of bytes for people: ``1.4 GB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
