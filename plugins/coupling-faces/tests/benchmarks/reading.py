"""How many images a second each way of reading CelebA gives, on one core.

    python plugins/coupling-faces/tests/benchmarks/reading.py [--count 4000] [--batch 128]

On made-up photographs of CelebA's size (178x218 pixels, 7.1 KB), since CelebA itself must not be
passed on. Prints a Markdown table. Seconds are those of the processors, of all processes together,
so that other work on the machine disturbs little; reading from disk is from the system's cache.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from coupling import derive_seed
from coupling_faces import live
from coupling_faces.celeba import CelebA
from coupling_faces.testing import write_celeba


def processor_seconds() -> float:
    """Of this process and of those it has seen end."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def read(made: CelebA, batch: int, rounds: int) -> None:
    """Read as training does: every image once a round, in batches of a random order."""
    for number in range(rounds):
        order = np.random.default_rng(number).permutation(len(made))
        batches = [order[start : start + batch].tolist() for start in range(0, len(order), batch)]
        for this, following in zip(batches, [*batches[1:], batches[0]], strict=True):
            made.augmented(this, [derive_seed(0, "benchmark", index) for index in this])
            made.expect(following, [])


def measured(count: int, work: Callable[[], None]) -> str:
    """Images a second of a core."""
    before = processor_seconds()
    work()
    return f"{count / (processor_seconds() - before):,.0f}"


def main() -> None:
    """Write, read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4000, help="images")
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COUPLING_DATA"] = folder
        path = Path(folder) / "celeba"
        write_celeba(path, options.count)
        size = (path / "img_align_celeba.zip").stat().st_size / options.count
        print(f"{options.count} images of {size:,.0f} bytes, batch {options.batch}\n")
        print("| samples | kept pixels: made | kept pixels: read | decoded while training: here | by 2 workers |")
        print("|---|---|---|---|---|")
        for side in (128, 64):
            common = {"size": side, "verify": False}
            kept = CelebA(**common)
            row = [measured(options.count, kept.prepare)]
            row.append(measured(5 * options.count, lambda kept=kept: read(kept, options.batch, 5)))
            alone = CelebA(**common, cache=False, workers=0)
            alone.prepare()
            row.append(measured(options.count, lambda alone=alone: read(alone, options.batch, 1)))
            helped = CelebA(**common, cache=False, workers=2)

            def with_workers(helped: CelebA = helped) -> None:
                read(helped, options.batch, 1)
                live._workers(helped._live.decoder, 2).close()
                live._workers.cache_clear()

            row.append(measured(options.count, with_workers))
            print(f"| {side}×{side} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
