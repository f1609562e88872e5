"""The results of commands as JSON: one document on standard output for each call with ``--json``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import pydantic

if TYPE_CHECKING:
    from coupling.config.config import Config
    from coupling.config.registry import Component
    from coupling.data.domain_data import DomainData
    from coupling.metrics.evaluate import Scores
    from coupling.networks.build import Networks
    from coupling.networks.coupled import CoupledNetwork
    from coupling.plugins import Plugins
    from coupling.sweeps.directory import RunStatus
    from coupling.sweeps.sweep import Sweep
    from coupling.sweeps.table import Result, Table

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """Add ``--json`` to a command; the parameter is ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")(command)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document on standard output; paths become text, and numbers that are not finite null."""
    click.echo(json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def checked(
    config: Config, parents: Iterable[Path], data: Mapping[str, DomainData], networks: Networks, plugins: Plugins
) -> dict[str, Any]:
    """What ``coupling check`` builds: domains, sharing, parameters, cost of a step, the complete configuration."""
    from coupling.training.cost import separate, step_cost

    teams = (networks.generator, networks.discriminator)
    costs = {"coupled": config, "separate": separate(config)}
    return {
        "name": config.name,
        "domains": {name: _domain(config.domains[name].dataset.name, of) for name, of in data.items()},
        "sharing": {team.graph.team: _groups(team) for team in teams},
        "parameters": {team.graph.team: _parameters(team, networks) for team in teams},
        "operations": {name: step_cost(c, networks.domains, plugins.registry) for name, c in costs.items()},
        "extends": list(parents),
        "configuration": config.plain(),
    }


def _domain(dataset: str, data: DomainData) -> dict[str, Any]:
    domain = data.domain
    return {
        "dataset": dataset, "shape": domain.shape, "range": domain.range, "samples": len(data), "part": data.part
    }  # fmt: skip


def _groups(network: CoupledNetwork) -> list[dict[str, Any]]:
    """The layers of a team: number by domain, and the parameters that these domains have in common there."""
    return [
        {"layer": dict(group.members), "parameters": sum(p.numel() for p in network.layer_parameters(group.key))}
        for group in network.graph.groups
    ]


def _parameters(network: CoupledNetwork, networks: Networks) -> dict[str, int]:
    total, shared = network.parameter_counts()
    return {"total": total, "shared": shared, "separate": networks.unshared[network.graph.team]}


def evaluated(result: Scores, written: Path | None) -> dict[str, Any]:
    """The scores of ``coupling evaluate``; ``written``: the directory that holds them too."""
    return {
        "step": result.step,
        "scores": {score.name: score.value for score in result.scores},
        "values": result.values,
        "undefined": result.undefined,
        "records": result.records,
        "directory": written,
    }


def listed(components: Iterable[Component], plugins: Plugins, commands: Mapping[str, click.Command]) -> dict[str, Any]:
    """The components, commands and plugins that ``coupling plugins`` lists."""
    return {
        "components": [described(component) for component in components],
        "commands": {name: command.get_short_help_str(limit=200) for name, command in commands.items()},
        "plugins": plugins.versions(),
        "left out": plugins.registry.broken,
    }


def described(component: Component) -> dict[str, str]:
    """Kind, name, plugin and description of a component."""
    return {
        "kind": component.kind,
        "name": component.name,
        "plugin": component.owner,
        "description": component.description,
    }


def with_options(components: Iterable[Component]) -> dict[str, Any]:
    """Components with the JSON schema of their options, by key."""
    from coupling.cli.component_tables import option_fields

    def options(component: Component) -> Any:
        fields: Any = {key: (field.annotation, field) for key, field in option_fields(component).items()}
        return pydantic.create_model(component.name, **fields).model_json_schema()

    return {"components": [described(c) | {"options": options(c)} for c in components]}


def swept(work: Sweep, table: Table | None, statuses: Sequence[RunStatus]) -> dict[str, Any]:
    """The runs of a sweep and, where ``table`` has them, their results."""
    axes = list(work.grid.axes)
    results = {} if table is None else {(result.labels, result.seed): result for result in table.results}
    return {
        "directory": work.directory.path,
        "metric": work.metric,
        "baselines": {} if table is None else table.baselines,
        "runs": [
            {
                "cell": dict(zip(axes, status.run.labels, strict=True)),
                "seed": status.run.seed,
                "directory": status.path,
                "state": status.state,
                "step": status.step,
                "steps": status.run.config.training.steps,
                **_scores(results.get((status.run.labels, status.run.seed))),
            }
            for status in statuses
        ],
    }


def _scores(result: Result | None) -> dict[str, Any]:
    return {} if result is None else {"last": result.last, "best": result.best, "beside": result.beside}
