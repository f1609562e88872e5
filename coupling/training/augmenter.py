"""Augmentation of a step's samples in front of the discriminators, with a fixed or an adaptive probability."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from coupling.augmentations.augmentation import Augmentation
from coupling.config.schedules import number_at
from coupling.config.sections import AdaptiveConfig, AugmentationConfig
from coupling.domain import Domain
from coupling.losses.loss import PerDomain
from coupling.runs.metrics_log import AUGMENTATION_PROBABILITY

Probability = float | Tensor
"""A number that the host knows, or one on the device, which is never transferred in a step."""


class Augmenter:
    """Changes the samples that the discriminators see: a function of seed, domain, step, half and kind of sample.

    Each augmentation of a domain is applied to each sample with the same probability, independently of the others
    (Karras et al. 2020, section 2.3).
    """

    def __init__(
        self,
        config: AugmentationConfig,
        domains: Mapping[str, Domain],
        augmentations: Mapping[str, Sequence[Augmentation]],
        uniform: Callable[[int, str, int], Tensor],
        adaptation: Adaptation | None = None,
    ) -> None:
        """``uniform(step, purpose, numbers)``: this process's (B, numbers) in [0, 1)."""
        self.probability = config.probability
        self.domains = dict(domains)
        self.augmentations = {name: list(several) for name, several in augmentations.items()}
        self.uniform = uniform
        self.adaptation = adaptation

    def __call__(self, step: int, purpose: str, samples: Mapping[str, Tensor], own: slice) -> PerDomain:
        """Samples {domain: (B, *shape)} as the discriminators see them in ``step``, differentiable.

        ``purpose``: the half and the kind of samples; each has draws of its own. ``own``: the place of the samples in
        this process's batch.
        """
        return {
            name: self._changed(step, f"{purpose}/{name}", x, own, self.domains[name])
            if self.augmentations.get(name)
            else x
            for name, x in samples.items()
        }

    def _changed(self, step: int, purpose: str, samples: Tensor, own: slice, domain: Domain) -> Tensor:
        probability = self._probability(step, domain.name)
        if isinstance(probability, float) and probability <= 0:
            return samples
        several = self.augmentations[domain.name]
        drawn = self.uniform(step, f"augmentation/{purpose}", sum(1 + each.numbers for each in several))[own]
        for augmentation in several:
            chosen, numbers, drawn = drawn.tensor_split([1, 1 + augmentation.numbers], dim=1)
            changed = augmentation(samples, numbers, domain)
            if isinstance(probability, Tensor) or probability < 1:
                chosen = (chosen < probability).view(-1, *[1] * (samples.dim() - 1))
                changed = torch.where(chosen, changed, samples)
            samples = changed
        return samples

    def _probability(self, step: int, domain: str) -> Probability:
        highest = number_at(self.probability, step)
        return highest if self.adaptation is None else self.adaptation.shares[domain].clamp(max=highest)

    def observe(self, step: int, real_logits: Mapping[str, Tensor]) -> PerDomain:
        """Note the logits of a micro-batch of real samples; returns the probabilities to log, empty if fixed."""
        if self.adaptation is None:
            return {}
        self.adaptation.note(real_logits)
        highest = number_at(self.probability, step)
        return {
            f"{AUGMENTATION_PROBABILITY}/{name}": self.adaptation.shares[name].clamp(max=highest)
            for name in real_logits
        }

    def adapt(self, step: int) -> None:
        """Move adaptive probabilities after ``step``, if they are due."""
        if self.adaptation is not None:
            self.adaptation.move(step)


REAL = "discriminator/real"
"""Purpose of the real samples in the discriminators' half."""


class Adaptation:
    """The probability of each domain's augmentations, moved towards a target of overfitting.

    The measure is r = E[sign(f(x))] over the real samples of the last steps (Karras et al. 2020, equation 1): 1 if all
    have a positive logit, 0 if half of them have. While r is above the target, the probability rises, else it falls.
    Everything stays on the device, and the counts of all processes are added up, so each computes the same.
    """

    def __init__(
        self, config: AdaptiveConfig, domains: Sequence[str], batch_size: int, device: torch.device, processes: int = 1
    ) -> None:
        """``batch_size``: samples of a domain in a step, over all processes."""
        self.config = config
        self.processes = processes
        self.samples = batch_size * config.every
        self._shares = torch.zeros(len(domains), device=device)
        self._signs = torch.zeros(len(domains), device=device)
        self._new = torch.zeros(len(domains), device=device)
        self.shares: PerDomain = dict(zip(domains, self._shares.unbind(), strict=True))
        """Probability of each domain, views of one tensor."""

    def note(self, real_logits: Mapping[str, Tensor]) -> None:
        """Add the signs of this process's logits {domain: (B, 1)} to the sums of the step."""
        self._new += torch.stack([real_logits[name].detach().sign().sum() for name in self.shares])

    def move(self, step: int) -> None:
        """Add up the sums of all processes; move the probabilities if ``step`` (from 0) ends an interval."""
        if self.processes > 1:
            dist.all_reduce(self._new)
        self._signs += self._new
        self._new.zero_()
        if (step + 1) % self.config.every:
            return
        towards = (self._signs / self.samples - self.config.target).sign()
        self._shares.add_(towards, alpha=self.samples / self.config.images).clamp_(0, 1)
        self._signs.zero_()

    def plain(self) -> dict[str, Any]:
        """The probabilities, and the sums of all processes since they last moved, for a checkpoint."""
        return {"probabilities": self._shares.tolist(), "signs": self._signs.tolist()}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Load what :meth:`plain` returned."""
        for own, saved in ((self._shares, "probabilities"), (self._signs, "signs")):
            if saved in values:
                own.copy_(torch.tensor(values[saved]))
