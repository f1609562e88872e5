"""Time to load a model file, against networks that are built and tried out as for training.

    python -m tests.benchmarks.loading

Prints a Markdown table. It needs coupling-digits and coupling-faces.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from coupling.api import load_model
from coupling.config.config import Config, build_config
from coupling.domain import Domain
from coupling.model.model import CoupledModel
from coupling.networks.build import Networks, assemble
from coupling.plugins import installed

MODELS: dict[str, dict[str, Any]] = {
    "digits": {"shape": (1, 28, 28), "range": (0.0, 1.0), "options": {}, "first": 4, "last": 3},
    "upsampling": {"shape": (3, 64, 64), "range": (-1.0, 1.0), "options": {"width": 4}, "first": 4, "last": 3},
    "faces": {"shape": (3, 128, 128), "range": (-1.0, 1.0), "options": {}, "first": 5, "last": 6},
}
REPEATS = 7


def configuration(name: str) -> tuple[Config, dict[str, Domain]]:
    """The configuration of a model of two domains, and the domains."""
    made = MODELS[name]
    architecture = {"architecture": {"name": name, **made["options"]}}
    values = {
        "name": name,
        "domains": {domain: {"dataset": "folder"} for domain in ("one", "other")},
        "generator": architecture,
        "discriminator": architecture,
        "sharing": {"generator": [{"first": made["first"]}], "discriminator": [{"last": made["last"]}]},
    }
    config = build_config(values, installed().registry, data=False)
    return config, {domain: Domain(domain, made["shape"], made["range"]) for domain in config.domains}


def built(config: Config, domains: dict[str, Domain], path: Path) -> Networks:
    """The networks with initial weights, tried out, which then get the file's tensors."""
    networks = assemble(config, domains, installed().registry)
    tensors = safetensors.torch.load_file(path)
    for prefix, module in networks.named_networks.items():
        start = f"{prefix}."
        module.load_state_dict({n.removeprefix(start): x for n, x in tensors.items() if n.startswith(start)})
    return networks


def seconds(action: Callable[[], object]) -> float:
    """The shortest processor time of some calls."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        action()
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    print("| model | file | built, then loaded | load_model | without a digest in the file |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            config, domains = configuration(name)
            networks = assemble(config, domains, installed().registry)
            path, plain = Path(folder) / "m.safetensors", Path(folder) / "plain.safetensors"
            model = CoupledModel(config, domains, networks.generator, networks.discriminator, 1, networks.losses)
            model.save(path)
            without_digest(path, plain)
            times = [
                seconds(lambda: built(config, domains, path)),  # noqa: B023  (called at once)
                seconds(lambda: load_model(path)),  # noqa: B023
                seconds(lambda: load_model(plain)),  # noqa: B023
            ]
            size = path.stat().st_size / 1e6
            shown = " | ".join(f"{1000 * taken:.0f} ms" for taken in times)
            print(f"| {name} | {size:.0f} MB | {shown} |")


def without_digest(path: Path, plain: Path) -> None:
    """A copy of a file, as an earlier version wrote it."""
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    start = metadata["coupling"].index(', "sha256"')
    text = metadata["coupling"][:start] + "}"
    safetensors.torch.save_file(safetensors.torch.load_file(path), plain, {"coupling": text})


if __name__ == "__main__":
    main()
