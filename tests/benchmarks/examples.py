"""Trains the examples at full width within a time budget, unattended, and prints times and scores.

    python -m tests.benchmarks.examples --minutes 25                        # on a GPU: bf16
    python -m tests.benchmarks.examples --only faces --minutes 5 --set training.precision=fp32

Each run gets its share of the budget. One that needs longer is interrupted as by Ctrl-C, which writes a checkpoint, and
is measured there. The same command resumes all of them. The table and ``results.json`` are written after every run, so
an interruption of the program itself loses one run at most. Data that are not there leave out their row.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
MEASURING = 0.2
"""Share of a run's time that is kept for measuring it."""


@dataclass(frozen=True)
class Row:
    """An example with what differs from its file, and its share of the time."""

    example: str
    share: float
    settings: tuple[str, ...] = ()


ROWS = {
    "digits-edges": Row("digits_edges.yaml", 2, ("generator.architecture.width=1", "training.batch_size=128")),
    "digits-negatives": Row("digits_negatives.yaml", 1, ("generator.architecture.width=1", "training.batch_size=128")),
    "digits-rotated": Row("digits_rotated.yaml", 2, ("generator.architecture.width=1", "training.batch_size=128")),
    "mnist-m": Row("mnist_m.yaml", 2, ("generator.architecture.width=1", "training.batch_size=128")),
    "conditional-a": Row("conditional_a.yaml", 1, ("generator.architecture.width=1", "training.batch_size=128")),
    "objects": Row("objects.yaml", 2, ("generator.architecture.width=2",)),
    "faces": Row("faces.yaml", 2, ("generator.architecture.width=2", "training.steps=6000")),
    "faces-four": Row("faces_four.yaml", 2, ("generator.architecture.width=2", "training.steps=6000")),
    "faces-128": Row(  # the paper's networks for faces (Table 12), on drawn faces of its size
        "faces.yaml",
        4,
        (
            "domains.*.dataset.size=128",
            "generator.architecture={name: faces}",
            "discriminator.architecture={name: faces}",
            "sharing.discriminator=[{last: 6}]",
            "training.batch_size=128",
            "training.steps=25000",
        ),
    ),
}


def train(name: str, row: Row, directory: Path, seconds: float, settings: tuple[str, ...]) -> None:
    """Train or resume one row for at most ``seconds``; its output goes to ``NAME.log`` beside its directory."""
    changes = [part for setting in (*row.settings, *settings) for part in ("--set", setting)]
    resume = ["--resume"] if directory.exists() else []
    command = [sys.executable, "-m", "coupling", "run", str(EXAMPLES / row.example), *resume, *changes]
    with directory.with_name(f"{name}.log").open("ab") as log:
        child = subprocess.Popen([*command, "--output", str(directory)], stdout=log, stderr=log)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
            child.wait()


def results(directory: Path) -> dict[str, Any]:
    """Steps, milliseconds a step and scores of a run that has trained; measures it if it has not finished."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    timed = [(line["step"], line["seconds"]) for line in lines if "seconds" in line]
    (start, before), (end, after) = timed[0], timed[-1]
    summary = json.loads((directory / "summary.json").read_text())
    scores = summary["last"]
    if summary["status"] != "finished":
        command = [sys.executable, "-m", "coupling", "evaluate", str(directory), "--json"]
        measured = subprocess.run(command, capture_output=True, text=True, check=True)
        scores = json.loads(measured.stdout)["scores"]
    milliseconds = (after - before) / (end - start) * 1e3 if end > start else None
    return {"step": summary["step"], "of": summary["steps"], "milliseconds": milliseconds, "scores": scores}


def table(found: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    rows = ["| example | steps | ms a step | scores |", "|---|---|---|---|"]
    for name, result in found.items():
        if "error" in result:
            rows.append(f"| {name} | – | – | {result['error']} |")
            continue
        scores = ", ".join(f"{score} {value:.3f}" for score, value in result["scores"].items())
        pace = "–" if result["milliseconds"] is None else f"{result['milliseconds']:.1f}"
        rows.append(f"| {name} | {result['step']:,} of {result['of']:,} | {pace} | {scores} |")
    return "\n".join(rows)


@click.command()
@click.option("--minutes", default=25.0, help="Time for all runs together.")
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)), help="Train this example. May be repeated.")
@click.option("--output", type=Path, default=Path("examples-at-full-width"), help="Directory of the runs.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Change a key of every configuration.")
def main(minutes: float, only: tuple[str, ...], output: Path, settings: tuple[str, ...]) -> None:
    """Train the examples one after the other; print the table after each."""
    output.mkdir(parents=True, exist_ok=True)
    if torch.cuda.is_available():
        settings = ("training.precision=bf16", *settings)
    rows = {name: ROWS[name] for name in only or ROWS}
    deadline = time.monotonic() + 60 * minutes
    found: dict[str, dict[str, Any]] = {}
    for number, (name, row) in enumerate(rows.items()):
        left = deadline - time.monotonic()
        share = row.share / sum(later.share for later in list(rows.values())[number:])
        train(name, row, output / name, max(1.0, left * share * (1 - MEASURING)), settings)
        try:
            found[name] = results(output / name)
        except (OSError, KeyError, IndexError, subprocess.CalledProcessError):
            said = (output / f"{name}.log").read_text().splitlines()
            found[name] = {"error": said[-1] if said else "nothing was written"}
        (output / "results.json").write_text(json.dumps(found, indent=1))
        click.echo(f"\n{table(found)}")


if __name__ == "__main__":
    main()
