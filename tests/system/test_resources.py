"""Cores and memory come from one place, which knows the limits of containers and batch systems."""

from __future__ import annotations

import ast
import os

import pytest

from coupling.system import resources
from coupling.system.resources import available_cores, available_memory
from tests.system.test_other_systems import sources

GB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """``machine({"cpu.max": "..."}, membership="0::/job")``: 64 cores, 64 GiB, and these files."""

    def make(files, membership=""):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / "membership").write_text(membership)
        monkeypatch.setattr(resources, "_GROUPS", tmp_path)
        monkeypatch.setattr(resources, "_MEMBERSHIP", tmp_path / "membership")
        monkeypatch.setattr(resources.os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
        memory = type("Memory", (), {"available": 64 * GB})
        monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: memory)

    return make


V1 = "4:memory:/jobs/7\n3:cpuacct,cpu:/jobs/7\n1:name=systemd:/\n"
V1_CPU, V1_MEMORY = "cpu/jobs/7", "memory/jobs/7"


@pytest.mark.parametrize(
    ("files", "membership", "cores"),
    [
        ({}, "", 64),
        ({"cpu.max": "max 100000"}, "0::/", 64),
        ({"cpu.max": "250000 100000"}, "0::/", 2),
        ({"cpu.max": "50000 100000"}, "0::/", 1),
        ({"jobs/7/cpu.max": "300000 100000"}, "0::/jobs/7", 3),
        ({"jobs/cpu.max": "200000 100000", "jobs/7/cpu.max": "300000 100000"}, "0::/jobs/7", 2),  # around it
        ({"jobs/8/cpu.max": "100000 100000"}, "0::/jobs/7", 64),  # another job
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, "", 2),  # version 1, in a container
        ({f"{V1_CPU}/cpu.cfs_quota_us": "400000", f"{V1_CPU}/cpu.cfs_period_us": "100000"}, V1, 4),
        ({f"{V1_CPU}/cpu.cfs_quota_us": "-1", f"{V1_CPU}/cpu.cfs_period_us": "100000"}, V1, 64),
        ({"cpu.max": "nonsense"}, "0::/", 64),
    ],
)
def test_cores_are_limited_by_the_control_groups(machine, files, membership, cores):
    machine(files, membership)
    assert available_cores() == cores


@pytest.mark.parametrize(
    ("files", "membership", "memory"),
    [
        ({}, "", 64 * GB),
        ({"memory.max": "max", "memory.current": 5}, "0::/", 64 * GB),
        ({"memory.max": 8 * GB, "memory.current": 3 * GB}, "0::/", 5 * GB),
        (
            {"memory.max": 8 * GB, "memory.current": 3 * GB, "memory.stat": f"inactive_file {GB}"},
            "0::/",
            6 * GB,
        ),
        ({"memory.max": 2 * GB, "memory.current": 3 * GB}, "0::/", 0),
        ({"jobs/memory.max": 4 * GB, "jobs/memory.current": GB}, "0::/jobs/7", 3 * GB),
        ({f"{V1_MEMORY}/memory.limit_in_bytes": 8 * GB, f"{V1_MEMORY}/memory.usage_in_bytes": GB}, V1, 7 * GB),
        ({"memory/memory.limit_in_bytes": 2**63 - 4096, "memory/memory.usage_in_bytes": GB}, V1, 64 * GB),
    ],
)
def test_memory_is_limited_by_the_control_groups(machine, files, membership, memory):
    machine(files, membership)
    assert available_memory() == memory


def test_cores_are_those_that_the_process_is_bound_to(machine, monkeypatch):
    machine({})
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda process: {3, 5})
    assert available_cores() == 2
    monkeypatch.delattr(resources.os, "sched_getaffinity")  # macOS and Windows
    monkeypatch.setattr(resources.os, "cpu_count", lambda: None)
    assert available_cores() == 1


def test_the_numbers_of_this_machine_are_plausible():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    assert 0 < available_memory() < 2**50


def test_cores_and_memory_are_counted_in_one_place():
    counters = {"cpu_count", "process_cpu_count", "sched_getaffinity", "virtual_memory"}
    for path in sources():
        names = {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)}
        assert path.name == "resources.py" or not names & counters, path
