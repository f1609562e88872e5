"""How many runs of a sweep run at once, on machines that these tests make up."""

from __future__ import annotations

import pytest

from coupling.sweeps import run_slots
from coupling.system import resources


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """``machine(cores=2, gpus=0, memory=8, OMP_NUM_THREADS="4")``: memory in GiB."""

    def make(cores=2, gpus=0, memory=64.0, mps=False, limits=None, **environment):
        for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name, text in (limits or {}).items():
            (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setattr(resources, "_GROUPS", tmp_path)
        monkeypatch.setattr(resources, "_MEMBERSHIP", tmp_path / "none")
        monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        available = type("Memory", (), {"available": int(memory * 2**30)})
        monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: available)
        monkeypatch.setattr(run_slots.torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(run_slots.torch.backends.mps, "is_available", lambda: mps)

    return make


def test_a_run_a_core_with_one_thread_each(machine):
    machine(cores=3)
    assert run_slots.run_slots(None, 9) == [{"OMP_NUM_THREADS": "1"}] * 3
    assert len(run_slots.run_slots(None, 2)) == 2
    assert len(run_slots.run_slots(7, 9)) == 7
    assert run_slots.run_slots(2, 0) == []


@pytest.mark.parametrize(
    ("made", "number", "threads"),
    [
        ({"cores": 8, "OMP_NUM_THREADS": "3"}, 2, "3"),
        ({"cores": 2, "OMP_NUM_THREADS": "4"}, 1, "4"),
        ({"cores": 4, "OMP_NUM_THREADS": "4,2"}, 4, "4,2"),
        ({"cores": 8, "memory": 2.5}, 2, "1"),
        ({"cores": 8, "memory": 0.1}, 1, "1"),
        ({"cores": 64, "limits": {"cpu.max": "250000 100000"}}, 2, "1"),
        ({"cores": 64, "limits": {"cpu.max": "50000 100000"}}, 1, "1"),
        ({"cores": 4, "limits": {"cpu.max": "max 100000"}}, 4, "1"),
        ({"cores": 8, "limits": {"memory.max": str(4 * 2**30), "memory.current": str(2**30)}}, 3, "1"),
        ({"cores": 8, "limits": {"memory.max": "max", "memory.current": "5"}}, 8, "1"),
        ({"cores": 8, "mps": True}, 1, "1"),
        ({"cores": 8, "gpus": 2, "ACCELERATE_USE_CPU": "true"}, 8, "1"),
    ],
)
def test_cores_threads_and_memory_that_there_are(machine, made, number, threads):
    machine(**made)
    assert run_slots.run_slots(None, 99) == [{"OMP_NUM_THREADS": threads}] * number


def test_a_run_a_gpu(machine):
    machine(cores=8, gpus=2)
    assert run_slots.run_slots(None, 9) == [{"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": d} for d in "01"]
    assert [p["CUDA_VISIBLE_DEVICES"] for p in run_slots.run_slots(5, 9)] == list("01010")
    assert [p["OMP_NUM_THREADS"] for p in run_slots.run_slots(5, 9)] == ["1"] * 5
    assert [p["CUDA_VISIBLE_DEVICES"] for p in run_slots.run_slots(None, 1)] == ["0"]
    machine(gpus=2, CUDA_VISIBLE_DEVICES="3, GPU-5")
    assert [p["CUDA_VISIBLE_DEVICES"] for p in run_slots.run_slots(None, 9)] == ["3", "GPU-5"]
