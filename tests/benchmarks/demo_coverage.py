"""Measures how well a demo model reconstructs real samples, so that `coupling transform demo:NAME` can judge images.

    python -m tests.benchmarks.demo_coverage digits

Writes ``NAME.coverage.json`` beside the model. It needs the data that the model was trained on, and about a second of
processor time for each of 100 samples of each domain (28×28 pixels; 64×64: half a minute).
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from coupling.api import load_model
from coupling.generation.coverage import coverage_key, measure_coverage
from coupling.model.inversion import Search
from coupling.runs.demos import find_demo


@click.command()
@click.argument("name")
def main(name: str) -> None:
    """Measure all domains of demo NAME with the default search."""
    model, search = load_model(f"demo:{name}"), Search()
    found = {
        coverage_key(model, domain, search, None): asdict(measure_coverage(model, domain, search))
        for domain in model.domains
    }
    find_demo(name).coverage.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
