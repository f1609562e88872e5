"""The networks and losses of a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from coupling.augmentations.build import Augmentations, build_augmentations
from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.config.sections import TeamConfig
from coupling.domain import Domain
from coupling.losses.build import build_losses, logit_count, open_losses, tapped_layers
from coupling.losses.loss import Loss
from coupling.networks.architecture import Architecture, layer_lists
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, team_graph
from coupling.networks.initialisation import make_alike
from coupling.networks.latent import LatentSpace
from coupling.networks.style import add_styles
from coupling.networks.trial import check_condition, try_discriminators, try_generators
from coupling.networks.weights import named_networks
from coupling.sharing.graph import SharingGraph, TeamName
from coupling.system.foreign_code import guarded


@dataclass
class Networks:
    """The generators, the discriminators and the losses between them."""

    domains: dict[str, Domain]
    generator: CoupledGenerator
    discriminator: CoupledDiscriminator
    losses: dict[str, Loss]
    unshared: dict[TeamName, int]
    """Parameters that each team would have without sharing: the cost of N separate GANs."""
    augmentations: Augmentations = field(default_factory=dict)
    """Augmentations of each domain's samples in front of its discriminator; empty for a trained model."""

    @property
    def graphs(self) -> dict[TeamName, SharingGraph]:
        """The sharing graph of each team."""
        return {"generator": self.generator.graph, "discriminator": self.discriminator.graph}

    @property
    def named_networks(self) -> dict[str, nn.Module]:
        """The networks by the prefix of their tensors in a model file."""
        return named_networks(self.generator, self.discriminator, self.losses)


def assemble(config: Config, domains: Mapping[str, Domain], registry: Registry, *, trial: bool = True) -> Networks:
    """Build the networks of all ``domains``, and the losses; initial weights depend on the configuration's seed alone.

    ``trial``: draw and judge a few samples, so that layers that do not fit are an error here. Without it no sample is
    drawn, and the discriminators are run only if a loss needs the shapes of their outputs.

    Raises:
        ConfigError: something does not fit; the message names its place in the configuration.
        PluginError: a plugin's architecture or loss fails.
    """
    losses = build_losses(config, registry)
    outputs = logit_count(losses, len(domains))
    condition = config.latent.condition == "domain"
    joint = config.batch_statistics == "joint"
    latent = config.latent.size + (len(domains) if condition else 0)
    lists = _layer_lists("generator", latent, config, domains, registry)
    unshared: dict[TeamName, int] = {"generator": _parameter_count(lists)}
    graph = team_graph("generator", lists, (rule.rule() for rule in config.sharing.generator), same_input=not condition)
    generator = CoupledGenerator(graph, lists, joint_statistics=joint, condition=condition)
    if config.latent.style:
        add_styles(generator, config.latent)
        unshared["generator"] += sum(parameter.numel() for parameter in generator.styles.parameters())
    lists = _layer_lists("discriminator", outputs, config, domains, registry)
    unshared["discriminator"] = _parameter_count(lists)
    graph = team_graph("discriminator", lists, (rule.rule() for rule in config.sharing.discriminator), same_input=False)
    discriminator = CoupledDiscriminator(graph, lists, joint_statistics=joint)
    taps, drawn_taps = tapped_layers(losses, graph), tapped_layers(losses, generator.graph)
    codes = LatentSpace(config.latent, domains).size
    drawn = try_generators(generator, domains, codes, drawn_taps) if trial or drawn_taps else {}
    features = try_discriminators(discriminator, domains, outputs, taps) if trial or taps else {}
    open_losses(losses, domains.values(), features, drawn, config, registry)
    if trial and condition:
        check_condition(generator, config)
    augmentations = build_augmentations(config, domains, outputs, registry) if trial else {}
    return Networks(dict(domains), generator, discriminator, losses, unshared, augmentations)


def _layer_lists(
    team: TeamName, size: int, config: Config, domains: Mapping[str, Domain], registry: Registry
) -> dict[str, list[nn.Module]]:
    """Every domain's own layers from the configuration's architecture; ``size``: of the codes, or of the logits."""
    path = f"{team}.architecture"
    settings: TeamConfig = getattr(config, team)
    chosen = settings.architecture
    architecture: Architecture = registry.build("architecture", chosen.name, chosen.options, path)
    with guarded(f"{path}: {registry.get('architecture', chosen.name, path)}", f"{path}: "):
        lists = layer_lists(team, architecture, list(domains.values()), size, config.seed)
        if settings.initialisation == "alike":
            make_alike(lists)
    return lists


def _parameter_count(lists: Mapping[str, Sequence[nn.Module]]) -> int:
    return sum(parameter.numel() for layers in lists.values() for layer in layers for parameter in layer.parameters())
