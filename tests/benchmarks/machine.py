"""What a machine can do: its rate of matrix products, in the units in which a step is measured."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch


def clock_of_threads() -> Callable[[], float]:
    """The clock for torch's present number of threads: processor time for one, else the time that passes."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def description() -> str:
    """The processor, torch, threads and date, as they stand beside a figure in docs/performance.md."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":")[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return (
        f"{name} ({torch.backends.cpu.get_cpu_capability()}), torch {torch.__version__}, "
        f"{torch.get_num_threads()} thread(s), {date.today().isoformat()}"
    )
