"""The JSON schema: it accepts every example, rejects what `coupling` rejects, and describes every option."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from coupling import __version__
from coupling.config.json_schema import SCHEMA_VERSION, config_schema, outdated_schema, schema_address
from coupling.config.overrides import override
from coupling.config.registry import KINDS
from coupling.config.yaml_text import parse_yaml
from coupling.plugins import Plugins
from coupling.sweeps.json_schema import sweep_schema
from tests.support import tiny_plugin as tiny

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return config_schema(Plugins(("tests.support.tiny_plugin",)).registry)


@pytest.fixture(scope="module")
def validator(schema) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def sweep_validator() -> jsonschema.Draft202012Validator:
    sweeps = sweep_schema(Plugins(("tests.support.tiny_plugin",)).registry)
    jsonschema.Draft202012Validator.check_schema(sweeps)
    return jsonschema.Draft202012Validator(sweeps)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid(path, validator, sweep_validator):
    values = parse_yaml(path.read_text())
    (sweep_validator if "base" in values else validator).validate(values)


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize(
    "assignment",
    [
        "domains.a.dataset.half=1",
        "domains.a.dataset.part=[1, 3]",
        "domains.a.dataset.transform=edges",
        "domains.a.dataset.transform={name: rotate90}",
        "domains.a.dataset.transform=[edges, {name: negative}]",
        "losses=[{name: r1, gamma: 3}]",
        "metrics=[{name: brightness, domain: b, every: 3}]",
        "metrics=[{name: pixel-agreement, from: a, to: b}]",
        "generator.optimizer={lr: 1.0e-3, betas: [0, 0.9]}",
        "training.ema=null",
    ],
)
def test_valid_configurations_pass(validator, assignment):
    validator.validate(tiny.values(assignment))
    tiny.config(assignment)


@pytest.mark.parametrize(
    "assignment",
    [
        "traning={}",
        "training.step=1",
        "training.steps=0",
        "training.steps=many",
        "name=a b",
        "domains={}",
        "domains.c={dataset: nothing}",
        "domains.a.datset=tiny",
        "domains.a.dataset.half=3",
        "domains.a.dataset.cuont=3",
        "domains.a.dataset.count=-3",
        "domains.a.dataset.transform=edgs",
        "domains.a.dataset.transform={name: edges, x: 1}",
        "generator.architecture={name: linear, widht: 1}",
        "generator.architecture={width: 1}",
        "losses=[hing]",
        "losses=[{name: r1, gama: 1}]",
        "losses=[]",
        "metrics=[{name: brightness, every: 0}]",
        "metrics=[{name: pixel-agreement, from_: a, to: b}]",
        "metrics=[{name: pixel-agreement, from: a}]",
        "optimizer.betas=[0.5]",
        "sharing.generator=[{frist: 1}]",
    ],
)
def test_typos_are_rejected(validator, assignment):
    values = copy.deepcopy(tiny.VALUES)
    override(values, assignment)
    assert not validator.is_valid(values)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "child", "training": {"steps": 7}},
        {"domains": {"a": {"dataset": {"half": 1}}}, "generator": {"optimizer": {"lr": 1.0e-3}}},
        {"generator": {"architecture": {"width": 8}}},
        {"generator": {"architecture": "mlp"}},
    ],
)
def test_a_configuration_that_extends_another_has_only_what_it_changes(validator, changes):
    validator.validate({"extends": "base.yaml"} | changes)
    assert not validator.is_valid(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"extends": 1},
        {"traning": {}},
        {"domains": {"a": {"dataset": {"hlaf": 1}}}},
        {"generator": {"architecture": {"widht": 8}}},
        {"losses": [{"gamma": 1}]},
    ],
)
def test_typos_beside_extends_are_rejected(validator, changes):
    assert not validator.is_valid({"extends": "base.yaml"} | changes)


@pytest.mark.parametrize("missing", ["domains.a={}", "generator={}", "discriminator.architecture={width: 4}"])
def test_without_extends_nothing_may_be_missing(validator, missing):
    values = copy.deepcopy(tiny.VALUES)
    override(values, missing)
    assert not validator.is_valid(values)


def test_the_base_of_a_sweep_may_extend_a_file(sweep_validator):
    sweep_validator.validate({"name": "s", "base": {"extends": "faces.yaml", "training": {"steps": 3}}})


def test_schemas_name_their_own_address(schema):
    assert schema["$id"] == schema_address("run")
    assert schema_address("run").endswith(f"/{__version__.rpartition('.')[0]}/run.json")


def test_a_modeline_of_another_version_is_found():
    line = f"# yaml-language-server: $schema={schema_address('run')}\nname: x\n"
    assert outdated_schema(line) is None
    assert outdated_schema(line.replace(SCHEMA_VERSION, "0.0")) == "0.0"
    assert outdated_schema("name: x") is None
    assert outdated_schema("# yaml-language-server: $schema=my.json") is None


def test_every_option_of_every_component_is_there_and_described(schema):
    registry = Plugins(("tests.support.tiny_plugin",)).registry
    for (kind, name), component in registry.components.items():
        definition = schema["$defs"][f"{kind} {name}"]
        assert definition["description"], f"{kind} {name}"
        properties = definition["properties"]
        options = {field.alias or key for key, field in component.options.model_fields.items()}
        common = {"dataset": {"half", "part", "transform"}, "metric": {"every"}, "augmentation": {"domains"}}.get(
            kind, set()
        )
        assert set(properties) == options | common | {"name"}
        undescribed = [key for key in properties if key != "name" and not properties[key].get("description")]
        assert not undescribed, f"{kind} {name}"
    for kind in KINDS:
        assert schema["$defs"][kind]["anyOf"][0]["enum"] == registry.names(kind)


def test_every_key_of_the_configuration_is_described(schema):
    sections = {"configuration": schema} | {
        k: d for k, d in schema["$defs"].items() if " " not in k and "properties" in d
    }
    assert {"TrainingConfig", "RuleConfig", "DomainConfig"} < sections.keys()
    undescribed = [
        f"{section}.{key}"
        for section, definition in sections.items()
        for key, value in definition["properties"].items()
        if not value.get("description") and key != "name"
    ]
    assert undescribed == []


def test_every_reference_has_a_definition(schema):
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [r for inner in value.values() for r in references(inner)]
        return [r for inner in value for r in references(inner)] if isinstance(value, list) else []

    found = set(references(schema))
    assert found
    assert all(reference.removeprefix("#/$defs/") in schema["$defs"] for reference in found)


def test_two_components_may_use_models_of_one_name():
    def first() -> Any:
        class Corner(BaseModel):
            x: int

        def make(*, corner: Corner) -> None: ...

        make.__annotations__["corner"] = Corner
        return make

    def second() -> Any:
        class Corner(BaseModel):
            y: int

        def make(*, corner: Corner) -> None: ...

        make.__annotations__["corner"] = Corner
        return make

    plugins = Plugins(entry_points=False)
    plugins.registry.add("loss", "first", first(), "a")
    plugins.registry.add("loss", "second", second(), "b")
    validator = jsonschema.Draft202012Validator(config_schema(plugins.registry))
    values = tiny.VALUES | {"domains": {"a": {"dataset": {"name": "image-folder", "path": "x"}}}}
    values |= {"generator": {"architecture": "mlp"}, "discriminator": {"architecture": "mlp"}}
    validator.validate(values | {"losses": [{"name": "first", "corner": {"x": 1}}]})
    validator.validate(values | {"losses": [{"name": "second", "corner": {"y": 1}}]})
    assert not validator.is_valid(values | {"losses": [{"name": "first", "corner": {"y": 1}}]})


def test_the_schema_is_json(schema):
    assert json.loads(json.dumps(schema)) == schema
