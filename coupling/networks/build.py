"""From a configuration to networks and losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.domain import Domain
from coupling.errors import ConfigError, CouplingError, PluginError, cause, nearest
from coupling.losses.loss import Loss
from coupling.networks.architecture import Architecture, layer_lists
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, team_graph
from coupling.networks.weights import named_networks
from coupling.sharing.graph import TEAMS, Rule, SharingGraph, TeamName
from coupling.system.foreign_code import guarded
from coupling.system.seeds import derive


@dataclass
class Networks:
    """Both teams and the losses between them, built but not trained."""

    domains: dict[str, Domain]
    generator: CoupledGenerator
    discriminator: CoupledDiscriminator
    losses: dict[str, Loss]
    unshared: dict[TeamName, int]
    """Parameters that a team would have without sharing: what N separate GANs cost."""

    @property
    def graphs(self) -> dict[TeamName, SharingGraph]:
        """The sharing graph of each team."""
        return {"generator": self.generator.graph, "discriminator": self.discriminator.graph}

    @property
    def named_networks(self) -> dict[str, nn.Module]:
        """What of them a model's file holds, by what its tensors' names begin with."""
        return named_networks(self.generator, self.discriminator, self.losses)


def assemble(config: Config, domains: Mapping[str, Domain], registry: Registry) -> Networks:
    """Build both teams for ``domains``; raises :class:`ConfigError` where something does not fit.

    Initial weights are a function of the configuration's seed.
    """
    losses = build_losses(config, registry)
    outputs = _outputs(losses, len(domains))
    condition = config.latent.condition == "domain"
    latent = config.latent.size + (len(domains) if condition else 0)
    joint = config.batch_statistics == "joint"
    order = list(domains.values())
    networks: dict[str, Any] = {}
    unshared: dict[TeamName, int] = {}
    sizes: tuple[tuple[TeamName, int], ...] = (("generator", latent), ("discriminator", outputs))
    for team, size in sizes:
        chosen = getattr(config, team).architecture
        architecture: Architecture = registry.build("architecture", chosen.name, chosen.options, f"{team}.architecture")
        component = registry.get("architecture", chosen.name, f"{team}.architecture")
        with guarded(f"{team}.architecture: {component}", f"{team}.architecture: "):
            lists = layer_lists(team, architecture, order, size, config.seed)
        unshared[team] = sum(p.numel() for layers in lists.values() for m in layers for p in m.parameters())
        rules = [_rule(rule) for rule in getattr(config.sharing, team)]
        if team == "generator":
            graph = team_graph(team, lists, rules, same_input=not condition)
            networks[team] = CoupledGenerator(graph, lists, joint_statistics=joint, condition=condition)
        else:
            graph = team_graph(team, lists, rules, same_input=False)
            networks[team] = CoupledDiscriminator(graph, lists, joint_statistics=joint)
    built = Networks(dict(domains), networks["generator"], networks["discriminator"], losses, unshared)
    _check_taps(built)
    features = try_out(built, latent=config.latent.size, outputs=outputs)
    _open_losses(built, features, config, registry)
    if condition:
        _check_condition(built, config)
    return built


def _outputs(losses: Mapping[str, Loss], domains: int) -> int:
    """Logits a sample, on which all losses that read any must agree."""
    read: dict[str, int] = {}
    for name, loss in losses.items():
        with guarded(f"losses: outputs() of {name}", f"losses: {name}: "):
            number = loss.outputs(domains)
        if number is not None:
            read[name] = number
    if len(set(read.values())) > 1:
        raise ConfigError(
            f"losses: {', '.join(f'{name} reads {number} logits a sample' for name, number in read.items())}; "
            "these losses do not go together, leave one out"
        )
    return next(iter(read.values()), 1)


def _check_loss(loss: object, path: str) -> None:
    """Raise :class:`PluginError` where a loss is none, or names a team that does not exist."""
    if not isinstance(loss, Loss):
        raise PluginError(f"{path}: gives a {type(loss).__name__}; a loss is a subclass of coupling.Loss")
    if loss.team not in TEAMS:
        raise PluginError(f"{path}: its parameters belong to team '{loss.team}'; {nearest(loss.team, TEAMS)}")


def _rule(rule: Any) -> Rule:
    layers = None if rule.layers is None else tuple(rule.layers)
    domains = None if rule.domains is None else tuple(rule.domains)
    return Rule(rule.first, rule.last, layers, domains)


def build_losses(config: Config, registry: Registry) -> dict[str, Loss]:
    """The losses by name; one named twice gets a number, as its terms need names of their own."""
    losses: dict[str, Loss] = {}
    for number, entry in enumerate(config.losses):
        with torch.random.fork_rng(devices=[]):  # a loss may own parameters: the same in every run and process
            torch.manual_seed(derive(config.seed, "weights", "loss", number))
            loss = registry.build("loss", entry.name, entry.options, f"losses[{number}]")
        _check_loss(loss, f"losses[{number}] {entry.name}")
        if loss.needs_average and not config.training.ema_discriminators:
            raise ConfigError(
                f"losses[{number}] {entry.name}: reads the discriminators' moving average, which is not kept; set "
                "training.ema_discriminators: true"
            )
        name, again = entry.name, 2
        while name in losses:
            name, again = f"{entry.name}-{again}", again + 1
        losses[name] = loss
    for half in ("discriminator", "generator"):
        if all(getattr(type(loss), half) is getattr(Loss, half) for loss in losses.values()):
            raise ConfigError(
                f"losses: {', '.join(losses)}: nothing here trains the {half}s; add an adversarial loss, such as "
                "non-saturating"
            )
    return losses


def _check_taps(networks: Networks) -> None:
    """Raise :class:`ConfigError` where a loss reads the output of a layer that a discriminator lacks."""
    for name, loss in networks.losses.items():
        with guarded(f"losses: taps() of {name}", f"losses: {name}: "):
            taps = list(loss.taps())
        for layer in taps:
            for domain, depth in networks.discriminator.graph.depths.items():
                if not 1 <= networks.discriminator.graph.numbered(domain, layer) <= depth:
                    raise ConfigError(
                        f"losses: {name} reads discriminator layer {layer}, but "
                        f"domain '{domain}' has layers 1 to {depth}"
                    )


def _open_losses(
    networks: Networks, features: Mapping[tuple[str, int], tuple[int, ...]], config: Config, registry: Registry
) -> None:
    """Show each loss the domains and the shapes of what it taps; errors name its place."""
    order = list(networks.domains.values())
    for number, (entry, loss) in enumerate(zip(config.losses, networks.losses.values(), strict=True)):
        path, taps = f"losses[{number}] {entry.name}", set(loss.taps())
        shapes = {(domain, layer): shape for (domain, layer), shape in features.items() if layer in taps}
        domains = list(networks.domains)
        with guarded(f"{path}: {registry.get('loss', entry.name, path)}", f"{path}: "):
            with torch.random.fork_rng(devices=[]):  # its weights: the same in every run and process
                torch.manual_seed(derive(config.seed, "weights", "loss", number))
                loss.open(order, shapes, networks.losses)
            named = (
                ("its parameters are used by", list(loss.users(domains))),
                ("it reads the labels of", list(loss.labels(domains))),
            )
        for what, names in named:
            for name in names:
                if name not in networks.domains:
                    raise PluginError(f"{path}: {what} domain '{name}'; {nearest(name, domains)}")


@torch.no_grad()
def _check_condition(networks: Networks, config: Config) -> None:
    """Raise :class:`ConfigError` where the domain that is appended to z makes no difference to what is drawn.

    It only shifts what the first layer gives, by the same for all of a domain's samples: batch
    normalisation of each domain's samples apart takes it away again.
    """
    if len(networks.domains) < 2 or config.batch_statistics == "joint":
        return
    trial = copy.deepcopy(networks.generator).train()
    z = torch.rand(_TRIED, config.latent.size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    try:
        samples = trial(z)
    except Exception:
        return
    first, *others = samples.values()
    for other in others:
        if first.shape != other.shape or (first - other).abs().max() > _ALIKE * first.std(0).max():
            return
    raise ConfigError(
        "latent.condition: domain: all domains draw the same, since normalisation of each domain's samples apart "
        "takes away what tells the domains apart; set batch_statistics: joint"
    )


_TRIED = 8
"""Samples on which it is tried whether the domains differ."""


_ALIKE = 1e-3
"""Difference of two domains, of that of two samples of one domain, that can only be rounding."""


@torch.no_grad()
def try_out(networks: Networks, *, latent: int, outputs: int) -> dict[tuple[str, int], tuple[int, ...]]:
    """Carry two samples through both teams: what does not fit is said before anything is trained.

    Returns the shape of one sample of each output that a loss taps, {(domain, layer): shape}.
    """
    taps = sorted({layer for loss in networks.losses.values() for layer in loss.taps()})
    was = networks.generator.training, networks.discriminator.training
    networks.generator.eval()
    networks.discriminator.eval()
    try:
        samples = networks.generator(torch.zeros(2, latent))
    except CouplingError:
        raise
    except Exception as error:  # layers are a plugin's, and may fail in any way
        raise ConfigError(f"generator: the layers do not fit each other: {cause(error)}") from error
    for name, domain in networks.domains.items():
        if tuple(samples[name].shape[1:]) != domain.shape:
            raise ConfigError(
                f"generator: gives samples of shape {tuple(samples[name].shape[1:])} for domain '{name}', "
                f"whose shape is {domain.shape}; choose another architecture or size"
            )
    try:
        blank = {name: torch.zeros(2, *domain.shape) for name, domain in networks.domains.items()}
        logits, _, tapped = networks.discriminator(blank, taps=taps)
    except CouplingError:
        raise
    except Exception as error:
        raise ConfigError(f"discriminator: the layers do not fit each other: {cause(error)}") from error
    for name, given in logits.items():
        if tuple(given.shape[1:]) != (outputs,):
            raise ConfigError(
                f"discriminator: gives {tuple(given.shape[1:])} logits a sample for domain '{name}', "
                f"wanted ({outputs},)"
            )
    networks.generator.train(was[0])
    networks.discriminator.train(was[1])
    return {place: tuple(output.shape[1:]) for place, output in tapped.items()}
