"""Every example runs for two steps, as it is but for the sizes of its data."""

from __future__ import annotations

import itertools
import json
import math
import re
import shlex
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from coupling import load_config, load_model, train
from coupling.config.inheritance import complete
from coupling.config.json_schema import schema_address
from coupling.data import held_out
from coupling.data.domain_data import open_domains
from coupling.metrics import probe
from coupling.metrics.choice import choose_metrics
from coupling.metrics.metric import open_metric
from coupling.plugins import installed
from coupling.sweeps.grid import load_grid
from coupling.sweeps.sweep import Sweep
from coupling_faces.testing import write_celeba
from coupling_rgbd.testing import write_frames, write_nyu, write_rgbd_objects

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = {path: yaml.safe_load(path.read_text()) for path in sorted(EXAMPLES.rglob("*.yaml"))}
CONFIGS = [path for path, values in FILES.items() if "base" not in values]
SWEEPS = [path for path, values in FILES.items() if "base" in values]
SMALL = {
    "mnist": {"verify": False, "protocol": None},
    "mnist-m": {"verify": False, "origin": "made"},
    "usps": {"verify": False, "protocol": None},
    "avatars": {"count": 40},
    "celeba": {"verify": False},
    "sounds": {"count": 90},
    "table": {"path": str(EXAMPLES / "tables" / "plants-with.csv")},
    "rendered-objects": {"count": 80},
    "color-depth-folder": {"blocks": 12, "gap": 1},
    "rgbd-objects": {},
    "nyu": {"verify": False},
}
"""What makes a data set small enough for a test; small official files are made by ``small_files``."""
NARROW = {"celeba": 1 / 32, "rgbd-objects": 1 / 16, "nyu": 1 / 32}
"""Width of the networks where those of the paper would take minutes for two steps."""


@pytest.fixture
def small_files(tmp_path, monkeypatch):
    """Writes the files of the named data sets, small, in their official formats."""
    data = tmp_path / "data"
    monkeypatch.setenv("COUPLING_DATA", str(data))
    monkeypatch.setattr(probe, "STEPS", 2)  # what probes tell is not looked at
    monkeypatch.setattr(held_out, "LEAST", 1)

    def write(datasets):
        for name in datasets:
            {"mnist": write_mnist, "mnist-m": write_mnist, "usps": write_usps}.get(name, lambda data: None)(data)
            if name == "celeba":
                write_celeba(data / "celeba", 100)
            elif name == "color-depth-folder" and not (data / "kinect-indoor").exists():
                write_frames(data / "kinect-indoor", 84)
            elif name == "rgbd-objects" and not (data / "rgbd-dataset").exists():
                write_rgbd_objects(data / "rgbd-dataset", {"apple": 6}, 6)
            elif name == "nyu" and not (data / "nyu-depth-v2").exists():
                write_nyu(data / "nyu-depth-v2", 16, 16)

    return write


def write_mnist(data):
    folder = data / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (160, 28, 28), np.uint8)
    for split in ("train", "t10k"):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *images.shape) + images.tobytes())
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 160) + bytes(range(10)) * 16)


def write_usps(data):
    folder = data / "usps"
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "usps.h5", "w") as file:
        for split in ("train", "test"):
            file[f"{split}/data"] = np.random.default_rng(1).random((160, 256), np.float32)
            file[f"{split}/target"] = np.arange(160) % 10


def datasets(values):
    """The name of each domain's data set."""
    sets = {name: domain["dataset"] for name, domain in values["domains"].items()}
    return {name: given if isinstance(given, str) else given["name"] for name, given in sets.items()}


def small(values):
    """Overrides that make a configuration one for a test."""
    overrides = ["training.steps=2", "training.batch_size=16", "training.log_every=1"]
    for name, dataset in datasets(values).items():
        overrides += [f"domains.{name}.dataset.{k}={json.dumps(v)}" for k, v in SMALL[dataset].items()]
        if dataset in NARROW:
            overrides += [
                f"{team}.architecture={{name: {values[team]['architecture']}, width: {NARROW[dataset]}}}"
                for team in ("generator", "discriminator")
            ]
    for number, metric in enumerate(values.get("metrics", [])):
        if "count" in installed().registry.get("metric", metric["name"], "").options.model_fields:
            overrides.append(f"metrics.{number}.count=20")
    return overrides


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_example_names_its_schema_for_editors(path):
    first = path.read_text().partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={schema_address('sweep' if path in SWEEPS else 'run')}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_example_runs_for_two_steps(path, tmp_path, small_files):
    small_files(datasets(FILES[path]).values())
    runs_for_two_steps(load_config(path, small(FILES[path])), tmp_path / "run")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_every_cell_of_a_sweep_builds_and_one_runs_for_two_steps(path, tmp_path, small_files):
    base = FILES[path]["base"]
    base = complete(base, path).values if isinstance(base, dict) else FILES[path.parent / base]
    small_files(datasets(base).values())
    varied = {key for axis in FILES[path]["axes"].values() for label in axis.values() for key in label}
    changes = [change for change in small(base) if change.partition("=")[0] not in varied]
    grid = load_grid(path, changes, plugins=installed())
    sweep = Sweep(grid, tmp_path / "sweep", installed())
    sweep.check()
    assert [status.state for status in sweep.statuses()] == ["new"] * len(grid.runs)
    cells = math.prod(len(axis) for axis in FILES[path]["axes"].values())
    assert len(grid.runs) == cells * len(grid.config.seeds)
    last = grid.runs[-1].config
    short = last.model_copy(update={"training": last.training.model_copy(update={"steps": 2})})
    run = runs_for_two_steps(short, tmp_path / "run")
    assert sweep.metric in run.read_json("summary.json")["last"]


def runs_for_two_steps(config, output):
    run = train(config, output)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    domains = list(config.domains)
    assert {f"loss/generator/{d}" for d in domains} <= set(lines[0])
    assert run.read_json("summary.json")["status"] == "finished"
    assert run.read_json("summary.json")["last"], "an example measures itself, at least at its end"
    samples = load_model(run.path).sample(3)
    assert list(samples) == domains
    return run


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_an_example_begins_with_its_purpose(path):
    opening = path.read_text().splitlines()[0:12]
    text = "\n".join(line for line in opening if line.startswith("#"))
    command = "coupling sweep" if path in SWEEPS else "coupling run"
    for wanted in (command, "Measured"):
        assert wanted in text, f"{path.name} must open with its command and what was measured"


def commands(path):
    """The commands of a header, as lists of words."""
    lines = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [shlex.split(found, comments=True) for found in re.findall(r"^coupling (?:'[^']*'|[^'\n])*$", text, re.M)]


def after(option, words):
    """What is given for an option in a command, each time."""
    return [value for name, value in itertools.pairwise(words) if name == option]


MEASURED = [path for path in CONFIGS if any(words[1] == "evaluate" for words in commands(path))]


@pytest.mark.parametrize("path", MEASURED, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_the_metrics_of_an_example_have_held_out_samples(path, small_files):
    """The header's last ``coupling run`` makes the run that its ``coupling evaluate`` measures."""
    small_files(datasets(FILES[path]).values())
    *_, run = (words for words in commands(path) if words[1] == "run")
    (evaluate,) = (words for words in commands(path) if words[1] == "evaluate")
    config = load_config(path, [*after("--set", run), *small(FILES[path])])
    assert evaluate[2] == f"runs/{config.name}-001"
    data = open_domains(config, installed().registry)
    for entry, place in choose_metrics(config, after("--metric", evaluate) or None, installed()):
        open_metric(entry, data, {}, installed().registry, place)


def test_every_registered_component_is_described():
    for component in installed().registry.components.values():
        assert component.description, component
        for name, field in component.options.model_fields.items():
            assert field.description, f"{component.kind} {component.name}: option {name} has no description"
