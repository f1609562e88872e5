"""Configurations that extend others: what is merged, from where files are found, and what is an error."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from coupling.api import load_config, parse_config
from coupling.config.inheritance import merge
from coupling.errors import ConfigError
from coupling.sweeps.grid import load_grid
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny


@pytest.fixture
def files(tmp_path, monkeypatch):
    """``files(name={...}, ...)``: write these mappings as name.yaml into the current folder; "base" is tiny's."""
    monkeypatch.chdir(tmp_path)

    def write(**contents):
        for name, content in {"base": tiny.values(), **contents}.items():
            Path(f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    return write


def load(path, *overrides):
    return load_config(path, overrides, plugins=tiny.plugins())


def problem(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(path, *overrides)
    return str(caught.value)


def test_a_file_changes_the_keys_that_it_has(files):
    files(child={"extends": "base.yaml", "name": "child", "training": {"steps": 7}})
    expected = tiny.config("name=child", "training.steps=7")
    assert load("child.yaml") == expected


def test_the_complete_configuration_does_not_name_the_parent(files):
    files(child={"extends": "base.yaml"})
    assert "extends" not in load("child.yaml").yaml()
    assert load("child.yaml") == load("base.yaml")


def test_overrides_change_the_merged_values(files):
    files(child={"extends": "base.yaml", "training": {"steps": 7}})
    assert load("child.yaml", "training.steps=8", "domains.a.dataset.half=1").training.steps == 8


def test_the_parent_is_found_from_the_file_that_names_it(files, tmp_path):
    files()
    for folder, parent in (("one", "../base.yaml"), ("one/two", "../child.yaml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "child.yaml").write_text(f"extends: {parent}\nname: {folder.replace('/', '-')}\n")
    os.chdir("/")
    config = load(tmp_path / "one" / "two" / "child.yaml")
    assert config.name == "one-two"
    assert config.domains == tiny.config().domains


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({"lr": 1, "betas": [0, 1]}, {"lr": 2}, {"lr": 2, "betas": [0, 1]}),
        ([1, 2], [3], [3]),
        ({"lr": 1}, None, None),
        (0.9, None, None),
        ({"name": "r1", "gamma": 1}, {"name": "hinge"}, {"name": "hinge"}),
        ({"name": "r1", "gamma": 1}, "hinge", "hinge"),
        ({"name": "r1", "gamma": 1}, {"gamma": 2}, {"name": "r1", "gamma": 2}),
        ({"name": "r1", "gamma": 1}, {"name": "r1", "every": 2}, {"name": "r1", "gamma": 1, "every": 2}),
        ("r1", {"gamma": 2}, {"name": "r1", "gamma": 2}),
        ("r1", {"name": "hinge"}, {"name": "hinge"}),
        ({"betas": [0, 1]}, {"name": "sgd"}, {"betas": [0, 1], "name": "sgd"}),
        (None, {"name": "r1"}, {"name": "r1"}),
    ],
)
def test_mappings_are_merged_and_everything_else_is_replaced(old, new, merged):
    assert merge({"key": old, "other": 1}, {"key": new}) == {"key": merged, "other": 1}


VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from(["r1", "hinge"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "name"]), inner),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES)


def paths(values, *, prefix=()):
    """Every value that is no mapping, and every empty mapping, by its path."""
    if isinstance(values, dict) and values:
        return {path: v for key, inner in values.items() for path, v in paths(inner, prefix=(*prefix, key)).items()}
    return {prefix: values}


@given(base=MAPPINGS, changes=MAPPINGS)
def test_every_value_of_the_changes_is_in_the_result_and_nothing_is_changed_in_place(base, changes):
    before = copy.deepcopy((base, changes))
    merged = merge(base, changes)
    assert (base, changes) == before
    found = paths(merged)
    assert all(found[path] == value for path, value in paths(changes).items() if path and value != {})
    assert merge(merged, changes) == merged
    assert merge(base, {}) == base


def test_a_circle_is_an_error_that_names_its_files(files):
    files(one={"extends": "two.yaml"}, two={"extends": "three.yaml"}, three={"extends": "one.yaml"})
    message = problem("one.yaml")
    assert message == (
        "one.yaml: extends: is a circle: one.yaml extends two.yaml extends three.yaml extends one.yaml; take `extends` "
        "out of one of these files"
    )
    files(own={"extends": "./own.yaml"})
    assert "own.yaml extends own.yaml" in problem("own.yaml")


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        ({"extends": "bas.yaml"}, "child.yaml: extends: bas.yaml: no such file; did you mean 'base.yaml'?"),
        ({"extends": "."}, "extends: .: is a directory"),
        ({"extends": ["base.yaml"]}, "extends: [base.yaml] is not valid: should be the path of one"),
        ({"extends": None}, "extends: null is not valid"),
        ({"extends": ""}, "extends: '' is not valid"),
        ({"extends": "sweep.yaml"}, "extends: sweep.yaml: is a sweep; name the configuration of a run"),
        ({"extends": "list.yaml"}, "extends: list.yaml: is not a configuration of a run"),
        ({"extends": "broken.yaml"}, "extends: broken.yaml: line 1"),
        ({"extends": "base.yaml", "traning": {}}, "unknown key 'traning'; did you mean 'training'?"),
        ({"extends": "base.yaml", "training": {"steps": 0}}, "training.steps: 0 is not valid"),
    ],
)
def test_what_cannot_be_extended_is_one_message(files, command, content, fragment):
    files(child=content, sweep={"name": "s", "base": "base.yaml"}, list=[1])
    Path("broken.yaml").write_text("a: [")
    assert fragment in problem("child.yaml")
    rejected(command("check", "child.yaml", "--plugin", TINY), fragment)


def test_values_and_set_cannot_extend_a_file(files):
    files()
    message = "extends: only a configuration file can extend another one, not values or --set"
    assert problem("base.yaml", "extends=base.yaml") == f"base.yaml: {message}"
    with pytest.raises(ConfigError, match="only a configuration file"):
        parse_config({"extends": "base.yaml"})


@pytest.mark.parametrize("base", ["child.yaml", {"extends": "base.yaml", "training": {"steps": 7}}])
def test_the_base_of_a_sweep_can_extend_a_file(files, base):
    files(child={"extends": "base.yaml", "training": {"steps": 7}}, sweep={"name": "s", "base": base})
    grid = load_grid("sweep.yaml", plugins=tiny.plugins())
    assert grid.runs[0].config == tiny.config("training.steps=7")
    assert "extends" not in grid.yaml()


def test_a_wrong_parent_of_a_sweeps_base_is_one_message(files):
    files(child={"extends": "missing.yaml"}, sweep={"name": "s", "base": "child.yaml"})
    with pytest.raises(ConfigError, match=r"^sweep.yaml: base: extends: missing.yaml: no such file"):
        load_grid("sweep.yaml", plugins=tiny.plugins())


def test_check_prints_the_complete_configuration(train, command):
    assert "configuration" not in train(verb="check").stdout
    Path("child.yaml").write_text("extends: tiny.yaml\nname: child\n")
    result = command("check", "child.yaml", "--plugin", TINY, "--set", "training.steps=9")
    assert result.exit_code == 0, result.output
    _, found, text = result.stdout.partition("configuration, complete with tiny.yaml\n")
    assert found
    assert yaml.safe_load(text) == load("child.yaml", "training.steps=9").plain()


def test_a_run_does_not_need_its_parent(train, command):
    train(verb="check")
    Path("child.yaml").write_text("extends: tiny.yaml\nname: child\n")
    assert command("run", "child.yaml", "--plugin", TINY).exit_code == 0
    Path("tiny.yaml").unlink()
    Path("child.yaml").unlink()
    again = command("run", "runs/child-001/config.yaml", "--plugin", TINY)
    assert again.stdout == "runs/child-002\n", again.output


def test_check_warns_of_the_schema_of_another_version(train, command):
    train(verb="check")
    text = Path("tiny.yaml").read_text()
    address = "https://raw.githubusercontent.com/coupling-gan/coupling/main/docs/schema"
    for version, warned in (("0.0", True), ("0.1", False)):
        Path("tiny.yaml").write_text(f"# yaml-language-server: $schema={address}/{version}/run.json\n{text}")
        result = command("check", "tiny.yaml", "--plugin", TINY)
        assert result.exit_code == 0
        assert (result.stderr != "") == warned
        assert not warned or result.stderr.startswith("warning: tiny.yaml: its first line names the schema of version")
