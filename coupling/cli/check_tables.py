"""The output of `coupling check`: what a configuration builds."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from coupling.batch import Batch
from coupling.cli.tables import table
from coupling.config.config import Config
from coupling.data.domain_data import DomainData, open_domains
from coupling.data.pictures import drawn_as
from coupling.generation.sample_files import suffixes
from coupling.losses.build import doubtful_losses
from coupling.metrics.metric import open_metrics
from coupling.model.parent import start_networks
from coupling.networks.build import Networks, assemble
from coupling.networks.coupled import CoupledNetwork
from coupling.plugins import Plugins
from coupling.system.terminal import print_line, warn
from coupling.training.batch_statistics import JOINT, set_statistics
from coupling.training.cost import separate, step_cost
from coupling.training.launch import check_trackers


def build(config: Config, plugins: Plugins) -> tuple[dict[str, DomainData], Networks]:
    """Open the data and build all that a run needs; raises :class:`InputError` where a run could not start."""
    check_trackers(config.trackers)
    batch = Batch(config.training.batch_size, accumulate=config.training.accumulate)
    data = open_domains(config, plugins.registry)
    networks = assemble(config, {name: d.domain for name, d in data.items()}, plugins.registry)
    inheritance = start_networks(config, networks)
    for line in inheritance.lines() if inheritance is not None else ():
        print_line(line)
    for name, domain in data.items():
        batch.check_samples(len(domain), name)
    set_statistics((networks.generator, networks.discriminator), batch, synchronised=config.training.sync_batch_norm)
    open_metrics(config, data, networks.losses, plugins.registry)
    for warning in doubtful_losses(config, networks.losses):
        warn(warning)
    return data, networks


def print_check(
    config: Config, data: dict[str, DomainData], networks: Networks, plugins: Plugins, console: Console
) -> None:
    """Print the domains, the sharing tables, the numbers of parameters and the cost of a training step."""
    console.print("domains", style="bold")
    console.print(_domains_table(config, data))
    for network in (networks.generator, networks.discriminator):
        console.print(f"\n{network.graph.team}: equal letters are one layer, · is private", style="bold")
        console.print(_sharing_table(network))
    console.print(f"\nparameters, beside {len(networks.domains)} separate GANs", style="bold")
    console.print(_parameters_table(networks))
    console.print(f"\n{_cost(config, networks, plugins)}")
    if config.batch_statistics == "joint":
        console.print(f"\n{JOINT}")
    if _draws_alike(config, networks):
        console.print(
            "\nevery generator layer is shared by all domains: one code draws the same sample in all of them; share "
            "fewer layers, or set latent.condition: domain"
        )


def _domains_table(config: Config, data: dict[str, DomainData]) -> Table:
    made = table("name", "data set", "shape", "range", "samples", "part", "written", "drawn")
    for name, domain in data.items():
        low, high = domain.domain.range
        made.add_row(
            name,
            config.domains[name].dataset.name,
            " × ".join(map(str, domain.domain.shape)),
            f"{low:g} to {high:g}",
            f"{len(domain):,}",
            _part(domain),
            ", ".join([*suffixes(domain.domain), *(["csv"] if domain.domain.columns else [])]),
            drawn_as(domain.domain) or "no",
        )
    return made


def _part(domain: DomainData) -> str:
    if domain.part == (1, 1):
        return "all"
    groups = "" if domain.dataset.groups() is None else ", in whole groups"
    return f"{domain.part[0]} of {domain.part[1]}{groups}"


def _sharing_table(network: CoupledNetwork) -> Table:
    graph = network.graph
    rows = graph.table()
    made = table(*rows[0], "parameters")
    for row in rows[1:]:
        groups = {graph.group_of[d, int(row[0])] for d in graph.domains if int(row[0]) <= graph.depths[d]}
        parameters = sum(p.numel() for group in groups for p in network.layer_parameters(group.key))
        made.add_row(*row, f"{parameters:,}")
    return made


def _parameters_table(networks: Networks) -> Table:
    made = table("team", "total", "shared", "separate GANs", "saved")
    for network in (networks.generator, networks.discriminator):
        total, shared = network.parameter_counts()
        alone = networks.unshared[network.graph.team]
        made.add_row(network.graph.team, f"{total:,}", f"{shared:,}", f"{alone:,}", f"{1 - total / alone:.0%}")
    return made


def _cost(config: Config, networks: Networks, plugins: Plugins) -> str:
    """The operations of a training step beside those of separate GANs."""
    domains = networks.domains
    coupled, alone = (step_cost(c, domains, plugins.registry) / 1e6 for c in (config, separate(config)))
    return (
        f"a step: {coupled:,.1f} million operations for each sample, {len(domains)} separate GANs {alone:,.1f} million "
        f"({alone / coupled:.2f} times as many)"
    )


def _draws_alike(config: Config, networks: Networks) -> bool:
    """Whether one code draws the same sample in all of several domains."""
    count = len(networks.domains)
    shared = all(len(group.members) == count for group in networks.generator.graph.groups)
    return count > 1 and shared and config.latent.condition is None
