"""Slots for a sweep's runs: how many run at once, and the environment of each."""

from __future__ import annotations

import os

import torch

from coupling.system.resources import available_cores, available_memory

MEMORY = 2**30
"""Bytes of free memory that each run on a CPU needs, unless ``--jobs`` says how many run at once."""


def run_slots(jobs: int | None, runs: int) -> list[dict[str, str]]:
    """The environment variables of each of the runs that run at once: ``jobs``, at most ``runs``.

    The default is one run on each GPU. On a CPU it is one run on each core, as long as there is memory, each with one
    thread: many runs at once are then faster than few that share the cores, and no result depends on their number. With
    OMP_NUM_THREADS each run has more threads, and fewer run at once.
    """
    gpus = _gpus()
    if gpus:
        number = min(jobs or len(gpus), runs)
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, available_cores() // max(1, number))))
        common = {"OMP_NUM_THREADS": threads}
        return [{**common, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} for i in range(number)]
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if torch.backends.mps.is_available():
        fitting = 1
    else:
        each = int(threads) if threads.isdecimal() else 1
        fitting = max(1, min(available_cores() // max(1, each), available_memory() // MEMORY))
    return [{"OMP_NUM_THREADS": threads} for _ in range(min(jobs or fitting, runs))]


def _gpus() -> list[str]:
    """Names of the GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    if os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("true", "1"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    return [name.strip() for name in names][: torch.cuda.device_count()]
