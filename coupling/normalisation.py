"""Batch normalisation whose statistics are taken per domain, real and generated samples apart.

A shared layer is called once on the samples of several domains side by side. Its weights are
shared, but what it normalises by is each domain's own (unless ``batch_statistics: joint``): the
mean and variance within each section of the batch, and in evaluation each domain's running ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from coupling.errors import ConfigError


@dataclass(frozen=True)
class Section:
    """Consecutive samples of a batch that are normalised together."""

    size: int
    slot: int
    """Which running statistics they use."""
    track: bool = True
    """Whether these samples move the running statistics (in training)."""


class DomainBatchNorm(nn.Module):
    """Batch normalisation over sections: ``weight`` and ``bias`` are shared, statistics are not.

    ``running_mean`` and ``running_var`` are (slots, C). :attr:`sections` is set by the network
    before each call and covers the batch in order. With ``joint``, sections of equal ``track``
    (all real samples, or all generated ones) are normalised as one, whatever their domain.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(self, like: _BatchNorm, slots: int, *, joint: bool = False) -> None:
        super().__init__()
        if like.momentum is None:
            raise ConfigError("batch normalisation with momentum=None (cumulative) is not supported; give a number")
        self.eps = like.eps
        self.momentum = like.momentum
        self.joint = joint
        self.weight = like.weight
        self.bias = like.bias
        slots = 1 if joint else slots
        for name in ("running_mean", "running_var"):
            value = getattr(like, name)
            self.register_buffer(name, None if value is None else value.repeat(slots, 1))
        self.sections: tuple[Section, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...) section by section."""
        sections = self.sections or (Section(x.shape[0], 0),)
        if not self.training and self.running_mean is not None:
            return self._by_section(x, sections, batch=False)
        if self.joint and len(sections) > 1:
            return self._jointly(x, sections)
        return self._by_section(x, sections, batch=True)

    def _normalise(self, x: Tensor, slot: int, *, batch: bool, track: bool) -> Tensor:
        slot = 0 if self.joint else slot
        known = self.running_mean is not None and self.running_var is not None and (track or not batch)
        mean = self.running_mean[slot] if known and self.running_mean is not None else None
        variance = self.running_var[slot] if known and self.running_var is not None else None
        return F.batch_norm(x, mean, variance, self.weight, self.bias, batch, self.momentum, self.eps)

    def _by_section(self, x: Tensor, sections: tuple[Section, ...], *, batch: bool) -> Tensor:
        if len(sections) == 1:
            return self._normalise(x, sections[0].slot, batch=batch, track=sections[0].track)
        parts = x.split([section.size for section in sections])
        return torch.cat(
            [
                self._normalise(part, section.slot, batch=batch, track=section.track)
                for part, section in zip(parts, sections, strict=True)
            ]
        )

    def _jointly(self, x: Tensor, sections: tuple[Section, ...]) -> Tensor:
        parts = list(x.split([section.size for section in sections]))
        for track in (True, False):
            chosen = [i for i, section in enumerate(sections) if section.track is track]
            if chosen:
                together = self._normalise(torch.cat([parts[i] for i in chosen]), 0, batch=True, track=track)
                sizes = [sections[i].size for i in chosen]
                for i, part in zip(chosen, together.split(sizes), strict=True):
                    parts[i] = part
        return torch.cat(parts)

    def extra_repr(self) -> str:
        """Shown by ``print(network)``."""
        slots = 0 if self.running_mean is None else self.running_mean.shape[0]
        return f"slots={slots}, eps={self.eps}, momentum={self.momentum}, joint={self.joint}"


def by_domain(layer: nn.Module, slots: int, *, joint: bool) -> nn.Module:
    """``layer`` with every batch normalisation in it replaced by a :class:`DomainBatchNorm`.

    One that is used in several places stays one.
    """
    made: dict[nn.Module, nn.Module] = {
        norm: DomainBatchNorm(norm, slots, joint=joint) for norm in layer.modules() if isinstance(norm, _BatchNorm)
    }
    for path, module in list(layer.named_modules(remove_duplicate=False)):
        if module in made and path:
            parent, _, name = path.rpartition(".")
            setattr(layer.get_submodule(parent), name, made[module])
    return made.get(layer, layer)
