"""Frozen layers: they keep the weights that they start with, and their running statistics too."""

from __future__ import annotations

from coupling.config.config import Config
from coupling.config.sections import FreezeRule
from coupling.errors import ConfigError
from coupling.networks.build import Networks
from coupling.networks.coupled import CoupledNetwork
from coupling.sharing.graph import TeamName


def freeze_layers(config: Config, networks: Networks) -> dict[TeamName, list[str]]:
    """Freeze the layers that ``training.freeze`` names; returns their keys by team.

    A layer that several domains share is frozen for all of them. Frozen layers are in evaluation mode, so that they
    compute the same in every step: normalisation by running statistics, no dropout.

    Raises:
        ConfigError: a rule names a layer that does not exist, or nothing is left to train.
    """
    frozen: dict[TeamName, list[str]] = {}
    for network in (networks.generator, networks.discriminator):
        team = network.graph.team
        rules = getattr(config.training.freeze, team)
        chosen = {key for number, rule in enumerate(rules) for key in _layers(rule, number, network)}
        frozen[team] = [key for key in network.layers if key in chosen]
        for key in frozen[team]:
            network.layers[key].eval().requires_grad_(False)
            if key in network.styles:
                network.styles[key].requires_grad_(False)
        if frozen[team] and not any(parameter.requires_grad for parameter in network.parameters()):
            raise ConfigError(
                f"training.freeze.{team}: freezes all layers, so that nothing is left to train; name fewer"
            )
    return frozen


def _layers(rule: FreezeRule, number: int, network: CoupledNetwork) -> set[str]:
    """The keys of the layers that a rule freezes."""
    graph = network.graph
    found: set[str] = set()
    for domain in rule.domains or graph.domains:
        depth = graph.depths[domain]
        layers = range(1, depth + 1)
        if rule.first is not None:
            layers = range(1, rule.first + 1)
        elif rule.last is not None:
            layers = range(depth - rule.last + 1, depth + 1)
        for layer in layers if rule.layers is None else rule.layers:
            if not 1 <= layer <= depth:
                raise ConfigError(
                    f"training.freeze.{graph.team}[{number}]: the {graph.team} of domain '{domain}' has layers 1 to "
                    f"{depth}, not {layer}"
                )
            found.add(graph.group_of[domain, layer].key)
    return found
