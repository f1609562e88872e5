"""The output of `coupling demo`: the finished models of the installed plugins."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from coupling.cli.tables import table
from coupling.errors import InputError
from coupling.runs.demos import Demo, demo_names, find_demo
from coupling.runs.metrics_log import is_below
from coupling.runs.model_file import open_model_file
from coupling.system.terminal import print_line, warn


def print_demos(console: Console) -> None:
    """Print a line for each demo, and how to use one; a demo that cannot be read becomes a warning."""
    made = table("demo", "domains", "shape", "MB", "distribution", whole=("demo", "distribution"))
    names = demo_names()
    for name in names:
        try:
            made.add_row(*_row(find_demo(name)))
        except InputError as error:
            warn(str(error))
    if not made.rows:
        raise InputError("no demo is installed; pip install coupling-faces brings some")
    console.print(made)
    print_line(f"next: coupling sample demo:{names[0]}; coupling traverse demo:{names[0]}; coupling demo {names[0]}")


def _row(demo: Demo) -> list[str]:
    with open_model_file(demo.file) as content:
        domains = content.values["domains"]
    shapes = dict.fromkeys(" × ".join(map(str, domain["shape"])) for domain in domains.values())
    megabytes = demo.file.stat().st_size / 1e6
    return [f"demo:{demo.name}", ", ".join(domains), ", ".join(shapes), f"{megabytes:.1f}", demo.distribution]


def _headlines(scores: Mapping[str, float]) -> str:
    """The scores without their floors, ceilings and details."""
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if not is_below(name, scores))


def print_demo(name: str, console: Console) -> None:
    """Print what a demo is: its description, training, scores, digest and configuration.

    Raises:
        InputError: there is no such demo, or it cannot be read.
    """
    demo = find_demo(name)
    with open_model_file(demo.file) as content:
        values = content.values
    record = values.get("record", {})
    facts = {
        "about": demo.about,
        "domains": ", ".join(values["domains"]),
        "trained": f"{values['step']:,} steps, seed {values['config']['seed']}",
        "scores": _headlines(record.get("metrics", {})),
        "file": str(demo.file),
        "SHA-256": str(values.get("sha256", "")),
        "configuration": str(demo.configuration),
    }
    width = max(map(len, facts))
    for key, value in facts.items():
        if value:  # a line each, which only the terminal breaks, so that paths can be copied
            console.print(f"{key:<{width}}  {value}", soft_wrap=True)
    print_line(f"next: coupling sample demo:{name}; coupling traverse demo:{name}")
