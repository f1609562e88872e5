"""The slow, obvious coupled GAN: N separate networks, tied by copying, one backward pass a domain.

Nothing of the package's execution is used here: layers are called one after the other, a domain at
a time, real and generated samples apart, and the average over sharing domains is an explicit mean.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from coupling.domain import Domain
from coupling.losses.loss import DiscriminatorHalf, GeneratorHalf, Loss
from coupling.sharing.graph import SharingGraph


class Reference:
    """Both teams as separate networks; shared layers are copies with equal weights."""

    def __init__(
        self,
        graphs: Mapping[str, SharingGraph],
        lists: Mapping[str, Mapping[str, Sequence[nn.Module]]],
        losses: Sequence[Loss],
        uniform: Callable[[str, int], Tensor],
        styles: Mapping[str, Tensor] | None = None,
        *,
        together: bool = False,
    ) -> None:
        """``styles``: the matrices by which private generator layers read style codes, by the layers' keys.

        ``together``: one backward pass for all domains, for losses that compare them.
        """
        self.styles = {key: weight.detach().clone().requires_grad_() for key, weight in (styles or {}).items()}
        self.graphs = graphs
        self.losses = losses
        self.uniform = uniform
        self.together = together
        self.labels: Mapping[str, Tensor] = {}
        """Classes of the real samples, {domain: (B,)}, for losses that read them."""
        self.domains = [Domain(name, (1,), (-1.0, 1.0)) for name in graphs["discriminator"].domains]
        self.layers: dict[str, dict[tuple[str, int], nn.Module]] = {}
        for team, graph in graphs.items():
            self.layers[team] = {}
            for group in graph.groups:
                first_domain, first_number = group.members[0]
                for node in group.members:
                    self.layers[team][node] = copy.deepcopy(lists[team][first_domain][first_number - 1])

    def forward(self, team: str, domain: str, x: Tensor, last: int | None = None) -> Tensor:
        if team == "generator" and self.styles:  # the style codes of all domains follow
            size = next(iter(self.styles.values())).shape[1]
            number = self.graphs[team].domains.index(domain)
            first = x.shape[1] - size * len(self.graphs[team].domains)
            style = x[:, first + number * size : first + (number + 1) * size]
            x = x[:, :first]
        if team == "generator" and not self.graphs[team].same_input:  # the domain, one-hot, is appended to z
            number = self.graphs[team].domains.index(domain)
            code = torch.eye(len(self.graphs[team].domains), dtype=x.dtype)[number]
            x = torch.cat([x, code.expand(len(x), -1)], dim=1)
        for number in range(1, (last or self.graphs[team].depths[domain]) + 1):
            group = self.graphs[team].group_of[domain, number]
            if team == "generator" and group.key in self.styles:
                both = style @ self.styles[group.key].T
                gain, shift = both[:, : x.shape[1]], both[:, x.shape[1] :]
                row = (len(x), -1, *[1] * (x.dim() - 2))
                x = x * (1 + gain.view(row)) + shift.view(row)
            x = self.layers[team][domain, number](x)
        return x

    def clear(self) -> None:
        """Forget all gradients, before another step."""
        for layers in self.layers.values():
            for layer in layers.values():
                layer.zero_grad()

    def mean_gradients(self, team: str) -> dict[str, list[Tensor]]:
        """For each group's key, its parameters' gradients: the mean over the copies."""
        result = {}
        for group in self.graphs[team].groups:
            copies = [[p.grad for p in self.layers[team][node].parameters()] for node in group.members]
            result[group.key] = [torch.stack(same).mean(0) for same in zip(*copies, strict=True)]
        if team == "generator":
            result |= {f"style of {key}": [weight.grad] for key, weight in self.styles.items()}
        return result

    def features(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> dict[tuple[str, int], Tensor]:
        """Outputs of the layers that a loss taps: real samples first."""
        found = {}
        for tap in {layer for loss in self.losses for layer in loss.taps()}:
            for domain in fake:
                last = tap if tap > 0 else self.graphs["discriminator"].depths[domain] + 1 + tap
                parts = [part[domain] for part in (real, fake) if part]
                found[domain, tap] = torch.cat([self.forward("discriminator", domain, x, last) for x in parts])
        return found

    def parts(self) -> list[list[str]]:
        """The domains of each backward pass: one, or all together for losses that compare domains."""
        names = list(self.graphs["discriminator"].domains)
        return [names] if self.together else [[name] for name in names]

    def discriminators(self, step: int, z: Tensor, real: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        for domains in self.parts():
            own = {domain: real[domain] for domain in domains}
            fake = {domain: self.forward("generator", domain, z).detach() for domain in domains}
            half = DiscriminatorHalf(
                step=step,
                domains=self.domains,
                real=own,
                fake=fake,
                real_logits={d: self.forward("discriminator", d, x) for d, x in own.items()},
                fake_logits={d: self.forward("discriminator", d, x) for d, x in fake.items()},
                features=self.features(own, fake),
                score=lambda samples: {d: self.forward("discriminator", d, x) for d, x in samples.items()},
                tap=lambda samples, layer: {},
                uniform=self.uniform,
                z=z,
                labels=self.labels,
            )
            values = [v for loss in self.losses for v in loss.discriminator(half).values()]
            torch.stack(values).sum().backward()
        return self.mean_gradients("discriminator")

    def generators(self, step: int, z: Tensor, real: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        for domains in self.parts():
            fake = {domain: self.forward("generator", domain, z) for domain in domains}
            logits = {d: self.forward("discriminator", d, x) for d, x in fake.items()}
            own = {domain: real[domain] for domain in domains}
            seen = {}
            if any(loss.needs_real_logits for loss in self.losses):
                seen = {d: self.forward("discriminator", d, x).detach() for d, x in own.items()}
            drawn = {
                (domain, layer): self.forward("generator", domain, z, layer)
                for layer in {layer for loss in self.losses for layer in loss.generator_taps()}
                for domain in domains
            }
            half = GeneratorHalf(step, self.domains, z, fake, logits, self.features({}, fake), own, seen, drawn=drawn)
            values = [v for loss in self.losses for v in loss.generator(half).values()]
            torch.stack(values).sum().backward()
        return self.mean_gradients("generator")

    def adopt(self, team: str, network: nn.Module) -> None:
        """Take over the weights that a step gave to a coupled network, group by group."""
        for group in self.graphs[team].groups:
            for node in group.members:
                for own, other in zip(
                    self.layers[team][node].parameters(), network.layers[group.key].parameters(), strict=True
                ):
                    own.data.copy_(other.data)
                for module in self.layers[team][node].modules():
                    if hasattr(module, "after_step"):
                        module.after_step()
