"""Demo models, demo:NAME: finished models of installed distributions, to try without training."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coupling.api import load_model
from coupling.runs import demos
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny


@pytest.fixture
def demo(model, tmp_path, monkeypatch):
    """The demo "small" of an installed distribution: the tiny plugin's model."""
    folder = tmp_path / "installed" / "some_demos"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "small.yaml").write_text("# Tiny pictures,\n# in two domains.\n\n# More.\n" + model.config.yaml())
    model.save(folder / "small.safetensors", generators_only=True, half=True)
    point = importlib.metadata.EntryPoint("small", "some_demos", demos.GROUP)
    found = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == demos.GROUP else found(group=group)
    )
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_a_demo_is_loaded_by_its_name(demo):
    model = load_model("demo:small", plugins=tiny.plugins())
    assert set(model.sample(2)) == {"a", "b"}


def test_demos_are_listed_with_their_domains(command, demo):
    result = command("demo")
    assert result.exit_code == 0
    assert "demo:small  a, b     1 × 4 × 4" in result.stdout
    assert "coupling sample demo:small" in result.stderr


def test_a_demo_is_described(command, demo):
    result = command("demo", "demo:small")
    assert result.exit_code == 0
    assert "Tiny pictures, in two domains." in result.stdout
    assert str(demo / "small.yaml") in result.stdout


@pytest.mark.parametrize("verb", ["sample", "traverse", "report", "export"])
def test_commands_write_beside_the_user_and_not_into_the_distribution(command, demo, verb):
    before = sorted(path.name for path in demo.iterdir())
    result = command(verb, "demo:small", "--plugin", TINY)
    assert result.exit_code == 0, result.output
    assert list(Path("demo-small").iterdir())
    assert sorted(path.name for path in demo.iterdir()) == before


def test_a_demo_with_known_coverage_needs_no_data(command, demo, model, monkeypatch):
    from coupling.generation import coverage
    from coupling.model.inversion import Search

    small = load_model("demo:small", plugins=tiny.plugins())
    search = Search(restarts=1, iterations=1)
    measured = coverage.load_or_measure_coverage(small, "a", search, tiny.plugins(), demo)
    (demo / coverage.FILE).rename(demo / "small.coverage.json")
    monkeypatch.setattr(coverage, "measure_coverage", None)
    threshold = coverage.load_or_measure_threshold(small, "a", search, tiny.plugins(), Path("demo:small"), None)
    assert threshold == measured.threshold


def test_a_demo_without_known_coverage_is_not_measured(command, demo, monkeypatch, capsys):
    from coupling.generation import coverage
    from coupling.model.inversion import Search

    small = load_model("demo:small", plugins=tiny.plugins())
    monkeypatch.setattr(coverage, "measure_coverage", None)
    found = coverage.load_or_measure_threshold(small, "a", Search(), tiny.plugins(), Path("demo:small"), None)
    assert found is None
    assert "demo:small: whether the model covers an image is not checked" in capsys.readouterr().err


def test_an_unknown_demo_is_an_error(command, demo):
    rejected(command("sample", "demo:smal"), "demo:smal: no such demo; did you mean 'small'?")


def test_a_demo_without_its_file_is_an_error(command, demo):
    (demo / "small.safetensors").unlink()
    rejected(command("sample", "demo:small"), "small.safetensors is missing; install")


def test_without_demos_the_error_says_how_to_get_some(command, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    rejected(command("demo"), "no demo is installed; pip install coupling-faces")
    rejected(command("sample", "demo:faces"), "demo:faces: no demo is installed")


def test_the_list_of_demos_is_there_without_torch():
    code = "import sys; from coupling.runs import demos; demos.demo_names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_coverage_that_travels_with_a_demo_is_that_of_its_model_and_the_default_search():
    from coupling.generation.coverage import coverage_key
    from coupling.model.inversion import Search

    for name in demos.demo_names():
        file = demos.find_demo(name).coverage
        if file.exists():
            model = load_model(f"demo:{name}")
            assert list(json.loads(file.read_text())) == [coverage_key(model, d, Search(), None) for d in model.domains]
