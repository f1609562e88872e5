"""The sharing rules and the graph that they make: which layers of which domains are one (section 3, equation 2).

The graph is pure data. A team is all generators, or all discriminators. Each domain has a column of layers, numbered
from 1 at the input. Rules tie nodes (domain, layer) into groups; a group is one module. The groups determine the
order of execution: a layer is computed once for domains with the same input, and its different inputs go through in
one call if possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from coupling.errors import ConfigError, check_domain_name

TeamName = Literal["generator", "discriminator"]


TEAMS: tuple[TeamName, TeamName] = ("generator", "discriminator")


Node = tuple[str, int]
"""(domain, layer), the layer numbered from 1 at the input."""


@dataclass(frozen=True)
class Rule:
    """Ties layers across domains. Exactly one of ``first``, ``last`` and ``layers`` is given.

    Raises:
        ConfigError: none or several of them are given, or a domain is named twice.
    """

    first: int | None = None
    """Layers 1 to ``first``, counted from the input."""
    last: int | None = None
    """The last ``last`` layers, counted from each domain's own output."""
    layers: tuple[int, ...] | None = None
    """These layers, numbered from 1 at the input."""
    domains: tuple[str, ...] | None = None
    """The domains that are tied; None: all."""

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.first, self.last, self.layers)) != 1:
            raise ConfigError("give exactly one of first, last, layers")
        if self.domains is not None and len(set(self.domains)) != len(self.domains):
            raise ConfigError("a domain is named twice")

    def __str__(self) -> str:
        given = {"first": self.first, "last": self.last, "layers": self.layers, "domains": self.domains}
        parts = (f"{k}: {list(v) if isinstance(v, tuple) else v}" for k, v in given.items() if v is not None)
        return "{" + ", ".join(parts) + "}"

    def ties(self, depths: Mapping[str, int]) -> list[tuple[Node, ...]]:
        """The nodes that this rule ties, one tuple for each layer; ``depths``: each domain's number of layers."""
        domains = self.domains or tuple(depths)
        if self.first is not None:
            wanted = range(1, self.first + 1)
            return [tuple((d, layer) for d in domains) for layer in wanted]
        if self.last is not None:
            return [tuple((d, depths[d] - back) for d in domains) for back in reversed(range(self.last))]
        assert self.layers is not None
        return [tuple((d, layer) for d in domains) for layer in sorted(set(self.layers))]


@dataclass(frozen=True)
class Group:
    """Nodes that are one layer, in the order of the domains; a private layer is a group of one node."""

    members: tuple[Node, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that share the layer: the set S over which its gradient is averaged."""
        return tuple(domain for domain, _ in self.members)

    @property
    def key(self) -> str:
        """The name of the layer with its domains: ``layer2[digits,edges]``, or ``layer3[a]+layer2[b]``."""
        numbers: dict[int, list[str]] = {}
        for domain, layer in self.members:
            numbers.setdefault(layer, []).append(domain)
        return "+".join(f"layer{layer}[{','.join(domains)}]" for layer, domains in numbers.items())

    def layer_of(self, domain: str) -> int:
        """The layer's number in ``domain``, from 1."""
        return dict(self.members)[domain]


@dataclass(frozen=True)
class Call:
    """One call of one layer on the concatenated values ``inputs``; its results are the values ``outputs``."""

    group: Group
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    slots: tuple[int, ...]
    """For each input, the row of the layer's normalisation statistics that it uses."""
    readers: tuple[tuple[str, ...], ...]
    """For each output, the domains that use it."""


@dataclass(frozen=True)
class Schedule:
    """A team's calls in order; ``start`` and ``end`` give the numbers of each domain's first and last value."""

    calls: tuple[Call, ...]
    start: Mapping[str, int]
    end: Mapping[str, int]


class SharingGraph:
    """The groups of layers that the domains of one team share (section 3, equation 2).

    Args:
        team: "generator" or "discriminator".
        depths: number of layers of each domain, at least 1, in the order of the domains.
        rules: the sharing rules of the configuration.
        same_input: whether all domains start from one value, as generators start from one z.

    Raises:
        ConfigError: a rule does not fit; the message names team, rule, domain and layer.
    """

    def __init__(
        self, team: TeamName, depths: Mapping[str, int], rules: Iterable[Rule] = (), *, same_input: bool = False
    ) -> None:
        self.team = team
        self.same_input = same_input
        self.depths = dict(depths)
        self.rules = tuple(rules)
        parent: dict[Node, Node] = {(d, i): (d, i) for d, n in depths.items() for i in range(1, n + 1)}

        def root(node: Node) -> Node:
            while parent[node] != node:
                node = parent[node]
            return node

        for number, rule in enumerate(self.rules):
            where = f"sharing.{team}[{number}] {rule}"
            self._check(rule, where)
            for tie in rule.ties(self.depths):
                for node in tie[1:]:
                    parent[root(node)] = root(tie[0])
            self._check_distinct(parent, root, where)
        members: dict[Node, list[Node]] = {}
        for node in parent:
            members.setdefault(root(node), []).append(node)
        self.groups = self._ordered(members.values())
        self.group_of: dict[Node, Group] = {node: group for group in self.groups for node in group.members}

    def _ordered(self, nodes: Iterable[Sequence[Node]]) -> tuple[Group, ...]:
        """The groups by their first layer, then by their first domain; members in the order of the domains."""
        order = {domain: position for position, domain in enumerate(self.depths)}
        groups = (Group(tuple(sorted(members, key=lambda node: order[node[0]]))) for members in nodes)
        return tuple(sorted(groups, key=lambda group: (min(i for _, i in group.members), order[group.members[0][0]])))

    def _check(self, rule: Rule, where: str) -> None:
        """Raise :class:`ConfigError` if a rule names a domain or a layer that does not exist."""
        for domain in rule.domains or ():
            check_domain_name(where, domain, self.depths)
        for domain in rule.domains or self.depths:
            depth = self.depths[domain]
            for layer in rule.layers or (rule.first or rule.last or 0,):
                if not 1 <= layer <= depth:
                    raise ConfigError(
                        f"{where}: the {self.team} of domain '{domain}' has layers 1 to {depth}, not {layer}"
                    )

    def _check_distinct(self, parent: Mapping[Node, Node], root: Callable[[Node], Node], where: str) -> None:
        """Raise :class:`ConfigError` if a group holds two layers of one domain."""
        seen: dict[tuple[Node, str], int] = {}
        for node in parent:
            key = (root(node), node[0])
            if key in seen:
                raise ConfigError(
                    f"{where}: with the rules before it, this ties layers {seen[key]} and {node[1]} of "
                    f"domain '{node[0]}' to each other; a layer can be tied to only one layer of each domain"
                )
            seen[key] = node[1]

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains, in order."""
        return tuple(self.depths)

    def numbered(self, domain: str, layer: int) -> int:
        """A layer's number counted from the domain's input.

        Args:
            domain: name of the domain.
            layer: number of the layer from 1; negative numbers count from the output, -1 is the last layer.
        """
        return layer if layer > 0 else self.depths[domain] + 1 + layer

    @cached_property
    def slots(self) -> dict[Node, int]:
        """Each node's row in its layer's normalisation statistics; domains with the same input have one row."""
        counts: dict[Group, int] = {}
        slots: dict[Node, int] = {}
        for group, _, readers in self._walk(self.domains):
            for together in readers:
                for domain in together:
                    slots[domain, group.layer_of(domain)] = counts.get(group, 0)
                counts[group] = counts.get(group, 0) + 1
        return slots

    def schedule(self, domains: Iterable[str] | None = None) -> Schedule:
        """The calls that compute each domain's output from its input.

        Args:
            domains: the domains to compute; None: all.
        """
        chosen = set(self.domains if domains is None else domains)
        wanted = tuple(d for d in self.domains if d in chosen)
        start = self._start(wanted)
        current = dict(start)
        calls = []
        fresh = len(wanted)
        for group, inputs, readers in self._walk(wanted):
            outputs = tuple(range(fresh, fresh + len(inputs)))
            fresh += len(inputs)
            slots = tuple(self.slots[together[0], group.layer_of(together[0])] for together in readers)
            calls.append(Call(group, inputs, outputs, slots, readers))
            for value, together in zip(outputs, readers, strict=True):
                current.update(dict.fromkeys(together, value))
        return Schedule(tuple(calls), start, current)

    def _start(self, domains: Sequence[str]) -> dict[str, int]:
        return {d: 0 if self.same_input else i for i, d in enumerate(domains)}

    def _walk(self, wanted: Sequence[str]) -> list[tuple[Group, tuple[int, ...], tuple[tuple[str, ...], ...]]]:
        """Layers in an order in which they can run: (group, distinct inputs, domains of each).

        A group runs when the inputs of all its members are known, so that it is called once. Rules that cross
        (possible with three domains of different depth) can make groups wait for each other; then the members whose
        inputs are known run first, and the layer is called again later.
        """
        value = self._start(wanted)
        fresh = len(wanted)
        reached = dict.fromkeys(wanted, 0)
        done = []
        while waiting := [d for d in wanted if reached[d] < self.depths[d]]:
            ready: dict[Group, list[str]] = {}
            for domain in waiting:
                ready.setdefault(self.group_of[domain, reached[domain] + 1], []).append(domain)
            whole = [g for g, ds in ready.items() if len(ds) == sum(d in value for d in g.domains)]
            group = whole[0] if whole else next(iter(ready))
            together: dict[int, list[str]] = {}
            for domain in ready[group]:
                together.setdefault(value[domain], []).append(domain)
                reached[domain] += 1
            done.append((group, tuple(together), tuple(tuple(ds) for ds in together.values())))
            for domains in together.values():
                value.update(dict.fromkeys(domains, fresh))
                fresh += 1
        return done

    def table(self) -> list[list[str]]:
        """Rows of text: the layer, then for each domain the letter of its group, or ``·`` for a private layer."""
        shared = [group for group in self.groups if len(group.members) > 1]
        letters = {group: _letters(number) for number, group in enumerate(shared)}
        rows = [["layer", *self.domains]]
        for layer in range(1, max(self.depths.values()) + 1):
            row = [str(layer)]
            for domain, depth in self.depths.items():
                row.append(letters.get(self.group_of[domain, layer], "·") if layer <= depth else "")
            rows.append(row)
        return rows

    def plain(self) -> dict[str, object]:
        """The graph as JSON values, for metadata and comparison."""
        return {"team": self.team, "depths": self.depths, "groups": [g.key for g in self.groups]}


def _letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text
