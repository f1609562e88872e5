"""Networks without memory: built on torch's meta device, which knows shapes and types but holds no numbers.

The networks of a file are built so, and compared with the file, before anything is allocated. Nothing is drawn for
initial weights either, which makes loading faster.

Architectures and losses are plugins' code, which may compute with the numbers of a tensor while it builds layers, or
keep tensors that are in no state dict (a fixed kernel, a buffer with ``persistent=False``). Such networks cannot be
filled from a file. They are built a second time, with memory; :func:`limited` ends that as soon as they have
more numbers than the file can hold.
"""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coupling.errors import ConfigError
from coupling.networks.build import Networks


class TooLargeError(ConfigError):
    """Networks have more tensors or numbers than allowed."""


@contextmanager
def limited(tensors: int, numbers: int) -> Iterator[None]:
    """Raise :class:`TooLargeError` as soon as this thread's new modules hold more ``tensors`` or ``numbers``."""
    counts = {"tensors": 0, "numbers": 0}
    limits = {"tensors": tensors, "numbers": numbers}
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is None or threading.get_ident() != thread:
            return
        counts["tensors"] += 1
        counts["numbers"] += tensor.numel()
        for what, found in counts.items():
            if found > limits[what]:
                raise TooLargeError(f"the layers have more than {limits[what]:,} {what}, too many for the file")

    hooks = [
        torch_module.register_module_parameter_registration_hook(count),
        torch_module.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def build_without_memory(build: Callable[[], Networks]) -> Networks | None:
    """The networks that ``build`` makes, on the meta device; None if they cannot be filled from a file.

    Raises:
        TooLargeError: :func:`limited` ended it.
    """
    made = _Created()
    try:
        with warnings.catch_warnings(), torch.device("meta"), made:
            warnings.simplefilter("ignore")
            networks = build()
    except TooLargeError:
        raise
    except (Exception, SystemExit):  # a plugin's code, or an error that building with memory repeats
        return None
    modules = networks.named_networks.values()
    kept = {id(tensor) for module in modules for tensor in module.state_dict(keep_vars=True).values()}
    return None if made.beside(kept) else networks


class _Created(TorchDispatchMode):
    """Knows every tensor that operators make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.tensors: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.tensors += [weakref.ref(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return result

    def beside(self, kept: set[int]) -> bool:
        """Whether a tensor without numbers is still in use, besides those whose ids are ``kept``."""
        if self._in_use(kept):
            gc.collect()
        return self._in_use(kept)

    def _in_use(self, kept: set[int]) -> bool:
        living = (reference() for reference in self.tensors)
        return any(tensor is not None and tensor.is_meta and id(tensor) not in kept for tensor in living)


def fill(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give a module from :func:`build_without_memory` copies of its tensors; ``tensors``: a whole state dict.

    A parameter or buffer that several of its modules have stays one.
    """
    named = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    first: dict[int, str] = {}
    again = {name: first[id(tensor)] for name, tensor in named if first.setdefault(id(tensor), name) != name}
    module.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
    for name, original in again.items():
        parent, _, attribute = name.rpartition(".")
        owner, _, its = original.rpartition(".")
        setattr(module.get_submodule(parent), attribute, getattr(module.get_submodule(owner), its))


def is_filled(module: nn.Module) -> bool:
    """Whether every parameter and buffer has numbers."""
    return not any(tensor.is_meta for tensors in (module.parameters(), module.buffers()) for tensor in tensors)
