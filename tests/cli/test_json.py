"""``--json``: one JSON document on standard output, messages on standard error."""

from __future__ import annotations

import io
import json
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest
import yaml
from rich.console import Console

from coupling.cli import cli
from coupling.cli.available_plugins import available_plugins, print_available
from coupling.cli.json_documents import print_json
from coupling.plugins import Plugins
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny


def document(result):
    """The document of a command that has succeeded."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout, parse_constant=pytest.fail)


@pytest.fixture
def trained(train):
    metrics = "metrics=[{name: brightness, domain: a}]"
    assert train(metrics, "--output", "trained").exit_code == 0
    return Path("trained")


def test_check_gives_what_it_builds(train):
    found = document(train("--json", verb="check"))
    assert found["domains"]["a"] == {
        "dataset": "tiny", "shape": [1, 4, 4], "range": [-1, 1], "samples": 16, "part": [1, 2]
    }  # fmt: skip
    assert found["parameters"]["generator"] == {"total": 304, "shared": 80, "separate": 384}
    assert sum(group["parameters"] for group in found["sharing"]["generator"]) == 304
    assert found["sharing"]["generator"][0]["layer"] == {"a": 1, "b": 1}
    assert found["operations"]["separate"] > found["operations"]["coupled"] > 0
    assert found["configuration"] == tiny.config("training.steps=2").plain()
    assert found["extends"] == []


def test_check_names_the_files_that_are_extended(train, command):
    train(verb="check")
    Path("child.yaml").write_text("extends: tiny.yaml\nname: child\n")
    found = document(command("check", "child.yaml", "--plugin", TINY, "--json"))
    assert found["extends"] == ["tiny.yaml"]
    assert found["configuration"]["name"] == "child"


def test_evaluate_gives_its_values_and_their_records(trained, command):
    result = command("evaluate", trained, "--plugin", TINY, "--json")
    found = document(result)
    assert found["step"] == 2
    assert list(found["scores"]) == ["brightness/a"]
    assert (
        found["values"]["brightness/a"] == found["scores"]["brightness/a"] == found["records"]["brightness/a"]["value"]
    )
    assert found["records"]["brightness/a"]["metric"] == {"name": "brightness", "domain": "a"}
    assert found["directory"] == "trained"
    assert "appended to" in result.stderr


def test_evaluate_gives_null_for_what_is_undefined(capsys):
    print_json({"values": {"a": float("nan"), "b": [float("inf"), 1.5]}, "path": Path("x")})
    assert json.loads(capsys.readouterr().out) == {"values": {"a": None, "b": [None, 1.5]}, "path": "x"}


def test_sample_gives_its_manifest(trained, command):
    found = document(command("sample", trained, "--count", 3, "--plugin", TINY, "--json"))
    assert found == {"directory": "trained/sampled"} | json.loads(Path("trained/sampled/manifest.json").read_text())
    assert found["complete"]


def test_plugins_lists_every_component(command):
    found = document(command("plugins", "--plugin", TINY, "--json"))
    registry = Plugins((TINY,)).registry
    assert {(c["kind"], c["name"]) for c in found["components"]} == set(registry.components)
    assert all(c["plugin"] and c["description"] for c in found["components"])
    assert "coupling" in found["plugins"]
    assert found["left out"] == {}


def test_plugins_lists_one_kind(command):
    found = document(command("plugins", "losses", "--json"))
    assert {c["kind"] for c in found["components"]} == {"loss"}


@pytest.mark.parametrize("width", [60, 90, 200])
def test_plugins_that_are_available_fit_the_terminal(width):
    console = Console(width=width, record=True, file=io.StringIO())
    print_available(console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = "".join(line.strip() for line in lines)
    for plugin in available_plugins():
        assert any(line.startswith(plugin.name) for line in lines)  # names are whole
        assert width == 200 or plugin.address in text


def test_plugins_that_are_available_are_listed_with_what_is_installed(command):
    found = {plugin["name"]: plugin for plugin in document(command("plugins", "--available", "--json"))["available"]}
    assert found["coupling-faces"]["installed"] == metadata.version("coupling-faces")
    assert found["coupling-faces"]["install"] == "pip install coupling-faces"
    text = command("plugins", "--available").stdout
    assert all(name in text and plugin["address"] in text for name, plugin in found.items())
    rejected(command("plugins", "mnist", "--available"), "--available lists whole plugins; leave 'mnist' out")


@pytest.mark.parametrize("name", ["mnist", "pixel-agreement", "upsampling", "avatars", "classification"])
def test_plugins_gives_the_schema_of_a_components_options(command, name):
    [component] = document(command("plugins", name, "--json"))["components"]
    jsonschema.Draft202012Validator.check_schema(component["options"])
    assert all(option["description"] for option in component["options"]["properties"].values())
    if name == "mnist":
        assert "half" in component["options"]["properties"]


@pytest.fixture
def swept(train):
    train(verb="check")
    values = {"name": "s", "base": "tiny.yaml", "axes": {"optimizer.lr": [1e-3, 1e-4]}, "seeds": [0]}
    values |= {"set": {"metrics": [{"name": "brightness", "domain": "a"}]}}
    Path("sweep.yaml").write_text(yaml.safe_dump(values))


def test_sweep_gives_its_runs_and_their_results(swept, command):
    planned = document(command("sweep", "sweep.yaml", "--plugin", TINY, "--dry-run", "--json"))
    assert [run["state"] for run in planned["runs"]] == ["new", "new"]
    result = command("sweep", "sweep.yaml", "--plugin", TINY, "--jobs", 2, "--json")
    found = document(result)
    assert found["metric"] == "brightness/a"
    assert [run["cell"] for run in found["runs"]] == [{"optimizer.lr": "0.001"}, {"optimizer.lr": "0.0001"}]
    for run in found["runs"]:
        summary = json.loads((Path(run["directory"]) / "summary.json").read_text())
        assert (run["state"], run["step"], run["steps"]) == ("finished", 2, 2)
        assert run["last"] == summary["last"]
        assert run["best"] == summary["best"]
    assert "2 of 2 runs to do" in result.stderr


def test_an_error_leaves_standard_output_empty(command):
    for arguments in (
        ("check", "missing.yaml"),
        ("plugins", "mnits"),
        ("sample", "missing"),
        ("sweep", "missing.yaml"),
    ):
        result = command(*arguments, "--json")
        rejected(result)
        assert result.stdout == ""


def test_the_commands_that_have_the_option():
    names = {name for name, c in cli.commands.items() if any(p.name == "as_json" for p in c.params)}
    assert names >= {"check", "evaluate", "plugins", "sample", "sweep"}
