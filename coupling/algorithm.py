"""One step of Algorithm 1, readable beside the paper.

1. draw one z batch for all domains and one batch of real samples a domain
2. one forward pass of the generators, x~_i = g_i(z), serves both halves
3. all discriminators: gradient of V on real and generated samples; shared gradients averaged; step
4. all generators: gradient through the UPDATED discriminators, same z; shared averaged; step
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from coupling.domain import Domain
from coupling.gradients import GradientBuffer
from coupling.loss import DiscriminatorHalf, GeneratorHalf, Loss, PerDomain
from coupling.networks import CoupledDiscriminator, CoupledGenerator

Losses = dict[str, Tensor]
"""{"loss/<team>/<domain>": scalar}, and ".../<term>" where an objective has several terms."""


class Team:
    """A network with the losses' parameters that belong to it, their gradients and optimizer."""

    def __init__(
        self,
        network: CoupledGenerator | CoupledDiscriminator,
        losses: Mapping[str, Loss],
        optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        processes: int = 1,
    ) -> None:
        self.name = network.graph.team
        self.network = network
        sharing = network.sharing_sets()
        for loss in losses.values():
            if loss.team == self.name:
                users = tuple(loss.users(network.graph.domains))
                sharing += [(parameter, users) for parameter in loss.parameters()]
        self.gradients = GradientBuffer(sharing, processes)
        self.optimizer = optimizer(self.gradients.parameters)

    def freeze(self, frozen: bool) -> None:
        """Frozen, the team passes gradients through and gathers none: no work is thrown away."""
        for parameter in self.gradients.parameters:
            parameter.requires_grad_(not frozen)

    def step(self, objective: Tensor) -> None:
        """Back-propagate, average what is shared, step, clear."""
        objective.backward()
        self.gradients.average()
        self.optimizer.step()
        self.gradients.clear()


class Algorithm1:
    """The coupled GAN's alternating step over two teams."""

    def __init__(
        self,
        domains: Sequence[Domain],
        generators: Team,
        discriminators: Team,
        losses: Mapping[str, Loss],
        *,
        autocast: Callable[[], AbstractContextManager[object]],
        uniform: Callable[[int, str, int], Tensor],
    ) -> None:
        """``autocast()``: one region a forward. ``uniform(step, purpose, numbers)``: noise for losses."""
        self.domains = tuple(domains)
        self.generators = generators
        self.discriminators = discriminators
        self.losses = dict(losses)
        self.autocast = autocast
        self.uniform = uniform
        self.taps = sorted({layer for loss in losses.values() for layer in loss.taps()})
        self.g = generators.network
        self.f = discriminators.network

    def step(self, step: int, z: Tensor, real: Mapping[str, Tensor], fresh_z: Tensor | None = None) -> Losses:
        """Both halves of step ``step`` (from 0) on z (B, size) and {domain: (B, *shape)}.

        ``fresh_z``: another z for the generators' half (``training.fresh_latent``).
        """
        if fresh_z is None:
            fake = self.generate(z)
            record = self.discriminator_half(step, real, fake)
        else:
            with torch.no_grad():
                fake = self.generate(z)
            record = self.discriminator_half(step, real, fake)
            z, fake = fresh_z, self.generate(fresh_z)
        return record | self.generator_half(step, z, fake)

    def generate(self, z: Tensor) -> PerDomain:
        """x~_i = g_i(z) of every domain; the shared prefix once."""
        with self.autocast():
            fake: PerDomain = self.g(z)
        return {domain: x.float() if x.dtype in (torch.bfloat16, torch.float16) else x for domain, x in fake.items()}

    def discriminator_half(self, step: int, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Losses:
        """Step all discriminators on real and generated samples together."""
        fake = {domain: x.detach() for domain, x in fake.items()}
        with self.autocast():
            real_logits, fake_logits, features = self.f(real, fake, self.taps)
        half = DiscriminatorHalf(
            step=step,
            domains=self.domains,
            real=real,
            fake=fake,
            real_logits=_full(real_logits),
            fake_logits=_full(fake_logits),
            features=features,
            score=lambda samples: self.f.run(samples, [(len(next(iter(samples.values()))), False)])[0],
            uniform=lambda purpose, numbers: self.uniform(step, purpose, numbers),
        )
        terms = {name: loss.discriminator(half) for name, loss in self.losses.items()}
        objective, record = combine("discriminator", terms)
        self.discriminators.step(objective)
        return record

    def generator_half(self, step: int, z: Tensor, fake: Mapping[str, Tensor]) -> Losses:
        """Step all generators through the updated discriminators."""
        self.discriminators.freeze(True)
        try:
            with self.autocast():
                _, fake_logits, features = self.f(None, fake, self.taps)
            half = GeneratorHalf(step, self.domains, z, fake, _full(fake_logits), features)
            terms = {name: loss.generator(half) for name, loss in self.losses.items()}
            objective, record = combine("generator", terms)
            self.generators.step(objective)
        finally:
            self.discriminators.freeze(False)
        return record


def combine(team: str, terms: Mapping[str, PerDomain]) -> tuple[Tensor, Losses]:
    """The objective (the sum over domains and terms) and its parts by name, detached."""
    given = {name: per_domain for name, per_domain in terms.items() if per_domain}
    totals: Losses = {}
    parts: Losses = {}
    for name, per_domain in given.items():
        for domain, value in per_domain.items():
            key = f"loss/{team}/{domain}"
            totals[key] = totals[key] + value if key in totals else value
            parts[f"{key}/{name}"] = value.detach()
    objective = torch.stack(list(totals.values())).sum()
    record = {key: value.detach() for key, value in totals.items()}
    return objective, record | parts if len(given) > 1 else record


def _full(logits: Mapping[str, Tensor]) -> PerDomain:
    """Logits in at least single precision: losses are not computed in half."""
    return {d: x.float() if x.dtype in (torch.bfloat16, torch.float16) else x for d, x in logits.items()}
