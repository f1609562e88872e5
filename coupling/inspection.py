"""What `coupling check` and `coupling plugins` print."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from coupling.assembly import Networks, assemble
from coupling.config import Config, PartOptions
from coupling.errors import InputError, nearest
from coupling.networks import CoupledNetwork
from coupling.parts import DomainData, open_domains
from coupling.plugins import Plugins
from coupling.registry import KINDS, Component
from coupling.streams import Stream


def table(title: str, *columns: str) -> Table:
    """A plain table for results: no boxes, nothing folded away."""
    made = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_check(config: Config, plugins: Plugins, console: Console) -> None:
    """Build a configuration, and print its domains, sharing tables and parameters."""
    data = open_domains(config, plugins)
    networks = assemble(config, {name: d.domain for name, d in data.items()}, plugins.registry)
    for domain in data.values():  # refuses a batch that is larger than the data set
        Stream(domain, config.seed, config.training.batch_size)
    metrics = [
        plugins.registry.build("metric", m.name, m.options, f"metrics[{i}]") for i, m in enumerate(config.metrics)
    ]
    for metric in metrics:
        metric.check(data)
    console.print(_domains_table(config, data))
    for network in (networks.generator, networks.discriminator):
        console.print()
        console.print(_sharing_table(network))
    console.print()
    console.print(_parameters_table(networks))
    if config.batch_statistics == "joint":
        console.print(
            "\nbatch_statistics: joint: normalisation mixes the domains' samples, so a domain's gradient depends on the "
            "other domains' samples too"
        )


def _domains_table(config: Config, data: dict[str, DomainData]) -> Table:
    made = table("domains", "name", "data set", "shape", "range", "samples", "part")
    for name, domain in data.items():
        low, high = domain.domain.range
        made.add_row(
            name,
            config.domains[name].dataset.name,
            " × ".join(map(str, domain.domain.shape)),
            f"{low:g} to {high:g}",
            f"{len(domain):,}",
            "all" if domain.part == (1, 1) else f"{domain.part[0]} of {domain.part[1]}",
        )
    return made


def _sharing_table(network: CoupledNetwork) -> Table:
    graph = network.graph
    rows = graph.table()
    made = table(f"{graph.team}: equal letters are one layer, · is private", *rows[0], "parameters")
    for row in rows[1:]:
        groups = {graph.group_of[d, int(row[0])] for d in graph.domains if int(row[0]) <= graph.depths[d]}
        numbers = sum(p.numel() for group in groups for p in network.layers[group.key].parameters())
        made.add_row(*row, f"{numbers:,}")
    return made


def _parameters_table(networks: Networks) -> Table:
    made = table(
        f"parameters, beside {len(networks.domains)} separate GANs", "team", "total", "shared", "separate GANs", "saved"
    )
    for network in (networks.generator, networks.discriminator):
        sets = network.sharing_sets()
        total = sum(p.numel() for p, _ in sets)
        shared = sum(p.numel() for p, domains in sets if len(domains) > 1)
        alone = networks.unshared[network.graph.team]
        made.add_row(network.graph.team, f"{total:,}", f"{shared:,}", f"{alone:,}", f"{1 - total / alone:.0%}")
    return made


def print_plugins(plugins: Plugins, console: Console) -> None:
    """Everything that is registered, by kind, with its owner."""
    made = table("components", "kind", "name", "plugin", "description")
    for kind in KINDS:
        for name in plugins.registry.names(kind):
            component = plugins.registry.components[kind, name]
            made.add_row(kind, name, component.owner, component.description)
    console.print(made)
    for name, reason in plugins.registry.broken.items():
        console.print(f"left out: {name}: {reason}", markup=False)


def print_component(name: str, plugins: Plugins, console: Console) -> None:
    """One component (of each kind that has the name): its description and options."""
    components = plugins.registry.components
    found = [component for (_, n), component in components.items() if n == name]
    if not found:
        raise InputError(f"no component is called '{name}'; {nearest(name, {n for _, n in components})}")
    for component in found:
        console.print(f"{component.kind} {component.name} (plugin {component.owner})", style="bold", markup=False)
        console.print(component.description, markup=False)
        console.print(_options_table(component))


def _options_table(component: Component) -> Table:
    made = table("", "option", "type", "default", "description")
    fields: dict[str, FieldInfo] = dict(component.options.model_fields)
    if component.kind == "dataset":
        fields |= PartOptions.model_fields
    for key, field in fields.items():
        default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        made.add_row(field.alias or key, _type_name(field), default, field.description or "")
    return made


def _type_name(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    name = name.replace("typing.", "").replace("NoneType", "None")
    bounds = [str(bound) for bound in field.metadata if type(bound).__name__ in ("Ge", "Gt", "Le", "Lt", "MinLen")]
    return f"{name} {', '.join(bounds)}".strip()
