"""The configuration's losses: built, checked against each other, and opened for the networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from coupling.config.components import ComponentConfig
from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.config.schedules import Schedule
from coupling.domain import Domain
from coupling.errors import ConfigError, PluginError, nearest
from coupling.losses.loss import FeatureShapes, Loss
from coupling.sharing.graph import TEAMS, SharingGraph
from coupling.system.foreign_code import guarded
from coupling.system.seeds import derive_seed


def build_losses(config: Config, registry: Registry) -> dict[str, Loss]:
    """The losses by name, not opened yet; a name that comes twice gets a number: {"r1": ..., "r1-2": ...}.

    Parameters that they make depend on the configuration's seed alone.

    Raises:
        ConfigError: options that do not fit, or no loss trains one of the teams.
        PluginError: a plugin's loss is not a Loss, or fails.
    """
    losses: dict[str, Loss] = {}
    for number, entry in enumerate(config.losses):
        path = f"losses[{number}]"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_weight_seed(config, number))
            loss = _build(entry, registry, path)
        _check_loss(loss, f"{path} {entry.name}", averages_kept=config.training.ema_discriminators)
        name, again = entry.name, 2
        while name in losses:
            name, again = f"{entry.name}-{again}", again + 1
        losses[name] = loss
    for half in TEAMS:
        if not any(loss.trains(half) for loss in losses.values()):
            raise ConfigError(
                f"losses: {', '.join(losses)}: nothing here trains the {half}s; add an adversarial loss, such as "
                "non-saturating"
            )
    return losses


def doubtful_losses(config: Config, losses: Mapping[str, Loss]) -> Iterator[str]:
    """Warnings of losses that work together, but are hardly meant: one that comes twice, two adversarial ones.

    An adversarial loss reads the logits and trains both teams, also a plugin's. One with weight 0 does not count.
    """
    entries = list(config.losses)
    adversarial = []
    for number, (entry, (name, loss)) in enumerate(zip(entries, losses.items(), strict=True)):
        first = entries.index(entry)
        if first < number:
            yield (
                f"losses[{number}]: {entry.name} is losses[{first}] again, with equal options, so its value counts "
                "twice; leave one of them out, or give one a weight"
            )
        elif entry.options.get("weight") != 0 and loss.outputs(len(config.domains)) and all(map(loss.trains, TEAMS)):
            adversarial.append(name)
    if len(adversarial) > 1:
        yield (
            f"losses: {', '.join(adversarial)} are {len(adversarial)} adversarial losses, whose values are added up; "
            "leave all but one out, unless you mean their sum"
        )


def _build(entry: ComponentConfig, registry: Registry, path: str) -> Any:
    """The loss with the numbers of step 0; it keeps the schedules of those that follow one.

    Raises :class:`ConfigError` if it does not keep such a number as an attribute, so that it could not change.
    """
    options = registry.validate("loss", entry.name, entry.options, path)
    schedules = {key.removesuffix("_"): value for key, value in options.items() if isinstance(value, Schedule)}
    first = {key: schedule.at(0) for key, schedule in schedules.items()}
    loss = registry.build("loss", entry.name, {**entry.options, **first}, path)
    for key, number in first.items():
        if getattr(loss, key, None) != number:
            raise ConfigError(
                f"{path}.{key}: cannot follow a schedule, because loss '{entry.name}' has no attribute of this "
                "name that holds its value; give a number"
            )
    if schedules:
        loss.schedules = schedules
    return loss


def _weight_seed(config: Config, number: int) -> int:
    """The seed of the parameters of loss ``number``: the same in every run and process."""
    return derive_seed(config.seed, "weights", "loss", number)


def _check_loss(loss: object, path: str, *, averages_kept: bool) -> None:
    """Raise an error if a plugin's answer is not a loss, names an unknown team, or needs averages that are not kept."""
    if not isinstance(loss, Loss):
        raise PluginError(f"{path}: gives a {type(loss).__name__}; a loss is a subclass of coupling.Loss")
    if loss.team not in TEAMS:
        raise PluginError(f"{path}: its parameters belong to team '{loss.team}'; {nearest(loss.team, TEAMS)}")
    if loss.needs_average and not averages_kept:
        raise ConfigError(
            f"{path}: reads the discriminators' moving average, which is not kept; set "
            "training.ema_discriminators: true"
        )


def logit_count(losses: Mapping[str, Loss], domains: int) -> int:
    """How many logits a sample gets for ``domains`` domains; 1 if no loss reads logits.

    Raises:
        ConfigError: two losses need different numbers.
    """
    needed: dict[str, int] = {}
    for name, loss in losses.items():
        with guarded(f"losses: outputs() of {name}", f"losses: {name}: "):
            number = loss.outputs(domains)
        if number is not None:
            needed[name] = number
    if len(set(needed.values())) > 1:
        raise ConfigError(
            f"losses: {', '.join(f'{name} reads {number} logits a sample' for name, number in needed.items())}; "
            "these losses do not go together, leave one out"
        )
    return next(iter(needed.values()), 1)


def tapped_layers(losses: Mapping[str, Loss], graph: SharingGraph) -> list[int]:
    """The layers of the team of ``graph`` whose outputs some loss reads, each once.

    Raises:
        ConfigError: a loss reads a layer that a domain's network lacks.
    """
    layers: set[int] = set()
    method = "taps" if graph.team == "discriminator" else "generator_taps"
    for name, loss in losses.items():
        with guarded(f"losses: {method}() of {name}", f"losses: {name}: "):
            taps = list(getattr(loss, method)())
        for layer in taps:
            for domain, depth in graph.depths.items():
                if not 1 <= graph.numbered(domain, layer) <= depth:
                    raise ConfigError(
                        f"losses: {name} reads {graph.team} layer {layer}, but domain '{domain}' has layers 1 to "
                        f"{depth}"
                    )
        layers.update(taps)
    return sorted(layers)


def open_losses(
    losses: Mapping[str, Loss],
    domains: Iterable[Domain],
    features: FeatureShapes,
    drawn: FeatureShapes,
    config: Config,
    registry: Registry,
) -> None:
    """Call each loss's ``open`` with the domains and the shapes of the outputs that it reads, and check its needs.

    ``features``, ``drawn``: shapes of the tapped outputs of the discriminators and of the generators.

    Raises:
        ConfigError: a loss does not suit the domains; the message names its place in the configuration.
        PluginError: a plugin's loss fails, or names a domain that does not exist.
    """
    domains = list(domains)
    for number, (entry, loss) in enumerate(zip(config.losses, losses.values(), strict=True)):
        path = f"losses[{number}] {entry.name}"
        with guarded(f"{path}: {registry.get('loss', entry.name, path)}", f"{path}: "):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_weight_seed(config, number))
                loss.open(domains, _tapped(features, loss.taps()), losses)
            _check_names(loss, [domain.name for domain in domains], path)
            loss.check_batch(config.training.batch_size // config.training.accumulate)
            loss.check_drawn(_tapped(drawn, loss.generator_taps()))
            if (needed := loss.code_size()) > config.latent.size:
                raise ConfigError(
                    f"reads {needed} numbers of the latent code, which has {config.latent.size}; give latent.size: "
                    f"{needed} or more, or let it read fewer"
                )


def _tapped(shapes: FeatureShapes, layers: Iterable[int]) -> FeatureShapes:
    taps = set(layers)
    return {(domain, layer): shape for (domain, layer), shape in shapes.items() if layer in taps}


def _check_names(loss: Loss, domains: list[str], path: str) -> None:
    """Raise :class:`PluginError` if an opened loss names a domain that does not exist."""
    named = (
        ("its parameters are used by", list(loss.users(domains))),
        ("it reads the labels of", list(loss.labels(domains))),
    )
    for what, names in named:
        for name in names:
            if name not in domains:
                raise PluginError(f"{path}: {what} domain '{name}'; {nearest(name, domains)}")
