"""Batch normalisation with separate statistics for each domain, and for real and generated samples.

A shared layer is called once on the concatenated samples of several domains. The domains share its
weights, but not its statistics (unless ``batch_statistics: joint``): in training it uses the mean and
variance of each section of the batch, in evaluation each domain's running ones.

With several processes, each holds a part of every domain's batch. ``synchronised`` layers take the
statistics of the whole batch, so that P processes compute the same as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from coupling.errors import ConfigError
from coupling.networks.fused import Part, can_fuse, normalise, slope_of
from coupling.system.distributed import total


@dataclass(frozen=True)
class Section:
    """Consecutive samples of a batch that are normalised together."""

    size: int
    slot: int
    """Row of the running statistics that they use."""
    track: bool = True
    """Whether these samples move the running statistics in training."""


class DomainBatchNorm(nn.Module):
    """Batch normalisation by sections, which share ``weight`` and ``bias`` but not the statistics.

    ``running_mean`` and ``running_var`` are (slots, C). With ``joint``, sections of equal ``track``
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
        """The next batch's sections, in order. :meth:`coupling.networks.coupled.CoupledNetwork.run` sets them before
        each call of the layer that holds this normalisation; empty: the batch is one section."""
        self.synchronised = False
        """Whether batch statistics are taken over the samples of all processes."""

    def forward(self, x: Tensor, activation: nn.Module | None = None) -> Tensor:
        """Normalise (B, C, ...) to the same shape, pool by pool; a pool is one section, or several if ``joint``.

        ``activation``: a module with one slope (see :func:`coupling.networks.fused.slope_of`) that is computed too.
        """
        sections = self.sections or (Section(x.shape[0], 0),)
        batch = self.training or self.running_mean is None
        pools = self._pools(sections, batch)
        if batch and not (self.training and self.synchronised) and can_fuse(x, self.weight):
            parts = [Part(sum(sections[i].size for i in pool), *self._moved(sections[pool[0]])) for pool in pools]
            values = x.numel() // max(1, x.shape[0] * x.shape[1])
            # Pools may also lie in turn, and a single value has no variance, which the plain way says.
            if [i for pool in pools for i in pool] == list(range(len(sections))) and (
                min(part.size for part in parts) * values > 1
            ):
                slope = None if activation is None else slope_of(activation)
                return normalise(x, self.weight, self.bias, slope, parts, self.momentum, self.eps)
        output = self._by_pool(x, sections, pools, batch=batch)
        return output if activation is None else activation(output)

    def _by_pool(self, x: Tensor, sections: tuple[Section, ...], pools: list[list[int]], *, batch: bool) -> Tensor:
        """Cut the batch, normalise each pool, and join the parts again."""
        parts = list(x.split([section.size for section in sections]))
        inputs = [parts[pool[0]] if len(pool) == 1 else torch.cat([parts[i] for i in pool]) for pool in pools]
        firsts = [sections[pool[0]] for pool in pools]
        if self.training and self.synchronised:
            outputs = self._over_processes(inputs, firsts)
        else:
            outputs = [self._alone(*pair, batch=batch) for pair in zip(inputs, firsts, strict=True)]
        for pool, output in zip(pools, outputs, strict=True):
            for i, part in zip(pool, output.split([sections[i].size for i in pool]), strict=True):
                parts[i] = part
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _pools(self, sections: tuple[Section, ...], batch: bool) -> list[list[int]]:
        """Positions of the sections that are normalised together, one list for each pool."""
        if not (self.joint and batch):
            return [[i] for i in range(len(sections))]
        pools = [[i for i, section in enumerate(sections) if section.track is track] for track in (True, False)]
        return [pool for pool in pools if pool]

    def _statistics(self, section: Section) -> tuple[Tensor | None, Tensor | None]:
        """The running mean and variance of a section, (C,) each; None without running statistics."""
        if self.running_mean is None or self.running_var is None:
            return None, None
        slot = 0 if self.joint else section.slot
        return self.running_mean[slot], self.running_var[slot]

    def _moved(self, section: Section) -> tuple[Tensor | None, Tensor | None]:
        """The running statistics that a section moves; None if it moves none."""
        return self._statistics(section) if section.track else (None, None)

    def _alone(self, x: Tensor, section: Section, *, batch: bool) -> Tensor:
        known = self._statistics(section) if section.track or not batch else (None, None)
        return F.batch_norm(x, *known, self.weight, self.bias, batch, self.momentum, self.eps)

    def _over_processes(self, inputs: list[Tensor], sections: list[Section]) -> list[Tensor]:
        """Batch normalisation over the samples of all processes, each of which has equally many.

        It needs two sums over the processes, each for all inputs together: of the samples, then of the
        squared distances from their mean. (A difference of two large sums would lose digits.)
        """
        axes = [0, *range(2, inputs[0].dim())]
        row = [1, -1, *[1] * (inputs[0].dim() - 2)]
        kind = inputs[0].dtype
        if kind in (torch.float16, torch.bfloat16):  # statistics need single precision
            inputs = [x.float() for x in inputs]
        counts = [x.numel() // x.shape[1] * dist.get_world_size() for x in inputs]
        if min(counts) < 2:
            raise ValueError("batch normalisation needs more than one value a channel, over all processes together")
        number = inputs[0].new_tensor(counts)[:, None]
        means = total(torch.stack([x.sum(axes) for x in inputs])) / number
        centred = [x - mean.view(row) for x, mean in zip(inputs, means, strict=True)]
        variances = total(torch.stack([x.square().sum(axes) for x in centred])) / number
        for section, mean, variance, count in zip(sections, means, variances, counts, strict=True):
            running_mean, running_var = self._statistics(section)
            if section.track and running_mean is not None and running_var is not None:
                running_mean.lerp_(mean.detach().to(running_mean), self.momentum)
                running_var.lerp_(variance.detach().to(running_var) * (count / (count - 1)), self.momentum)
        scales = (variances + self.eps).rsqrt() * (1 if self.weight is None else self.weight)
        outputs = [x * scale.view(row) for x, scale in zip(centred, scales, strict=True)]
        if self.bias is not None:
            outputs = [x + self.bias.view(row) for x in outputs]
        return [x.to(kind) for x in outputs]

    def extra_repr(self) -> str:
        """Shown by ``print(network)``."""
        slots = 0 if self.running_mean is None else self.running_mean.shape[0]
        return f"slots={slots}, eps={self.eps}, momentum={self.momentum}, joint={self.joint}"


def by_domain(layer: nn.Module, slots: int, *, joint: bool) -> nn.Module:
    """Replace every batch normalisation in ``layer`` by a :class:`DomainBatchNorm`; returns the layer.

    A normalisation that is used in several places stays one module.

    Raises:
        ConfigError: the statistics of a normalisation cannot be kept by domain.
    """
    for module in layer.modules():
        if isinstance(module, _InstanceNorm) and module.track_running_stats:
            raise ConfigError(
                "instance normalisation with track_running_stats=True keeps one mean for the samples of all domains, "
                "real and generated; set it to False"
            )
    made: dict[nn.Module, nn.Module] = {
        norm: DomainBatchNorm(norm, slots, joint=joint) for norm in layer.modules() if isinstance(norm, _BatchNorm)
    }
    for path, module in list(layer.named_modules(remove_duplicate=False)):
        if module in made and path:
            parent, _, name = path.rpartition(".")
            setattr(layer.get_submodule(parent), name, made[module])
    layer = made.get(layer, layer)
    for module in layer.modules():
        if type(module) is nn.Sequential:
            module.__class__ = FusedSequential
    return layer


class FusedSequential(nn.Sequential):
    """``nn.Sequential`` that computes a normalisation and the activation after it in one call."""

    def forward(self, input: Tensor) -> Tensor:
        """The modules in order."""
        waiting: nn.Module | None = None
        for module in self:
            if isinstance(waiting, DomainBatchNorm):
                fused = slope_of(module) is not None and not _has_hooks(module)
                input = waiting(input, module) if fused else module(waiting(input))
                waiting = None
            elif isinstance(module, DomainBatchNorm):
                waiting = module
            else:
                input = module(input)
        return input if waiting is None else waiting(input)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
