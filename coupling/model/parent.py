"""Starting from a trained model: its layers, by their place in the sharing graph, as the first weights of another.

A layer of the new model gets the weights of the layer that has its place in the parent: the same number, in the domain
of the same name. Generator layers count from the input and discriminator layers from the output, so that networks for
images of another size have the layers near the code, and near the logits, in common. A domain that the parent lacks
starts from another of its domains, so that one trained domain can be forked into several (StyleAlign, Wu et al. 2022,
section 3, finds such children aligned with their parent).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field
from torch import Tensor, nn

from coupling.config.config import Config
from coupling.config.sections import StartConfig
from coupling.config.validation import Model, describe
from coupling.errors import ConfigError, InputError, nearest
from coupling.model.description import read_description
from coupling.networks.build import Networks
from coupling.networks.coupled import CoupledNetwork
from coupling.networks.frozen import freeze_layers
from coupling.networks.normalisation import DomainBatchNorm
from coupling.networks.weights import average_prefix
from coupling.runs.locations import locate
from coupling.runs.model_file import ModelFile, TensorInfo, open_model_file
from coupling.sharing.graph import TEAMS, Group, Node, SharingGraph, TeamName
from coupling.system.file_names import expand_home


class _GraphDescription(Model):
    """A sharing graph as a model file describes it."""

    team: str
    depths: dict[str, Annotated[int, Field(ge=1, le=10_000)]] = Field(min_length=1)
    groups: list[str]


@dataclass
class Inheritance:
    """What a model took from its parent, and what not."""

    path: str
    """The parent as the configuration names it."""
    sha256: str
    """Of the parent's model file."""
    step: int
    """Steps that the parent was trained."""
    domains: dict[str, str] = field(default_factory=dict)
    """{domain: the parent's domain that it starts from}."""
    taken: dict[str, dict[str, str]] = field(default_factory=dict)
    """{team, or "losses": {layer or loss: the parent's}}."""
    left: dict[str, dict[str, str]] = field(default_factory=dict)
    """{team, or "losses": {layer or loss: why it keeps its own initial weights}}."""

    def plain(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return vars(self)

    def lines(self) -> list[str]:
        """All of it for people."""
        count = sum(map(len, self.taken.values()))
        whole = count + sum(map(len, self.left.values()))
        lines = [f"start from {self.path} (step {self.step:,}, SHA-256 {self.sha256[:12]}): {count} of {whole} layers"]
        others = ", ".join(f"{name} from {parent}" for name, parent in self.domains.items() if name != parent)
        if others:
            lines.append(f"  domains: {others}")
        for part, layers in self.taken.items():
            if layers:
                shown = (name if name == parent else f"{name} from {parent}" for name, parent in layers.items())
                lines.append(f"  {part}: {', '.join(shown)}")
        lines += [
            f"  {part} {name}: not taken: {why}" for part, rest in self.left.items() for name, why in rest.items()
        ]
        return lines


def start_networks(config: Config, networks: Networks, *, resume: bool = False) -> Inheritance | None:
    """Load what fits of the parent that ``training.start_from`` names into freshly built networks, and freeze layers.

    The generators get the averaged weights if the parent kept an average, the discriminators and losses the live ones.
    ``resume``: the weights will be restored, so that the parent is not read. Returns what was taken; None if nothing
    was read.

    Raises:
        InputError: there is no such model, or it is damaged.
        ConfigError: it shares no layer, it has no domain of a given name, or a frozen layer is not taken from it.
    """
    found = None if resume else _start_from_parent(config, networks)
    frozen = freeze_layers(config, networks)
    if found is not None:
        _check_frozen(frozen, found)
    return found


def _start_from_parent(config: Config, networks: Networks) -> Inheritance | None:
    start = config.training.start
    if start is None:
        return None
    place = "training.start_from"
    try:
        file = locate(expand_home(start.path) if start.path.startswith("~") else start.path)
        with file.open("rb") as raw:
            sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
        with open_model_file(file) as content:
            parent = _Parent(content, file)
            content.verify()
            found = Inheritance(start.path, sha256, parent.step, parent.chosen(start, list(config.domains)))
            for network in (networks.generator, networks.discriminator):
                parent.give(network, found)
            parent.give_losses(networks.losses, found)
    except InputError as error:
        raise type(error)(f"{place}: {error}") from None
    if not any(found.taken[team] for team in TEAMS):
        reasons = [f"{team} {name}: {why}" for team in TEAMS for name, why in found.left[team].items()]
        raise ConfigError(
            f"{place}: {start.path} shares no layer with this configuration:\n  "
            + "\n  ".join(reasons[:8])
            + "\ngive a model of the same architectures and width, or leave it out"
        )
    return found


def _check_frozen(frozen: Mapping[TeamName, list[str]], found: Inheritance) -> None:
    """Raise :class:`ConfigError` if a layer is frozen that was not taken from the parent: its weights are random."""
    for team, keys in frozen.items():
        for key in keys:
            if key in found.left[team]:
                raise ConfigError(
                    f"training.freeze.{team}: {key} was not taken from {found.path}, so that it would keep random "
                    f"weights: {found.left[team][key]}; freeze other layers"
                )


class _Parent:
    """An open model file as a parent."""

    def __init__(self, content: ModelFile, path: Path) -> None:
        described = read_description(content)
        self.content = content
        self.step = described.step
        self.domains = list(described.domains)
        try:
            config = Config.model_validate(described.config)
            graphs = {team: _GraphDescription.model_validate(described.sharing.get(team)) for team in TEAMS}
        except pydantic.ValidationError as error:
            raise InputError(f"{path}: {describe(error, Config, described.config)}") from None
        self.graphs: dict[TeamName, SharingGraph] = {}
        for team, graph in graphs.items():
            rules = [rule.rule() for rule in getattr(config.sharing, team)]
            same_input = team == "generator" and config.latent.condition is None
            self.graphs[team] = SharingGraph(team, graph.depths, rules, same_input=same_input)
            if [group.key for group in self.graphs[team].groups] != graph.groups:
                raise InputError(f"{path}: its sharing graph is not that of its configuration")

    def chosen(self, start: StartConfig, domains: list[str]) -> dict[str, str]:
        """The parent's domain from which each domain starts: as given, or of the same name, or the first."""
        for name, parent in start.domains.items():
            if parent not in self.domains:
                raise ConfigError(
                    f"domains.{name}: the parent has no domain '{parent}'; {nearest(parent, self.domains)}"
                )
        own = {name: name if name in self.domains else self.domains[0] for name in domains}
        return own | start.domains

    def give(self, network: CoupledNetwork, found: Inheritance) -> None:
        """Load into each layer of a team the parent's layer of its place, if it fits."""
        team = network.graph.team
        taken, left = found.taken.setdefault(team, {}), found.left.setdefault(team, {})
        for group in network.graph.groups:
            layer = network.layers[group.key]
            if not layer.state_dict():
                continue  # nothing to take, as in an activation
            why = "the parent has no layer at its place"
            for node in self._nodes(network.graph, group, found.domains):
                source = self.graphs[team].group_of[node]
                tensors = self._tensors(network, group, source, found.domains)
                difference = _difference(layer, tensors)
                if difference is None:
                    layer.load_state_dict(tensors)
                    taken[group.key] = source.key
                    if group.key in network.styles:
                        self._give_style(network.styles[group.key], source, group.key, left)
                    break
                why = difference
            else:
                left[group.key] = why

    def _give_style(self, style: nn.Module, source: Group, key: str, left: dict[str, str]) -> None:
        """Load how the generators' private layer ``source`` reads its domain's style code, if it does."""
        tensors = self._read("generator", f"styles.{source.key}.")
        difference = _difference(style, tensors) if tensors else "the parent's layer reads none"
        if difference is None:
            style.load_state_dict(tensors)
        else:
            left[f"style code of {key}"] = difference

    def give_losses(self, losses: Mapping[str, nn.Module], found: Inheritance) -> None:
        """Load the parameters of losses of the same name, if they fit."""
        taken, left = found.taken.setdefault("losses", {}), found.left.setdefault("losses", {})
        for name, loss in losses.items():
            if loss.state_dict():
                tensors = self._read(f"loss.{name}")
                difference = _difference(loss, tensors) if tensors else "the parent has no such loss"
                if difference is None:
                    loss.load_state_dict(tensors)
                    taken[name] = name
                else:
                    left[name] = difference

    def _nodes(self, graph: SharingGraph, group: Group, domains: Mapping[str, str]) -> Iterator[Node]:
        """The parent's nodes at the places of a group's members, each if it exists."""
        there = self.graphs[graph.team]
        for member in group.members:
            node = _place(member, graph, there, domains)
            if node in there.group_of:
                yield node

    def _tensors(
        self, network: CoupledNetwork, group: Group, source: Group, domains: Mapping[str, str]
    ) -> dict[str, Tensor]:
        """The tensors of the parent's layer ``source``, with the statistics of the child's domains in their order."""
        team, here = network.graph.team, network.graph
        there = self.graphs[team]
        tensors = self._read(team, f"layers.{source.key}.")
        rows: dict[int, int] = {}
        for member in group.members:
            node = _place(member, here, there, domains)
            rows.setdefault(here.slots[member], there.slots[node] if node in source.members else 0)
        order = [rows[slot] for slot in sorted(rows)]
        for name, module in network.layers[group.key].named_modules():
            if isinstance(module, DomainBatchNorm):
                for kind in ("running_mean", "running_var"):
                    key = f"{name}.{kind}" if name else kind
                    if key in tensors and tensors[key].dim() == 2:
                        last = len(tensors[key]) - 1  # a parent with joint statistics has one row
                        tensors[key] = tensors[key][[min(row, last) for row in (order[:1] if module.joint else order)]]
        return tensors

    def _read(self, name: str, start: str = "") -> dict[str, Tensor]:
        """The tensors of a network that begin with ``start``: averaged ones of the generators, live ones of others."""
        average = average_prefix(name)
        several = (average, name) if name == "generator" else (name, average)
        prefix = next((prefix for prefix in several if self.content.part(prefix)), name)
        return self.content.read(f"{prefix}.{start}".rstrip("."))


def _place(member: Node, here: SharingGraph, there: SharingGraph, domains: Mapping[str, str]) -> Node:
    """The parent's node at the place of ``member``; it may not exist."""
    domain, number = member
    parent = domains[domain]
    if here.team == "discriminator":  # the same distance from the output
        number += there.depths[parent] - here.depths[domain]
    return parent, number


def _difference(module: nn.Module, found: Mapping[str, Tensor]) -> str | None:
    """The first difference between a module's tensors and ``found`` in names, shapes or types; None if they fit."""
    expected = module.state_dict()
    for name in dict.fromkeys([*expected, *found]):
        here, there = (TensorInfo.of(part[name]) if name in part else None for part in (expected, found))
        if here != there:
            shapes = ("nothing" if info is None else f"{info.dtype} {info.shape}" for info in (here, there))
            return "{} is {} here, {} in the parent".format(name, *shapes)
    return None
