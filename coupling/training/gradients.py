"""The average of shared gradients over domains and processes (Algorithm 1; docs/averaging.md).

Let each domain d own a copy theta_d of a shared parameter theta. The step that Algorithm 1 takes
is along the mean of the copies' gradients over the sharing set S,

    grad(theta) = 1/|S| * sum over d in S of dL/d(theta_d),

and back-propagation through the one module that the domains share gives the sum. With the batch
split over P processes, each back-propagates 1/P of the mean over its own part, and the mean over
all samples is the sum over processes. So: one scale a sharing set, one all-reduce a team.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from coupling.errors import CouplingError

SharingSets = Iterable[tuple[nn.Parameter, Sequence[str]]]


class GradientBuffer:
    """A team's gradients in ONE flat buffer, ordered by sharing set; each ``.grad`` is a view of it.

    ``parameters``: each parameter once, with the domains that share it. All must have one dtype
    and device. Between steps the buffer is cleared with :meth:`clear`; ``zero_grad(set_to_none=True)``
    would detach the views; :meth:`average` detects that.
    """

    def __init__(self, parameters: SharingSets, processes: int = 1) -> None:
        self.processes = processes
        by_set: dict[tuple[str, ...], list[nn.Parameter]] = {}
        for parameter, domains in parameters:
            by_set.setdefault(tuple(domains), []).append(parameter)
        # Larger sets first: parameters that most domains share lie together.
        ordered = sorted(by_set.items(), key=lambda item: -len(item[0]))
        self.parameters = [parameter for _, members in ordered for parameter in members]
        if not self.parameters:
            raise CouplingError("a team has no parameters to train")
        kinds = {(p.dtype, p.device) for p in self.parameters}
        if len(kinds) != 1:
            raise CouplingError(f"a team's parameters must have one dtype and device, not {sorted(map(str, kinds))}")
        ((dtype, device),) = kinds
        self.flat = torch.zeros(sum(p.numel() for p in self.parameters), dtype=dtype, device=device)
        self.slices: list[tuple[tuple[str, ...], Tensor]] = []
        self._views: list[Tensor] = []
        offset = 0
        for domains, members in ordered:
            start = offset
            for parameter in members:
                # The view has the parameter's own strides, also where those are channels_last.
                parameter.grad = self.flat[offset : offset + parameter.numel()].as_strided(
                    parameter.shape, _dense_strides(parameter)
                )
                offset += parameter.numel()
                self._views.append(parameter.grad)
            self.slices.append((domains, self.flat[start:offset]))

    @property
    def bytes(self) -> int:
        """Bytes that one all-reduce sends: the team's unique parameters."""
        return self.flat.numel() * self.flat.element_size()

    def clear(self) -> None:
        """Set every gradient to zero, in place."""
        self.flat.zero_()

    def average(self) -> None:
        """Turn the sums from back-propagation into means over domains, then add up the parts of all processes."""
        self._check_views()
        for domains, part in self.slices:
            if len(domains) > 1:
                part.mul_(1.0 / len(domains))
        if self.processes > 1:
            dist.all_reduce(self.flat)

    def _check_views(self) -> None:
        if any(p.grad is not view for p, view in zip(self.parameters, self._views, strict=True)):
            raise CouplingError(
                "a gradient is no longer a view of the team's buffer; clear gradients with GradientBuffer.clear(), "
                "never with zero_grad(set_to_none=True)"
            )


def _dense_strides(parameter: Tensor) -> tuple[int, ...]:
    """The parameter's strides, which must fill its storage without gaps."""
    strides = parameter.stride()
    span = 1 + sum((n - 1) * s for n, s in zip(parameter.shape, strides, strict=True))
    if parameter.numel() and span != parameter.numel():
        raise CouplingError(f"a parameter of shape {tuple(parameter.shape)} is not dense; call .contiguous() on it")
    return strides
