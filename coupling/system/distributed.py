"""The processes of one run: values that must be the same in all, and the loss of a process."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from coupling.errors import RunError

T = TypeVar("T")

PATIENCE = timedelta(hours=1)
"""How long a process waits for the others, which may measure or prepare data. A dead process is noticed at once."""


class Processes:
    """Control messages between the processes of a run, on the CPU, so that no device is waited for."""

    def __init__(self, number: int, count: int) -> None:
        """``number``: which of the ``count`` processes this is."""
        self.number = number
        self.count = count
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE) if count > 1 else None

    def largest(self, value: int) -> int:
        """The largest of all processes' values."""
        if self.count > 1:
            values = torch.tensor(value)
            dist.all_reduce(values, dist.ReduceOp.MAX, group=self._group)
            value = int(values)
        return value

    def of_main(self, value: T) -> T:
        """The main process's value, in all processes."""
        if self.count > 1:
            values = [value]
            dist.broadcast_object_list(values, src=0, group=self._group)
            [value] = values
        return value

    def agree(self, **values: object) -> None:
        """Check that all processes have the same values: otherwise they would compute different things.

        Raises:
            RunError: naming what differs, and which processes differ from the main one.
        """
        if self.count == 1:
            return
        given: list[Any] = [None] * self.count
        dist.all_gather_object(given, {name: str(value) for name, value in values.items()}, group=self._group)
        for name, value in given[0].items():
            others = [str(i) for i, theirs in enumerate(given) if theirs[name] != value]
            if others:
                raise RunError(
                    f"the processes do not agree on the {name.replace('_', ' ')}: process {', '.join(others)} "
                    "differs from process 0; every one needs the same configuration, data, run directory (on several "
                    "machines: a file system they share) and versions of coupling, its plugins and torch"
                )


@contextlib.contextmanager
def explain_lost_process() -> Iterator[None]:
    """Turn the loss of another process into one message, in place of an error of the network library."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        with contextlib.suppress(ValueError):  # not the main thread: no signal comes here
            # The launcher now ends every process; this one is ending, and has something to say first.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise RunError(
            f"process {dist.get_rank()} of {dist.get_world_size()} lost the others: one has died, or has not answered "
            f"for {PATIENCE}; look above, or in its own log, for its message; then continue with --resume ({error})"
        ) from None


def is_lost(error: BaseException) -> bool:
    """Whether ``error`` means that another process is gone."""
    lost = isinstance(error, dist.DistError) or any(sign in str(error) for sign in _LOST)
    return isinstance(error, RuntimeError) and lost and dist.is_initialized()


_LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")


def total(x: Tensor) -> Tensor:
    """The sum of all processes' tensors. As often differentiable as a sum: gradient penalties need it twice.

    Every process must call it, and go back through it, equally often and in the same order.
    """
    summed: Tensor = _Total.apply(x)  # type: ignore[no-untyped-call]
    return summed


class _Total(torch.autograd.Function):
    """The objective is all processes' together, so a tensor's gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        summed = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0])
