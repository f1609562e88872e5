"""JSON schema of a sweep."""

from __future__ import annotations

from typing import Any

from coupling.config.json_schema import config_schema, schema_address
from coupling.config.registry import Registry
from coupling.sweeps.grid import SweepConfig


def sweep_schema(registry: Registry) -> dict[str, Any]:
    """The schema of a sweep, whose base may be a whole configuration."""
    configuration = config_schema(registry)
    schema = SweepConfig.model_json_schema()
    definitions = configuration.pop("$defs")
    dialect = configuration.pop("$schema")
    del configuration["$id"]
    del configuration["if"], configuration["else"]  # an axis may set a key that the base does not have
    properties = schema["properties"]
    base = properties["base"]["description"]
    properties["base"] = {"description": base, "anyOf": [{"type": "string"}, {"$ref": "#/$defs/configuration"}]}
    axis = properties["axes"]["additionalProperties"]
    properties["axes"]["additionalProperties"] = {"anyOf": [axis, {"type": "array", "minItems": 1}]}
    return (
        {"$schema": dialect, "$id": schema_address("sweep"), "title": "coupling sweep"}
        | schema
        | {"$defs": {**definitions, "configuration": configuration}}
    )
