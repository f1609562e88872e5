"""How many runs a machine has room for, and what each is given of it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import torch

MEMORY = 2**30
"""Bytes that a small run takes, and that must be free for each that is started without being asked for."""


_CGROUP = Path("/sys/fs/cgroup")


def places(jobs: int | None, runs: int) -> list[dict[str, str]]:
    """What to set in the environment of each of the runs that go on at once: ``jobs``, at most ``runs``.

    On GPUs, by default, one run a GPU. On a CPU one run a core, as long as there is memory, each with
    one thread: many runs at once are then faster than few that share the cores, and no result depends
    on how many there were. OMP_NUM_THREADS gives each more threads, and fewer runs.
    """
    devices = _gpus()
    if devices:
        number = min(jobs or len(devices), runs)
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // max(1, number))))
        common = {"OMP_NUM_THREADS": threads}
        return [{**common, "CUDA_VISIBLE_DEVICES": devices[i % len(devices)]} for i in range(number)]
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if torch.backends.mps.is_available():
        room = 1
    else:
        each = int(threads) if threads.isdecimal() else 1
        room = max(1, min(cores() // max(1, each), free_memory() // MEMORY))
    return [{"OMP_NUM_THREADS": threads} for _ in range(min(jobs or room, runs))]


def _gpus() -> list[str]:
    """Names of the GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    if os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("true", "1"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    return [name.strip() for name in names][: torch.cuda.device_count()]


def cores() -> int:
    """Cores that this process may use: of its affinity, and of its container's share."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _limit("cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():
        count = min(count, max(1, int(quota) // int(period)))
    return count


def free_memory() -> int:
    """Bytes that can be had, of the machine's memory and of the container's share."""
    free = int(psutil.virtual_memory().available)
    limit, used = _limit("memory.max"), _limit("memory.current")
    if limit.isdecimal() and used.isdecimal():
        free = min(free, max(0, int(limit) - int(used)))
    return free


def _limit(name: str) -> str:
    """A limit of this process's control group, empty where there is none."""
    try:
        return (_CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
