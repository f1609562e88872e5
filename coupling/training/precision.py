"""Mixed precision: which number a forward pass computes in, and the scale that half precision needs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Literal, TypeVar

import torch
from torch import Tensor

from coupling.errors import RunError

Key = TypeVar("Key")


Precision = Literal["fp32", "bf16", "fp16"]


_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


_LOWEST = 2.0**-14
"""The smallest useful scale: below it, gradients that overflow would overflow at any scale."""


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """An autocast region for one forward pass.

    It must not span both halves of a step: the weights cast in the first half would be reused, out of date, in the
    second.
    """
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_TYPES[precision])


def in_full(tensors: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
    """The same tensors in at least single precision: losses are never computed in half precision."""
    return {name: x.float() if x.dtype in _TYPES.values() else x for name, x in tensors.items()}


class LossScale:
    """A factor on one team's loss that keeps its small gradients above half precision's zero.

    If a gradient overflows, it halves and that step is left out; after 2000 steps without overflow it doubles
    (Micikevicius et al. 2018, section 3.2). Each team has its own scale, as only one of them may overflow.
    """

    def __init__(self, device: torch.device) -> None:
        self._scaler = torch.amp.GradScaler(device.type)

    def scaled(self, objective: Tensor) -> Tensor:
        """The objective to back-propagate."""
        return self._scaler.scale(objective)

    def unscale(self, gradients: Tensor, optimizer: torch.optim.Optimizer) -> bool:
        """Divide the gradients by the scale and set the next scale; False: they overflowed, leave the step out.

        ``gradients``: those of all the optimizer's parameters, summed over all processes, so that all decide alike.
        The optimizer itself does not skip the step: torch's fused SGD would keep uninitialised memory as momentum.

        Raises:
            RunError: no scale makes the gradients finite.
        """
        self._scaler.unscale_(optimizer)
        finite = bool(gradients.isfinite().all())
        self._scaler.update()
        if self._scaler.get_scale() < _LOWEST:
            raise RunError(
                f"training.precision: fp16: gradients are not finite, even with the loss scaled by {_LOWEST:g}; "
                "the run stops, its last checkpoint is untouched; use precision: bf16 or fp32, or lower "
                "optimizer.lr, in a new run"
            )
        return finite

    def tensors(self) -> dict[str, Tensor]:
        """The state of the scale, for a checkpoint."""
        state = self._scaler.state_dict()
        return {
            "scale": torch.tensor(state["scale"], dtype=torch.float64),
            "since": torch.tensor(state["_growth_tracker"], dtype=torch.int64),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what :meth:`tensors` returned."""
        own = {"scale": tensors["scale"].item(), "_growth_tracker": int(tensors["since"])}
        self._scaler.load_state_dict(self._scaler.state_dict() | own)
