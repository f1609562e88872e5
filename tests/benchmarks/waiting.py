"""Steps that read ahead against steps that read first, in turn; and how long a checkpoint holds up the steps.

python -m tests.benchmarks.waiting examples/digits_edges.yaml [--set KEY=VALUE]... [--threads 1] [--steps 20]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from coupling.api import load_config
from coupling.plugins import installed
from coupling.training.setup import Session, set_up


def seconds(session: Session, steps: range, *, ahead: bool) -> list[float]:
    """Seconds of each step but the first, from the reading of its samples to the end of its work."""
    context: AbstractContextManager[None] = session.inputs.ahead(steps.stop) if ahead else nullcontext()
    taken = []
    with context:
        for step in steps:
            started = time.perf_counter()
            losses = session.inputs.take_step(step, session.algorithm, session.average)
            _ = [value.item() for value in losses.values()]  # waits for the device
            taken.append(time.perf_counter() - started)
    return taken[1:]


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="steps of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    plugins = installed()
    session = set_up(load_config(chosen.config, chosen.set, plugins=plugins), plugins)
    found: dict[bool, list[float]] = {True: [], False: []}
    step = 0
    for number in range(2 * chosen.rounds):
        ahead = number % 2 == 0
        found[ahead] += seconds(session, range(step, step + chosen.steps), ahead=ahead)
        step += chosen.steps
    with_it, without = (statistics.median(found[ahead]) for ahead in (True, False))
    print(f"a step: {1000 * with_it:.1f} ms reading ahead, {1000 * without:.1f} ms reading first")
    print(f"ratio, reading first / reading ahead: {without / with_it:.3f}")
    copies, writes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.rounds):
            started = time.perf_counter()
            copied = session.state.snapshot(session.config, number)
            copies.append(time.perf_counter() - started)
            copied.write(Path(folder))
            writes.append(time.perf_counter() - started - copies[-1])
    copying, writing = statistics.median(copies), statistics.median(writes)
    print(f"a checkpoint: {1000 * copying:.0f} ms to copy, {1000 * writing:.0f} ms to write beside the steps")


if __name__ == "__main__":
    main()
