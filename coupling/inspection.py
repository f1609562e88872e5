"""What `coupling check` and `coupling plugins` print."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from coupling.assembly import Networks, assemble
from coupling.config import Config, MetricConfig, PartOptions
from coupling.cost import separate, step_cost
from coupling.errors import InputError, nearest
from coupling.launch import refuse_unfit
from coupling.metric import open_metrics
from coupling.networks import CoupledNetwork
from coupling.normalisation import JOINT, set_statistics
from coupling.parts import DomainData, open_domains
from coupling.plugins import Plugins
from coupling.registry import KINDS, Component
from coupling.streams import Stream
from coupling.sweep_directory import Standing


def table(*columns: str) -> Table:
    """A plain table for results: no boxes, nothing folded away."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_check(config: Config, plugins: Plugins, console: Console) -> Networks:
    """Build a configuration, and print its domains, sharing tables, parameters and cost; returns what was built."""
    refuse_unfit(config, 1)
    data = open_domains(config, plugins)
    networks = assemble(config, {name: d.domain for name, d in data.items()}, plugins.registry)
    for domain in data.values():  # refuses a batch that is larger than the data set
        Stream(domain, config.seed, config.training.batch_size)
    set_statistics((networks.generator, networks.discriminator), config.training, 1)
    open_metrics(config, data, plugins.registry)
    console.print("domains", style="bold")
    console.print(_domains_table(config, data))
    for network in (networks.generator, networks.discriminator):
        console.print(f"\n{network.graph.team}: equal letters are one layer, · is private", style="bold")
        console.print(_sharing_table(network))
    console.print(f"\nparameters, beside {len(networks.domains)} separate GANs", style="bold")
    console.print(_parameters_table(networks))
    domains = networks.domains
    shared, alone = (step_cost(c, domains, plugins.registry) for c in (config, separate(config)))
    console.print(
        f"\na step: {shared / 1e6:,.1f} million operations a sample, {len(domains)} separate GANs "
        f"{alone / 1e6:,.1f} million ({alone / shared:.2f} times as many)"
    )
    if config.batch_statistics == "joint":
        console.print(f"\n{JOINT}")
    drawn_alike = all(len(g.members) == len(networks.domains) for g in networks.generator.graph.groups)
    if len(networks.domains) > 1 and drawn_alike and config.latent.condition is None:
        console.print(
            "\nevery generator layer is shared by all domains: one code draws the same sample in all of them; share "
            "fewer layers, or set latent.condition: domain"
        )
    return networks


def _part(domain: DomainData) -> str:
    if domain.part == (1, 1):
        return "all"
    whole = "" if domain.dataset.groups() is None else ", in whole groups"
    return f"{domain.part[0]} of {domain.part[1]}{whole}"


def _domains_table(config: Config, data: dict[str, DomainData]) -> Table:
    made = table("name", "data set", "shape", "range", "samples", "part")
    for name, domain in data.items():
        low, high = domain.domain.range
        made.add_row(
            name,
            config.domains[name].dataset.name,
            " × ".join(map(str, domain.domain.shape)),
            f"{low:g} to {high:g}",
            f"{len(domain):,}",
            _part(domain),
        )
    return made


def _sharing_table(network: CoupledNetwork) -> Table:
    graph = network.graph
    rows = graph.table()
    made = table(*rows[0], "parameters")
    for row in rows[1:]:
        groups = {graph.group_of[d, int(row[0])] for d in graph.domains if int(row[0]) <= graph.depths[d]}
        numbers = sum(p.numel() for group in groups for p in network.layers[group.key].parameters())
        made.add_row(*row, f"{numbers:,}")
    return made


def _parameters_table(networks: Networks) -> Table:
    made = table("team", "total", "shared", "separate GANs", "saved")
    for network in (networks.generator, networks.discriminator):
        total, shared = network.parameter_counts()
        alone = networks.unshared[network.graph.team]
        made.add_row(network.graph.team, f"{total:,}", f"{shared:,}", f"{alone:,}", f"{1 - total / alone:.0%}")
    return made


def print_standings(standings: Iterable[Standing], console: Console) -> None:
    """The runs of a sweep: cell, seed, how far each is, and where."""
    made = table("run", "state", "step", "directory", "")
    for standing in standings:
        changed = f"has changed: {'; '.join(standing.changes)}" if standing.changes else ""
        step = f"{standing.step:,} of {standing.run.config.training.steps:,}"
        made.add_row(standing.run.title, standing.state, step, str(standing.path), changed)
    console.print(made)


def print_plugins(plugins: Plugins, console: Console) -> None:
    """Everything that is registered, by kind, with its owner."""
    made = table("kind", "name", "plugin", "description")
    for kind in KINDS:
        for name in plugins.registry.names(kind):
            component = plugins.registry.components[kind, name]
            made.add_row(kind, name, component.owner, component.description)
    console.print(made)
    for name, reason in plugins.registry.broken.items():
        console.print(f"left out: {name}: {reason}")


def print_component(name: str, plugins: Plugins, console: Console) -> None:
    """One component (of each kind that has the name): its description and options."""
    components = plugins.registry.components
    found = [component for (_, n), component in components.items() if n == name]
    if not found:
        raise InputError(f"no component is called '{name}'; {nearest(name, {n for _, n in components})}")
    for component in found:
        console.print(f"{component.kind} {component.name} (plugin {component.owner})", style="bold")
        console.print(component.description)
        console.print(_options_table(component))


def _options_table(component: Component) -> Table:
    made = table("option", "type", "default", "description")
    fields: dict[str, FieldInfo] = dict(component.options.model_fields)
    if component.kind == "dataset":
        fields |= PartOptions.model_fields
    if component.kind == "metric":
        fields["every"] = MetricConfig.model_fields["every"]
    for key, field in fields.items():
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
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return _NAMES.get(name, name)


_NAMES = {
    "int": "integer",
    "float": "number",
    "bool": "true | false",
    "str": "text",
    "NoneType": "null",
    "ComponentConfig": "component",
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
