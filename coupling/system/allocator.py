"""The C library's memory: large tensors that a step frees are kept for the next step."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt."""


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Keep freed memory in this process, where the C library is glibc; return whether that was set.

    By default glibc returns the memory of a large tensor to the system as soon as it is freed, and fetches it again for
    the next one. The system fills every page with zeros then, which is an eighth of a step on small networks. The
    memory that a process needs at most stays the same. Settings that the user has made are left as they are.

    Args:
        environment: the process's environment, in which users set ``MALLOC_...`` or ``GLIBC_TUNABLES``.
    """
    if sys.platform != "linux" or any(n.startswith("MALLOC_") or n == "GLIBC_TUNABLES" for n in environment):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries lack it, or do nothing
    if mallopt is None:
        return False
    numbers = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 2**20}
    return all(mallopt(parameter, number) == 1 for parameter, number in numbers.items())
