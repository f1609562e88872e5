"""The output of `coupling plugins`: the components by kind, and the options of a component."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from coupling.cli.plugin_commands import hooked_commands, listed_commands
from coupling.cli.tables import table
from coupling.config.components import MetricConfig, OperationConfig, PartOptions
from coupling.config.registry import KINDS, Component
from coupling.config.schedules import Schedule
from coupling.errors import InputError, nearest
from coupling.metrics.metric import Metric, describe_range
from coupling.plugins import Plugins

_PLURALS = {kind: f"{kind}s" if kind != "loss" else "losses" for kind in KINDS}


def kind_called(name: str) -> str | None:
    """The kind of component called ``name``, in the singular or plural; None if there is no such kind."""
    return next((kind for kind, plural in _PLURALS.items() if name in (kind, plural)), None)


def print_plugins(plugins: Plugins, kind: str | None, ours: Iterable[str], console: Console) -> None:
    """Print the registered components with their plugins, by kind; all kinds where ``kind`` is None.

    The list of all kinds ends with the commands of plugins, and with what was left out. ``ours``: coupling's commands.
    """
    width = max(len(component.name) for component in components_of(kind, plugins))
    for each in KINDS if kind is None else (kind,):
        made = table("name", "plugin", "description", whole=("name", "plugin"))
        made.columns[0].min_width = width
        for name in plugins.registry.names(each):
            component = plugins.registry.components[each, name]
            made.add_row(name, component.owner, component.description)
        _print_section(_PLURALS[each], made, console)
    if kind is None:
        _print_commands(list(ours), console)
        for name, reason in plugins.registry.broken.items():
            console.print(f"left out: {name}: {reason}")


def components_of(kind: str | None, plugins: Plugins) -> list[Component]:
    """The registered components of a kind; of all kinds where it is None."""
    return [c for c in plugins.registry.components.values() if kind in (None, c.kind)]


def plugin_commands(ours: Iterable[str]) -> dict[str, click.Command]:
    """The commands that plugins add; ``ours``: coupling's commands."""
    names = list(ours)
    commands: dict[str, click.Command] = {name: c for name, c in listed_commands().items() if name not in names}
    return commands | dict(hooked_commands(names))


def _print_section(title: str, rows: Table, console: Console) -> None:
    console.print(title, style="bold")
    console.print(rows)
    console.print()


def _print_commands(ours: list[str], console: Console) -> None:
    """Print the commands that plugins add to ``coupling``."""
    if commands := plugin_commands(ours):
        made = table("name", "description", whole=("name",))
        for name, command in commands.items():
            made.add_row(name, command.get_short_help_str(limit=200))
        _print_section("commands", made, console)
    for name, command in listed_commands().items():
        if name in ours:
            console.print(f"left out: {command.owners[0]}: its command '{name}' has the name of one of coupling's own")


def components_called(name: str, plugins: Plugins) -> list[Component]:
    """The components called ``name``, of every kind that has the name; raises :class:`InputError` if there is none."""
    components = plugins.registry.components
    found = [component for (_, n), component in components.items() if n == name]
    if not found:
        hint = nearest(name, {*KINDS, *(n for _, n in components)})
        raise InputError(f"no component is called '{name}'; {hint}")
    return found


def print_component(name: str, plugins: Plugins, console: Console) -> None:
    """Print the description and options of the component called ``name``, of every kind that has the name."""
    for component in components_called(name, plugins):
        console.print(f"{component.kind} {component.name} (plugin {component.owner})", style="bold")
        console.print(component.description)
        if component.kind == "metric":
            bounds = getattr(component.make, "range", Metric.range)
            better = getattr(component.make, "better", Metric.better)
            console.print(f"Range: {describe_range(bounds)}; {better} is better.")
        console.print(_options_table(component))


def option_fields(component: Component) -> dict[str, FieldInfo]:
    """The options of a component, with those that all of its kind have."""
    fields: dict[str, FieldInfo] = dict(component.options.model_fields)
    if component.kind == "dataset":
        fields |= PartOptions.model_fields
    if component.kind == "augmentation":
        fields["domains"] = OperationConfig.model_fields["domains"]
    if component.kind == "metric":
        fields["every"] = MetricConfig.model_fields["every"]
    return fields


def _options_table(component: Component) -> Table:
    made = table("option", "type", "default", "description")
    for key, field in option_fields(component).items():
        made.add_row(field.alias or key, _type_name(field), _default(field), field.description or "")
    return made


def _type_name(field: FieldInfo) -> str:
    """A type as one writes its values: ``integer, 1 or more``, ``none | stretch | crop``, ``null``."""
    return ", ".join([_annotation_name(field.annotation), *_bounds(field.metadata)])


def _annotation_name(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([_annotation_name(inner[0]), *_bounds(inner[1:])])
    if origin in (Union, UnionType):
        return " | ".join(_annotation_name(part) for part in inner)
    if origin is Literal:
        return " | ".join(str(value) for value in inner)
    if origin is tuple:
        return f"[{', '.join(_annotation_name(part) for part in inner)}]"
    if origin is dict:
        return f"mapping of {_annotation_name(inner[0])} to {_annotation_name(inner[1])}"
    if origin is list:
        return f"list of {_annotation_name(inner[0])}"
    if origin is dict:
        return f"{{{_annotation_name(inner[0])}: {_annotation_name(inner[1])}}}"
    if isinstance(annotation, type) and issubclass(annotation, Schedule):
        return "schedule"
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return _NAMES.get(name, name)


_NAMES = {
    "int": "integer",
    "float": "number",
    "bool": "true | false",
    "str": "text",
    "NoneType": "null",
    "ComponentConfig": "component",
    "OperationConfig": "augmentation",
}


_BOUNDS = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}


def _bounds(metadata: Iterable[Any]) -> list[str]:
    inner = [bound for part in metadata for bound in (part.metadata if isinstance(part, FieldInfo) else [part])]
    return [text.format(getattr(bound, key)) for bound in inner for key, text in _BOUNDS.items() if hasattr(bound, key)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return value if isinstance(value, str) else json.dumps(value, default=str)
