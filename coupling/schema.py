"""JSON schema of the configuration, with the options of every registered component."""

from __future__ import annotations

from typing import Any

from coupling.config import Config, MetricConfig, PartOptions
from coupling.grid import SweepConfig
from coupling.registry import KINDS, Component, Registry


def config_schema(registry: Registry) -> dict[str, Any]:
    """The whole schema, for editors: names are completed, options checked and described."""
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


def sweep_schema(registry: Registry) -> dict[str, Any]:
    """The schema of a sweep, whose base may be a whole configuration."""
    configuration = config_schema(registry)
    schema = SweepConfig.model_json_schema()
    definitions = configuration.pop("$defs")
    dialect = configuration.pop("$schema")
    configuration.pop("required")  # an axis may set what the base leaves open
    properties = schema["properties"]
    base = properties["base"]["description"]
    properties["base"] = {"description": base, "anyOf": [{"type": "string"}, {"$ref": "#/$defs/configuration"}]}
    axis = properties["axes"]["additionalProperties"]
    properties["axes"]["additionalProperties"] = {"anyOf": [axis, {"type": "array", "minItems": 1}]}
    return (
        {"$schema": dialect, "title": "coupling sweep"}
        | schema
        | {"$defs": {**definitions, "configuration": configuration}}
    )


def _component_schema(component: Component, definitions: dict[str, Any]) -> dict[str, Any]:
    title = f"{component.kind} {component.name}"
    # Two plugins may call their models alike, so each component's get its name.
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
