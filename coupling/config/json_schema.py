"""JSON schema of the configuration, with the options of every registered component."""

from __future__ import annotations

from typing import Any

from coupling.config.components import MetricConfig, PartOptions
from coupling.config.config import Config
from coupling.config.registry import KINDS, Component, Registry


def config_schema(registry: Registry) -> dict[str, Any]:
    """The JSON schema of a configuration, with which editors complete names, check options and describe them."""
    schema = Config.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    definitions.pop("ComponentConfig")
    definitions.pop("MetricConfig")
    for kind in KINDS:
        components = [c for (k, _), c in sorted(registry.components.items()) if k == kind]
        for component in components:
            definitions[f"{kind} {component.name}"] = _component_schema(component, definitions)
        names = [c.name for c in components]
        complete = [{"$ref": f"#/$defs/{kind} {name}"} for name in names]
        definitions[kind] = {"anyOf": [{"enum": names}, *complete]}
    for owner, kind in (("DomainConfig", "dataset"), ("TeamConfig", "architecture")):
        properties = definitions[owner]["properties"]
        properties[kind] = {"$ref": f"#/$defs/{kind}", "description": properties[kind]["description"]}
    for key, kind in (("losses", "loss"), ("metrics", "metric")):
        schema["properties"][key]["items"] = {"$ref": f"#/$defs/{kind}"}
    schema["properties"]["losses"]["default"] = ["non-saturating"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "coupling configuration"} | schema


def _component_schema(component: Component, definitions: dict[str, Any]) -> dict[str, Any]:
    title = f"{component.kind} {component.name}"
    # Two plugins may use the same name for a model, so the models of a component get its name.
    own = component.options.model_json_schema(ref_template=f"#/$defs/{title} {{model}}")
    definitions.update({f"{title} {model}": schema for model, schema in own.pop("$defs", {}).items()})
    properties: dict[str, Any] = {"name": {"const": component.name}, **own.get("properties", {})}
    if component.kind == "dataset":
        properties |= _common_options()
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
