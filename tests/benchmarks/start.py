"""Processor seconds of a command before its work begins: of a run, its first step; of an evaluation, all of it.

    python -m tests.benchmarks.start run examples/digits_edges.yaml
    python -m tests.benchmarks.start evaluate RUN [--set "metrics=[...]"]

Each is a process of its own, on prepared data; the least of ``--repeats`` processes is printed, and its parts.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import sys, time
def note(name):
    print(f"AFTER {name} {time.process_time():.3f}", file=sys.stderr, flush=True)
from coupling.cli import cli
note("command line")
import torch
note("torch")
from coupling.plugins import installed
installed()
note("plugins")
import coupling.training.trainer
from coupling.training.inputs import StepInputs
def first(*arguments):
    note("first step")
    raise KeyboardInterrupt
StepInputs.take_step = first
try:
    cli(sys.argv[1:], prog_name="coupling")
except SystemExit:
    note("end")
"""


def measure(arguments: list[str]) -> dict[str, float]:
    """Processor seconds of one process up to each moment."""
    with tempfile.TemporaryDirectory() as folder:
        if arguments[0] == "run":
            arguments = [*arguments, "--output", str(Path(folder, "run"))]
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, text=True, check=False, env=os.environ
        )
    return {name: float(value) for name, value in re.findall(r"AFTER (.+) ([\d.]+)", ended.stderr)}


def main() -> None:
    """Print the parts of the fastest process, in seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    chosen, arguments = parser.parse_known_args()
    before = 0.0
    last = "first step" if arguments[0] == "run" else "end"
    found = [measure(arguments) for _ in range(chosen.repeats)]
    best = min(found, key=lambda moments: moments[last])
    for name in ("command line", "torch", "plugins", last):
        print(f"{name}: {best[name] - before:.2f} s")
        before = best[name]
    print(f"processor seconds: {best[last]:.2f}")


if __name__ == "__main__":
    main()
