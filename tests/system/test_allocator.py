"""Memory that is kept for the next step: set where the C library is glibc, and left to the user's own settings."""

import platform
import subprocess
import sys

import pytest

from coupling.system.allocator import keep_freed_memory


@pytest.mark.parametrize("own", [{"MALLOC_ARENA_MAX": "1"}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}])
def test_a_users_own_settings_stay(own):
    assert not keep_freed_memory(own)


def test_elsewhere_nothing_is_set(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory({})


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator has these settings")
def test_freed_memory_is_not_fetched_from_the_system_again():
    program = """
import resource, torch
from coupling.system.allocator import keep_freed_memory
assert keep_freed_memory({})
for round in range(8):
    if round == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step = [torch.ones(2**18) for _ in range(64)]  # 64 MB, or 16,384 pages
    del step
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert int(ended.stdout) < 5 * 16_384 / 10
