"""The loop that tutorials of coupled GANs copy, which the fast step is measured against.

The generators' shared first layers run once, and the discriminators judge the samples that the generators' half has
drawn. Everything else is written as one writes it first: plain layers in the default memory format, the networks of
each domain called one after the other, nothing frozen, one of torch's default Adams for each team.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupling.sharing.graph import Group, SharingGraph
from tests.benchmarks.textbook import plain


class Tutorials:
    """Coupled GANs whose tied layers are one module; shared gradients are sums."""

    def __init__(
        self,
        graphs: Mapping[str, SharingGraph],
        lists: Mapping[str, Mapping[str, Sequence[nn.Module]]],
        lr: float = 2e-4,
    ) -> None:
        self.layers: dict[str, dict[str, list[nn.Module]]] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        for team, graph in graphs.items():
            made: dict[Group, nn.Module] = {}
            for group in graph.groups:
                domain, number = group.members[0]
                made[group] = plain(lists[team][domain][number - 1])
            self.layers[team] = {
                domain: [made[graph.group_of[domain, number]] for number in range(1, depth + 1)]
                for domain, depth in graph.depths.items()
            }
            parameters = [parameter for module in made.values() for parameter in module.parameters()]
            self.optimizers[team] = torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.999))

    def step(self, z: Tensor, real: Mapping[str, Tensor]) -> None:
        """One alternating step with the non-saturating loss."""
        self.optimizers["generator"].zero_grad()
        fake = self._generate(z)
        torch.stack([F.softplus(-self._judge(d, x)).mean() for d, x in fake.items()]).mean().backward()
        self.optimizers["generator"].step()
        self.optimizers["discriminator"].zero_grad()
        terms = [F.softplus(-self._judge(d, x)).mean() for d, x in real.items()]
        terms += [F.softplus(self._judge(d, x.detach())).mean() for d, x in fake.items()]
        torch.stack(terms).mean().backward()
        self.optimizers["discriminator"].step()

    def _generate(self, z: Tensor) -> dict[str, Tensor]:
        layers = list(self.layers["generator"].values())
        first = 0
        while first < min(map(len, layers)) and len({id(own[first]) for own in layers}) == 1:
            z = layers[0][first](z)
            first += 1
        return {d: nn.Sequential(*own[first:])(z) for d, own in self.layers["generator"].items()}

    def _judge(self, domain: str, x: Tensor) -> Tensor:
        logits: Tensor = nn.Sequential(*self.layers["discriminator"][domain])(x)
        return logits
