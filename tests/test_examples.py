"""Every example runs for two steps, as it is but for the sizes of its data."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml

from coupling import load_config, load_model, train
from coupling.plugins import installed
from coupling_faces.testing import write_celeba

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIGS = sorted(EXAMPLES.rglob("*.yaml"))
SMALL = {
    "mnist": {"verify": False},
    "avatars": {"count": 40},
    "celeba": {"verify": False},
    "rendered-objects": {"count": 80},
}
"""What makes a data set small enough for a test; the small files of MNIST and CelebA are made by the fixtures."""
NARROW = {"celeba": 1 / 32}
"""Width of the networks where those of the paper would take minutes for two steps."""


@pytest.fixture
def mnist_files(tmp_path, monkeypatch):
    """MNIST's two training files, small, in the official format."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (160, 28, 28), np.uint8)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *images.shape) + images.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 160) + bytes(160))
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))


@pytest.fixture
def celeba_files(tmp_path, mnist_files):
    """CelebA's files, small, in the official format."""
    write_celeba(tmp_path / "data" / "celeba", 50)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_example_runs_for_two_steps(path, tmp_path, mnist_files, request):
    values = yaml.safe_load(path.read_text())
    overrides = ["training.steps=2", "training.batch_size=16", "training.log_every=1"]
    for name, domain in values["domains"].items():
        dataset = domain["dataset"] if isinstance(domain["dataset"], str) else domain["dataset"]["name"]
        overrides += [f"domains.{name}.dataset.{k}={json.dumps(v)}" for k, v in SMALL[dataset].items()]
        if dataset == "celeba":
            request.getfixturevalue("celeba_files")
        if dataset in NARROW:
            overrides += [
                f"{team}.architecture={{name: {values[team]['architecture']}, width: {NARROW[dataset]}}}"
                for team in ("generator", "discriminator")
            ]
    for number, _ in enumerate(values.get("metrics", [])):
        overrides.append(f"metrics.{number}.count=20")
    config = load_config(path, overrides)
    run = train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    domains = list(values["domains"])
    assert {f"loss/generator/{d}" for d in domains} <= set(lines[0])
    assert run.read_json("summary.json")["status"] == "finished"
    samples = load_model(run.path).sample(3)
    assert list(samples) == domains


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_example_opens_with_what_it_shows(path):
    opening = path.read_text().splitlines()[0:12]
    text = "\n".join(line for line in opening if line.startswith("#"))
    for wanted in ("coupling run", "Measured"):
        assert wanted in text, f"{path.name} must open with its command and what was measured"


def test_every_registered_component_is_described():
    for component in installed().registry.components.values():
        assert component.description, component
        for name, field in component.options.model_fields.items():
            assert field.description, f"{component.kind} {component.name}: option {name} has no description"
