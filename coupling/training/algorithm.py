"""One step of Algorithm 1, readable beside the paper.

1. draw one z batch for all domains and one batch of real samples a domain
2. one forward pass of the generators, x~_i = g_i(z), serves both halves
3. all discriminators: gradient of V on real and generated samples; shared gradients averaged; step
4. all generators: gradient through the UPDATED discriminators, same z; shared averaged; step

Where memory is short, 3 and 4 add up the gradients of micro-batches, and 2 is done for each in both halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from coupling.batch import Batch
from coupling.domain import Domain
from coupling.losses.loss import Averaged, DiscriminatorHalf, GeneratorHalf, Loss, PerDomain
from coupling.networks.architecture import after_step_calls
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator
from coupling.sharing.graph import TEAMS
from coupling.system.distributed import total
from coupling.system.foreign_code import guarded
from coupling.training.augmenter import REAL, Augmenter
from coupling.training.gradients import GradientBuffer
from coupling.training.objective import Losses, combine, mean_losses, term
from coupling.training.precision import LossScale, in_full


def gradient_buffer(
    network: CoupledGenerator | CoupledDiscriminator, losses: Mapping[str, Loss], processes: int = 1
) -> GradientBuffer:
    """The gradients of a team: those of its network, then those of the losses' own parameters.

    Parameters that an architecture has frozen (a fixed filter, pretrained features) have none.
    ``processes``: over how many gradients are averaged.
    """
    sharing = network.sharing_sets()
    for loss in losses.values():
        if loss.team == network.graph.team:
            users = tuple(loss.users(network.graph.domains))
            sharing += [(parameter, users) for parameter in loss.parameters()]
    return GradientBuffer([(p, users) for p, users in sharing if p.requires_grad], processes)


class Team:
    """The generators or the discriminators: a network, its gradients and its optimizer."""

    def __init__(
        self,
        network: CoupledGenerator | CoupledDiscriminator,
        gradients: GradientBuffer,
        optimizer: torch.optim.Optimizer,
        scale: LossScale | None = None,
        schedule: Callable[[int], Mapping[str, Any]] | None = None,
    ) -> None:
        """``optimizer``: over ``gradients.parameters``. ``scale``: of the objective, for half precision.

        ``schedule(step)``: the optimizer's numbers at a step, counted from 0; None: they do not change.
        """
        self.name = network.graph.team
        self.network = network
        self.gradients = gradients
        self.optimizer = optimizer
        self.scale = scale
        self.schedule = schedule
        self._after_step = after_step_calls(network)

    def set_numbers(self, step: int) -> None:
        """Set the optimizer's numbers to those of ``step``, on the host."""
        if self.schedule is not None:
            for group in self.optimizer.param_groups:
                group |= self.schedule(step)

    def freeze(self, frozen: bool) -> None:
        """Freeze or unfreeze all parameters; a frozen team passes gradients through and computes none of its own."""
        for parameter in self.gradients.parameters:
            parameter.requires_grad_(not frozen)

    def backward(self, objective: Tensor, micro_batches: int = 1) -> None:
        """Add the gradients of one micro-batch's objective to the buffer, as a part of the mean over all samples.

        The objective is divided before back-propagation, so that in half precision a sample's gradient has the same
        size for any number of processes and micro-batches.
        """
        part = objective / (micro_batches * self.gradients.processes)
        with guarded(f"the {self.name}s' backward pass"):
            (part if self.scale is None else self.scale.scaled(part)).backward()

    def step(self) -> None:
        """Average the shared gradients and step. A step whose gradients overflow half precision is left out."""
        self.gradients.average()
        if self.scale is None or self.scale.unscale(self.gradients.flat, self.optimizer):
            self.optimizer.step()
        for call in self._after_step:
            call()


@dataclass(frozen=True)
class MicroBatch:
    """The samples of a step that pass through the networks together."""

    step: int
    z: Tensor
    fresh_z: Tensor
    real: Mapping[str, Tensor]
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    own: slice = field(default_factory=lambda: slice(None))
    """The place of its samples in this process's batch."""


class Algorithm1:
    """The alternating step of a coupled GAN: all discriminators, then all generators."""

    def __init__(
        self,
        domains: Sequence[Domain],
        generators: Team,
        discriminators: Team,
        losses: Mapping[str, Loss],
        *,
        autocast: Callable[[], AbstractContextManager[object]],
        uniform: Callable[[int, str, int], Tensor],
        accumulate: int = 1,
        averaged: tuple[CoupledDiscriminator, Mapping[str, Loss]] | None = None,
        observe: Callable[[int, Mapping[str, Tensor], Mapping[str, Tensor]], None] | None = None,
        augmenter: Augmenter | None = None,
    ) -> None:
        """``autocast()``: a region for one forward pass. ``uniform(step, purpose, numbers)``: noise for losses.

        ``accumulate``: number of micro-batches; memory then holds one micro-batch at a time.
        ``averaged``: discriminators and losses as moving averages, which the caller updates after each step.
        ``observe(step, real, fake)``: is called with the samples of each micro-batch, {domain: (B, *shape)} each.
        ``augmenter``: of the samples that the discriminators see; None: they see them as they are.
        """
        self.domains = tuple(domains)
        self.generators = generators
        self.discriminators = discriminators
        self.losses = dict(losses)
        self.autocast = autocast
        self.uniform = uniform
        self.accumulate = accumulate
        self.observe = observe
        self.needs_real_logits = any(loss.needs_real_logits for loss in losses.values())
        self.augmenter = augmenter
        self.taps = sorted({layer for loss in losses.values() for layer in loss.taps()})
        self.generator_taps = sorted({layer for loss in losses.values() for layer in loss.generator_taps()})
        terms = {team: [name for name, loss in losses.items() if loss.trains(team)] for team in TEAMS}
        self.several = {team for team, names in terms.items() if len(names) > 1}
        """Teams whose objective has several terms; each is then logged by name."""
        self.only: dict[str, str] = {team: names[0] for team, names in terms.items() if len(names) == 1}
        """{team: its term} for teams with one term."""
        self.g = cast(CoupledGenerator, generators.network)
        self.f = cast(CoupledDiscriminator, discriminators.network)
        self.averaged = None if averaged is None else self._averaged(*averaged)

    def step(
        self,
        step: int,
        z: Tensor,
        real: Mapping[str, Tensor],
        fresh_z: Tensor | None = None,
        labels: Mapping[str, Tensor] | None = None,
    ) -> Losses:
        """Both halves of step ``step`` (from 0) on z (B, size) and {domain: (B, *shape)}.

        ``fresh_z``: another z for the generators' half (``training.fresh_latent``). ``labels``: classes of
        the real samples of labelled domains, {domain: (B,) int64}.
        """
        self._set_numbers(step)
        parts = self._micro_batches(step, z, real, z if fresh_z is None else fresh_z, labels or {})
        kept = fresh_z is None and len(parts) == 1  # one forward pass serves both halves
        records: list[Losses] = []
        self.discriminators.gradients.clear()
        for part in parts:
            with torch.set_grad_enabled(kept):
                fake, drawn = self.generate(part.z)
            records.append(self.discriminator_half(part, fake))
        self.discriminators.step()
        self.generators.gradients.clear()  # a loss's own parameters may have got gradients in the other half
        for part, record in zip(parts, records, strict=True):
            if not kept:
                fake, drawn = self.generate(part.fresh_z)
            record |= self.generator_half(part, fake, drawn)
        self.generators.step()
        if self.augmenter is not None:
            self.augmenter.adapt(step)
        return records[0] if len(records) == 1 else mean_losses(records)

    def _set_numbers(self, step: int) -> None:
        """Set what follows a schedule to its value of ``step``: numbers of the optimizers and of the losses."""
        for team in (self.generators, self.discriminators):
            team.set_numbers(step)
        averaged = self.averaged.losses if self.averaged is not None else {}
        for loss in (*self.losses.values(), *averaged.values()):
            loss.set_numbers(step)

    def _micro_batches(
        self, step: int, z: Tensor, real: Mapping[str, Tensor], fresh_z: Tensor, labels: Mapping[str, Tensor]
    ) -> list[MicroBatch]:
        return [
            MicroBatch(
                step,
                z[own],
                fresh_z[own],
                {d: x[own] for d, x in real.items()},
                {d: c[own] for d, c in labels.items()},
                own,
            )
            for own in Batch(len(z), accumulate=self.accumulate).micro_batches
        ]

    def generate(self, z: Tensor) -> tuple[PerDomain, Mapping[tuple[str, int], Tensor]]:
        """x~_i = g_i(z) of every domain, the shared prefix once; and the outputs of the generators' tapped layers."""
        with guarded("the generators' forward pass"), self.autocast():
            if not self.generator_taps:
                return in_full(self.g(z)), {}  # by the module's call, which training.compile replaces
            fake, drawn = self.g.tapped(z, self.generator_taps)
        return in_full(fake), in_full(drawn)

    def discriminator_half(self, part: MicroBatch, fake: Mapping[str, Tensor]) -> Losses:
        """Gradients of all discriminators, on real and generated samples together."""
        fake = {domain: x.detach() for domain, x in fake.items()}
        if self.observe is not None:
            self.observe(part.step, part.real, fake)
        seen = self._seen(part, REAL, part.real), self._seen(part, "discriminator/generated", fake)
        with guarded("the discriminators' forward pass"), self.autocast():
            output = self.f(*seen, self.taps)
        half = DiscriminatorHalf(
            step=part.step,
            domains=self.domains,
            real=part.real,
            fake=fake,
            real_logits=in_full(output.real_logits),
            fake_logits=in_full(output.fake_logits),
            features=in_full(output.features),
            score=lambda samples: self.f.logits(self._seen(part, REAL, samples)),
            tap=lambda samples, layer: self._tap(self.f, samples, layer),
            labels=part.labels,
            uniform=lambda purpose, numbers: self.uniform(part.step, purpose, numbers)[part.own],
            averaged=self.averaged,
            z=part.z,
            mean=self._over_samples,
        )
        terms = {name: term(name, loss, "discriminator", half) for name, loss in self.losses.items()}
        objective, record = combine("discriminator", terms, named="discriminator" in self.several)
        self.discriminators.backward(objective, self.accumulate)
        return record if self.augmenter is None else record | self.augmenter.observe(part.step, half.real_logits)

    def _seen(self, part: MicroBatch, purpose: str, samples: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Samples as the discriminators see them, with the draws of ``purpose``: a half, and the kind of samples."""
        return samples if self.augmenter is None else self.augmenter(part.step, purpose, samples, part.own)

    def _averaged(self, f: CoupledDiscriminator, losses: Mapping[str, Loss]) -> Averaged:
        def tap(samples: Mapping[str, Tensor], layer: int) -> PerDomain:
            with torch.no_grad():
                return self._tap(f, samples, layer)

        return Averaged(losses, tap)

    def _tap(self, f: CoupledDiscriminator, samples: Mapping[str, Tensor], layer: int) -> PerDomain:
        """A layer's outputs for samples that are not the step's; running statistics do not change."""
        with self.autocast():
            return in_full(f.features(samples, layer))

    def _over_samples(self, x: Tensor) -> Tensor:
        """The mean over the first axis and over all processes, which have equally many samples."""
        count = self.discriminators.gradients.processes
        return x.mean(0) if count == 1 else total(x.mean(0)) / count

    @torch.no_grad()
    def _real_logits(self, part: MicroBatch) -> PerDomain:
        """The updated discriminators' logits of the real samples, if a loss reads them in the generators' half."""
        if not self.needs_real_logits:
            return {}
        with self.autocast():
            return in_full(self.f.logits(self._seen(part, "generator/real", part.real)))

    def generator_half(
        self, part: MicroBatch, fake: Mapping[str, Tensor], drawn: Mapping[tuple[str, int], Tensor]
    ) -> Losses:
        """Gradients of all generators, through the updated discriminators, which are frozen."""
        self.discriminators.freeze(True)
        try:
            seen = self._seen(part, "generator/generated", fake)
            with guarded("the discriminators' forward pass"), self.autocast():
                output = self.f(None, seen, self.taps)
            half = GeneratorHalf(
                step=part.step,
                domains=self.domains,
                z=part.fresh_z,
                fake=fake,
                fake_logits=in_full(output.fake_logits),
                features=in_full(output.features),
                real=part.real,
                real_logits=self._real_logits(part),
                mean=self._over_samples,
                drawn=drawn,
            )
            terms = {name: term(name, loss, "generator", half) for name, loss in self.losses.items()}
            objective, record = combine("generator", terms, named="generator" in self.several)
            self.generators.backward(objective, self.accumulate)
        finally:
            self.discriminators.freeze(False)
        return record
