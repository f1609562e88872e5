"""Devices: their names, and whether memory ran out on them."""

from __future__ import annotations

import time

import torch

from coupling.errors import InputError


def usable(wanted: str | torch.device) -> torch.device:
    """The device of that name; raises :class:`InputError` with the reason if there is no such device."""
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such kind, or none in this machine
        reason = str(error).partition("\n")[0]
        unknown = reason.startswith("Expected one of")  # then it lists all that torch has ever known
        raise InputError("no such kind of device (cpu, cuda, cuda:1, mps ...)" if unknown else reason) from None
    return device


def chosen_device(wanted: str | torch.device | None) -> torch.device:
    """The device that ``--device`` means: by default a GPU if there is one. Raises :class:`InputError`."""
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return usable(wanted)
    except InputError as error:
        raise InputError(f"--device {wanted}: {error}; give cpu, or leave it out") from None


def matrix_rate(dtype: torch.dtype, size: int = 512, repeats: int = 3) -> float:
    """Operations a second of a product of two square matrices on the CPU, with torch's number of threads.

    Whether a processor has units for a type is not asked, as each kind of processor says it in its own way, but
    measured.

    Args:
        dtype: type of the numbers.
        size: rows and columns.
        repeats: products after the first one; the fastest counts.
    """
    a, b = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    a @ b
    # Other programs disturb processor time less, but it adds up all threads.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    shortest = float("inf")
    for _ in range(repeats):
        start = clock()
        a @ b
        shortest = min(shortest, clock() - start)
    return float(2 * size**3 / max(shortest, 1e-9))


_SIGNS = (
    "DefaultCPUAllocator: ",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that memory ran out: torch does not always raise an OutOfMemoryError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
    )
