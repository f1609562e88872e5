"""Make plants-with.csv and plants-without.csv: measurements of plants that a program grew, with and without fertiliser.

    python examples/tables/plants.py examples/tables

The numbers are computed, not measured. Each plant grows in one bed only, so no plant is in both files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

PLANTS = 2000
"""Plants in each bed."""


def grow(random: np.random.Generator, *, fertiliser: bool) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Five measurements of each plant of a bed."""
    vigour = random.gamma(3.0, 1 / 3, PLANTS)  # of the seed: skewed, mean 1
    shade = random.beta(1.5, 4.0, PLANTS)  # of the place
    height = 22 * (vigour * (1 + 0.5 * fertiliser)) ** 0.5 * (1 + 0.8 * shade)
    leaves = (12 + 14 * fertiliser) * vigour**0.7 * (1 - 0.6 * shade)
    roots = 30 * vigour**0.6 / (1 + 0.8 * fertiliser)
    stem = 2 + 3 * vigour**0.5 * (1 - 0.5 * shade)
    weight = 0.02 * height * stem + 0.4 * leaves
    exact = {"height_cm": height, "leaves": leaves, "roots_cm": roots, "stem_mm": stem, "weight_g": weight}
    return {name: values * np.exp(random.normal(0, 0.03, PLANTS)) for name, values in exact.items()}


def main(folder: Path) -> None:
    """Write both files into ``folder``."""
    for seed, name in enumerate(("without", "with")):
        plants = grow(np.random.default_rng(seed), fertiliser=name == "with")
        rows = zip(*plants.values(), strict=True)
        lines = [",".join(plants), *(",".join(f"{value:.2f}" for value in row) for row in rows)]
        (folder / f"plants-{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
