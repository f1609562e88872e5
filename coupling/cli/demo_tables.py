"""The output of `coupling demo`: the finished models of the installed plugins."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from coupling.errors import InputError
from coupling.runs.demos import Demo, demo_names, find_demo
from coupling.runs.metrics_log import MetricName
from coupling.runs.model_file import open_model_file
from coupling.system.terminal import print_line, warn


def print_demos(console: Console) -> None:
    """Print a line for each demo, and how to use one; a demo that cannot be read becomes a warning."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("demo", "domains", "shape", "MB", "distribution"):
        table.add_column(column, no_wrap=column in ("demo", "shape"), overflow="fold")
    for name in demo_names():
        try:
            table.add_row(*_row(find_demo(name)))
        except InputError as error:
            warn(str(error))
    if not table.rows:
        raise InputError("no demo is installed; pip install coupling-faces brings some")
    console.print(table)
    first = demo_names()[0]
    print_line(f"next: coupling sample demo:{first}; coupling traverse demo:{first}; coupling demo {first}")


def _row(demo: Demo) -> list[str]:
    with open_model_file(demo.file) as content:
        domains = content.values["domains"]
    shapes = dict.fromkeys(" × ".join(map(str, domain["shape"])) for domain in domains.values())
    megabytes = demo.file.stat().st_size / 1e6
    return [f"demo:{demo.name}", ", ".join(domains), ", ".join(shapes), f"{megabytes:.1f}", demo.distribution]


def _headlines(scores: Mapping[str, float]) -> str:
    """The scores without their floors, ceilings and details."""
    names = [MetricName.parse(flat) for flat in scores]
    leading = [name for name in names if not any(name.extends(other) for other in names)]
    return ", ".join(f"{name} {scores[str(name)]:.3f}" for name in leading)


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
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if value:
            table.add_row(key, value)
    console.print(table)
    print_line(f"next: coupling sample demo:{name}; coupling traverse demo:{name}")
