"""Generators and discriminators of all domains: a shared layer is one module, a shared result is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coupling.errors import ConfigError
from coupling.networks.layers import with_kernels
from coupling.networks.normalisation import DomainBatchNorm, Section, by_domain
from coupling.sharing.graph import Group, Rule, Schedule, SharingGraph, TeamName


class CoupledNetwork(nn.Module):
    """All generators, or all discriminators, as one module that runs along the sharing graph.

    ``layers`` holds one module for each group of tied layers, under the group's key. A shared layer has the initial
    weights of its first domain's layer.
    """

    def __init__(
        self, graph: SharingGraph, lists: Mapping[str, Sequence[nn.Module]], *, joint_statistics: bool = False
    ) -> None:
        """``lists``: each domain's own layers. ``joint_statistics``: normalise over all domains' samples.

        Raises:
            ConfigError: tied layers differ, or two layers hold the same parameter.
        """
        super().__init__()
        self.graph = graph
        self.layers = nn.ModuleDict()
        self.styles = nn.ModuleDict()
        """How private layers read the style codes of their domains, under the keys of the layers; often none do."""
        self.tied: dict[str, Group] = {}
        for group in graph.groups:
            slots = 1 + max(graph.slots[node] for node in group.members)
            layer = with_kernels(_tied_layer(group, lists, graph.team))
            self.layers[group.key] = by_domain(layer, slots, joint=joint_statistics)
            self.tied[group.key] = group
        self._check_owners()
        self._norms = {
            key: [m for m in layer.modules() if isinstance(m, DomainBatchNorm)] for key, layer in self.layers.items()
        }
        self._apart = {
            key: any(getattr(m, "mixes_samples", False) for m in layer.modules()) for key, layer in self.layers.items()
        }
        self._schedules: dict[frozenset[str], Schedule] = {}

    def schedule(self, domains: Iterable[str]) -> Schedule:
        """The graph's schedule for ``domains``, kept for the next call."""
        chosen = frozenset(domains)
        if chosen not in self._schedules:
            self._schedules[chosen] = self.graph.schedule(chosen)
        return self._schedules[chosen]

    def sharing_sets(self) -> list[tuple[nn.Parameter, tuple[str, ...]]]:
        """Each parameter once, with the domains that share it: the sets over which gradients are averaged."""
        return [(p, self.tied[key].domains) for key in self.layers for p in self.layer_parameters(key)]

    def layer_parameters(self, key: str) -> list[nn.Parameter]:
        """The parameters of a layer, and those by which it reads a style code."""
        modules = [self.layers[key], *([self.styles[key]] if key in self.styles else [])]
        return [parameter for module in modules for parameter in module.parameters()]

    def parameter_counts(self) -> tuple[int, int]:
        """How many numbers are trained, and how many of those two or more domains share."""
        sets = [(parameter.numel(), len(domains)) for parameter, domains in self.sharing_sets()]
        return sum(count for count, _ in sets), sum(count for count, sharers in sets if sharers > 1)

    def _check_owners(self) -> None:
        """Raise :class:`ConfigError` if two groups hold one parameter, whose gradient would get the wrong mean."""
        owners: dict[nn.Parameter, str] = {}
        for key, layer in self.layers.items():
            for name, parameter in layer.named_parameters():
                if owners.setdefault(parameter, key) != key:
                    raise ConfigError(
                        f"{self.graph.team}: {owners[parameter]} and {key} hold the same parameter '{name}'; the "
                        "architecture must make new modules for each layer; the sharing rules tie them"
                    )

    def run(
        self,
        inputs: Mapping[str, Tensor],
        chunks: Sequence[tuple[int, bool]],
        taps: Iterable[int] = (),
        styles: Mapping[str, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], dict[tuple[str, int], Tensor]]:
        """Compute each domain's output from its input, {domain: (B, ...)}, and the outputs of the tapped layers.

        ``chunks``: parts of every input that are normalised by their own statistics, as (size, whether the part moves
        the running statistics). ``taps``: layers whose outputs are returned too, as {(domain, tap): output}; tap 1 is
        the first layer, -1 the last one of each domain, as depths may differ. ``styles``: the style codes that private
        layers read, {domain: (B, style)}.
        """
        schedule = self.schedule(inputs)
        values: dict[int, Tensor] = {schedule.start[domain]: tensor for domain, tensor in inputs.items()}
        wanted: dict[tuple[str, int], list[int]] = {}
        for tap in taps:
            for domain in inputs:
                wanted.setdefault((domain, self.graph.numbered(domain, tap)), []).append(tap)
        tapped: dict[tuple[str, int], Tensor] = {}
        for call in schedule.calls:
            key = call.group.key
            given = [values[i] for i in call.inputs]
            if styles and key in self.styles:  # a layer of one domain, which has one input
                given = [self.styles[key](given[0], styles[call.group.domains[0]])]
            outputs = self._call(key, given, call.slots, chunks)
            for number, output, readers in zip(call.outputs, outputs, call.readers, strict=True):
                values[number] = output
                for domain in readers if wanted else ():
                    for tap in wanted.get((domain, call.group.layer_of(domain)), ()):
                        tapped[domain, tap] = output
        return {domain: values[schedule.end[domain]] for domain in inputs}, tapped

    def _call(
        self, key: str, inputs: list[Tensor], slots: Sequence[int], chunks: Sequence[tuple[int, bool]]
    ) -> Sequence[Tensor]:
        """One layer on several inputs, concatenated into one call if that gives the same result."""
        if len(inputs) > 1 and (self._apart[key] or len({i.shape[1:] for i in inputs}) > 1):
            if any(norm.joint for norm in self._norms[key]):
                raise ConfigError(
                    f"batch_statistics: joint: {self.graph.team} {key} gets inputs that cannot be normalised together: "
                    f"their shapes are {', '.join(str(tuple(i.shape[1:])) for i in inputs)}, or the layer mixes "
                    "samples; tie fewer layers, or set batch_statistics: per-domain"
                )
            return [self._call(key, [x], [slot], chunks)[0] for x, slot in zip(inputs, slots, strict=True)]
        if self._apart[key] and len(chunks) > 1:
            parts = zip(inputs[0].split([size for size, _ in chunks]), chunks, strict=True)
            return [torch.cat([self._call(key, [part], slots, [chunk])[0] for part, chunk in parts])]
        sections = tuple(Section(size, slot, track) for slot in slots for size, track in chunks)
        for norm in self._norms[key]:
            norm.sections = sections  # DomainBatchNorm.forward reads them in the call below
        layer = self.layers[key]
        if len(inputs) == 1:
            return [layer(inputs[0])]
        output: Tensor = layer(torch.cat(inputs))
        return torch.split(output, [x.shape[0] for x in inputs])


class CoupledGenerator(CoupledNetwork):
    """g_1 ... g_N on one z for all domains; the layers shared at the start are computed once, whatever N is."""

    def __init__(
        self,
        graph: SharingGraph,
        lists: Mapping[str, Sequence[nn.Module]],
        *,
        joint_statistics: bool = False,
        condition: bool = False,
    ) -> None:
        """``condition``: append the domain to z, one-hot; then each domain has its own input."""
        super().__init__(graph, lists, joint_statistics=joint_statistics)
        self.condition = condition
        self.style = 0
        """Numbers in a domain's style code. The style codes of all domains follow the numbers that all domains read."""

    def forward(self, z: Tensor, domains: Sequence[str] | None = None) -> dict[str, Tensor]:
        """(B, latent size) to corresponding samples {domain: (B, *shape)} of all domains, or of ``domains``."""
        return self.tapped(z, (), domains)[0]

    def tapped(
        self, z: Tensor, taps: Sequence[int], domains: Sequence[str] | None = None
    ) -> tuple[dict[str, Tensor], dict[tuple[str, int], Tensor]]:
        """The samples, and the outputs of the tapped layers as {(domain, tap): (B, ...)}; see :meth:`run`."""
        styles: dict[str, Tensor] = {}
        if self.style:
            count = len(self.graph.domains)
            z, *parts = z.split([z.shape[1] - count * self.style, *[self.style] * count], 1)
            styles = dict(zip(self.graph.domains, parts, strict=True))
        return self.run(self.inputs(z, domains), [(z.shape[0], True)], taps, styles)

    def inputs(self, z: Tensor, domains: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The inputs of the first layers, {domain: (B, ...)}; ``z``: without the style codes."""
        return {domain: self._first(z, domain) for domain in (self.graph.domains if domains is None else domains)}

    def _first(self, z: Tensor, domain: str) -> Tensor:
        if not self.condition:
            return z
        code = z.new_zeros(z.shape[0], len(self.graph.domains))
        code[:, self.graph.domains.index(domain)] = 1
        return torch.cat([z, code], dim=1)


@dataclass(frozen=True)
class DiscriminatorOutput:
    """The discriminators' answer to one batch."""

    real_logits: dict[str, Tensor]
    """{domain: (B, outputs)}; empty if no real samples were given."""
    fake_logits: dict[str, Tensor]
    """{domain: (B, outputs)}; empty if no generated samples were given."""
    features: dict[tuple[str, int], Tensor]
    """{(domain, layer): output of a tapped layer}: the real samples first, then the generated ones."""


class CoupledDiscriminator(CoupledNetwork):
    """f_1 ... f_N. Real and generated samples pass together, but each kind is normalised by its own statistics."""

    def forward(
        self,
        real: Mapping[str, Tensor] | None = None,
        fake: Mapping[str, Tensor] | None = None,
        taps: Sequence[int] = (),
    ) -> DiscriminatorOutput:
        """Logits and tapped outputs of real and generated samples, {domain: (B, *shape)} each; one may be left out.

        Only the real samples move the running statistics. ``taps``: see :meth:`run`.
        """
        given = [part for part in (real, fake) if part]
        sizes = [next(iter(part.values())).shape[0] for part in given]
        inputs = {
            domain: given[0][domain] if len(given) == 1 else torch.cat([part[domain] for part in given])
            for domain in given[0]
        }
        chunks = [(size, part is real) for size, part in zip(sizes, given, strict=True)]
        logits, tapped = self.run(inputs, chunks, taps)
        if len(given) == 1:
            return DiscriminatorOutput(logits, {}, tapped) if real else DiscriminatorOutput({}, logits, tapped)
        halves = {domain: both.split(sizes) for domain, both in logits.items()}
        return DiscriminatorOutput(
            {domain: half[0] for domain, half in halves.items()},
            {domain: half[1] for domain, half in halves.items()},
            tapped,
        )

    def logits(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{domain: (B, *shape)} to logits {domain: (B, outputs)}; the running statistics do not move."""
        return self.run(samples, _untracked(samples))[0]

    def features(self, samples: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
        """{domain: (B, *shape)} to the outputs of ``layer``, {domain: (B, ...)}; the running statistics do not move.

        Layer 1 is the first; -1 is each domain's last.
        """
        tapped = self.run(samples, _untracked(samples), [layer])[1]
        return {domain: output for (domain, _), output in tapped.items()}


def _untracked(samples: Mapping[str, Tensor]) -> list[tuple[int, bool]]:
    """One chunk of all samples, which does not move the running statistics."""
    return [(next(iter(samples.values())).shape[0], False)]


def to_device(network: nn.Module, device: torch.device) -> None:
    """Move a network; convolution weights become channels-last, the format that their kernels read fastest."""
    network.to(device)
    for parameter in network.parameters():
        if parameter.dim() == 4:  # only tensors of four dimensions have this format
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def _tied_layer(group: Group, lists: Mapping[str, Sequence[nn.Module]], team: TeamName) -> nn.Module:
    """The first domain's layer of a group; raises :class:`ConfigError` if another one differs in structure."""
    (first, position), *others = group.members
    layer = lists[first][position - 1]
    for domain, number in others:
        difference = structural_difference(layer, lists[domain][number - 1])
        if difference:
            raise ConfigError(
                f"{team}: layer {position} of domain '{first}' and layer {number} of domain '{domain}' are tied, but "
                f"differ: {difference}; share fewer layers, or make them alike"
            )
    return layer


def structural_difference(first: nn.Module, second: nn.Module) -> str:
    """The first difference that keeps two layers from being one module; an empty string if they are alike."""
    kinds = [type(m).__name__ for m in first.modules()], [type(m).__name__ for m in second.modules()]
    for one, other in zip(*kinds, strict=False):
        if one != other:
            return f"a {one} against a {other}"
    if len(kinds[0]) != len(kinds[1]):
        return f"{len(kinds[0])} modules against {len(kinds[1])}"
    shapes = [{n: tuple(p.shape) for n, p in m.state_dict().items()} for m in (first, second)]
    for name in dict.fromkeys([*shapes[0], *shapes[1]]):
        one_shape, other_shape = shapes[0].get(name), shapes[1].get(name)
        if one_shape != other_shape:
            return f"'{name}' has shape {one_shape} against {other_shape}"
    for (name, one_module), (_, other_module) in zip(first.named_modules(), second.named_modules(), strict=True):
        if one_module.extra_repr() != other_module.extra_repr():
            return f"{name or type(one_module).__name__}: {one_module.extra_repr()} against {other_module.extra_repr()}"
    return ""


def team_graph(
    team: TeamName,
    lists: Mapping[str, Sequence[nn.Module]],
    rules: Iterable[Rule],
    *,
    same_input: bool,
) -> SharingGraph:
    """The sharing graph of a team over each domain's layers."""
    return SharingGraph(team, {d: len(layers) for d, layers in lists.items()}, rules, same_input=same_input)
