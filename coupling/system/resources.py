"""Processor cores and memory that this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_GROUPS = Path("/sys/fs/cgroup")
"""The folder in which Linux lists control groups, by which containers and batch systems limit processes."""


_MEMBERSHIP = Path("/proc/self/cgroup")
"""The file that names the control groups of this process."""


def available_cores() -> int:
    """The number of cores that this process may use, at least 1.

    It is the smallest of the cores that there are, those that the process is bound to, and the share of its container.
    Parts of a core are rounded down.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _control_groups("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # version 2
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            count = min(count, int(quota) // int(period))
    return max(1, count)


def total_memory() -> int:
    """Bytes of memory of the machine."""
    return int(psutil.virtual_memory().total)


def available_memory() -> int:
    """Bytes of memory that this process can still get: of the machine's, and of the share of its container."""
    free = int(psutil.virtual_memory().available)
    for folder in _control_groups("memory"):
        limit, used = _read(folder / "memory.max"), _read(folder / "memory.current")  # version 2
        cache = "inactive_file"
        if not limit:
            limit, used = _read(folder / "memory.limit_in_bytes"), _read(folder / "memory.usage_in_bytes")
            cache = "total_inactive_file"
        if limit.isdecimal() and used.isdecimal():
            free = min(free, int(limit) - int(used) + _statistic(folder, cache))
    return max(0, free)


def _control_groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups of this process and of all groups around them, of both versions."""
    lines = [*_read(_MEMBERSHIP).splitlines(), "0::/", f"0:{controller}:/"]
    for line in dict.fromkeys(lines):
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _GROUPS / controller if controllers else _GROUPS
        path = PurePosixPath(group)
        for inner in (path, *path.parents):
            yield root / inner.relative_to("/")


def _statistic(folder: Path, name: str) -> int:
    """A number in a group's memory.stat; 0 if it is not there."""
    for line in _read(folder / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0


def _read(path: Path) -> str:
    """The text of a file of the system, empty if there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
