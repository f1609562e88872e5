"""JSON schema of the configuration, with the options of every registered component."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from coupling.config.components import MetricConfig, OperationConfig, PartOptions
from coupling.config.config import Config
from coupling.config.inheritance import EXTENDS
from coupling.config.registry import KINDS, Component, Registry
from coupling.version import __version__

ADDRESS = "https://raw.githubusercontent.com/coupling-gan/coupling/main/docs/schema"
"""Where the schemas of all versions are published."""

SCHEMA_VERSION = ".".join(__version__.split(".")[:2])
"""The version of the schema: within it, keys may be added, but none is removed."""


def config_schema(registry: Registry) -> dict[str, Any]:
    """The JSON schema of a configuration, with which editors complete names, check options and describe them."""
    schema = Config.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    definitions.pop("ComponentConfig")
    definitions.pop("MetricConfig")
    definitions.pop("OperationConfig")
    for kind in KINDS:
        components = [c for (k, _), c in sorted(registry.components.items()) if k == kind]
        for component in components:
            definitions[f"{kind} {component.name}"] = _component_schema(component, definitions)
        names = [c.name for c in components]
        complete = [{"$ref": f"#/$defs/{kind} {name}"} for name in names]
        definitions[kind] = {"anyOf": [{"enum": names}, *complete]}
    for owner, kind in (("DomainConfig", "dataset"), ("TeamConfig", "architecture")):
        properties = definitions[owner]["properties"]
        reference = {"anyOf": [{"$ref": f"#/$defs/{kind}"}, _changes(kind, definitions)]}
        properties[kind] = reference | {"description": properties[kind]["description"]}
        del definitions[owner]["required"]
    for key, kind in (("losses", "loss"), ("metrics", "metric")):
        schema["properties"][key]["items"] = {"$ref": f"#/$defs/{kind}"}
    schema["properties"]["losses"]["default"] = ["non-saturating"]
    definitions["AugmentationConfig"]["properties"]["operations"]["items"] = {"$ref": "#/$defs/augmentation"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_address("run"),
        "title": "coupling configuration",
    } | _with_extends(schema)


def schema_address(name: Literal["run", "sweep"]) -> str:
    """The address of this version's schema, which editors read: that of the included plugins."""
    return f"{ADDRESS}/{SCHEMA_VERSION}/{name}.json"


def outdated_schema(text: str) -> str | None:
    """The version of the schema that a configuration names for editors, if it is another than this one's; else None."""
    named = re.search(rf"^# yaml-language-server: \$schema={re.escape(ADDRESS)}/([\w.]+)/", text, re.MULTILINE)
    return None if named is None or named[1] == SCHEMA_VERSION else named[1]


def _changes(kind: str, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of changes to the component that an extended file names: options without a name."""
    owned = [definition for name, definition in definitions.items() if name.startswith(f"{kind} ")]
    options = {key: True for definition in owned for key in definition["properties"] if key != "name"}
    return {"type": "object", "properties": options, "additionalProperties": False}


def _with_extends(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the key ``extends``, without which every required key must be there."""
    named = {"if": {"type": "object"}, "then": {"required": ["name"]}}
    team = {"required": ["architecture"], "properties": {"architecture": named}}
    domain = {"required": ["dataset"], "properties": {"dataset": named}}
    complete = {
        "required": schema["required"],
        "properties": {"domains": {"additionalProperties": domain}, "generator": team, "discriminator": team},
    }
    extends = {"type": "string", "description": "a configuration file whose keys these change, found from this file"}
    rest = {key: value for key, value in schema.items() if key != "required"}
    rest["properties"] = {EXTENDS: extends} | schema["properties"]
    return rest | {"if": {"required": [EXTENDS]}, "else": complete}


def _component_schema(component: Component, definitions: dict[str, Any]) -> dict[str, Any]:
    title = f"{component.kind} {component.name}"
    # Two plugins may use the same name for a model, so the models of a component get its name.
    own = component.options.model_json_schema(ref_template=f"#/$defs/{title} {{model}}")
    definitions.update({f"{title} {model}": schema for model, schema in own.pop("$defs", {}).items()})
    properties: dict[str, Any] = {"name": {"const": component.name}, **own.get("properties", {})}
    if component.kind == "dataset":
        properties |= _common_options()
    if component.kind == "augmentation":
        properties["domains"] = OperationConfig.model_json_schema()["properties"]["domains"]
    if component.kind == "metric":
        properties["every"] = MetricConfig.model_json_schema()["properties"]["every"]
    return {
        "type": "object",
        "description": component.description,
        "properties": properties,
        "required": ["name", *own.get("required", [])],
        "additionalProperties": False,
    }


def _common_options() -> dict[str, Any]:
    properties: dict[str, Any] = PartOptions.model_json_schema()["properties"]
    transform = {"$ref": "#/$defs/transform"}
    properties["transform"] = {
        "description": properties["transform"]["description"],
        "anyOf": [transform, {"type": "array", "items": transform}],
        "default": [],
    }
    return properties
