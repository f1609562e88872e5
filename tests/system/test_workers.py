"""Worker processes: what they do, and when they end."""

from __future__ import annotations

import functools
import gc
import os
import time
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

import pytest

from coupling.system.workers import Workers

# What workers do must be importable where no test is: functions of the standard library.


def test_results_are_those_of_one_process_in_order():
    workers = Workers(functools.partial(pow, 3), 2)
    assert list(workers.map(range(40))) == [3**n for n in range(40)]
    futures = [workers.submit(n) for n in (5, 1, 3)]
    assert [future.result() for future in futures] == [243, 3, 27]
    workers.close()


def test_an_exception_in_a_worker_is_that_of_its_task():
    workers = Workers(functools.partial(divmod, 1), 1)
    broken, whole = workers.submit(0), workers.submit(1)
    with pytest.raises(ZeroDivisionError):
        broken.result()
    assert whole.result() == (1, 0)
    workers.close()


def test_a_worker_that_dies_is_an_error():
    workers = Workers(os._exit, 1)
    with pytest.raises(BrokenProcessPool):
        workers.submit(1).result()
    workers.close()


def test_workers_that_nobody_uses_any_more_end():
    workers = Workers(functools.partial(time.sleep), 2)
    workers.submit(0).result()
    processes = list(workers._executor._processes.values())
    assert any(process.is_alive() for process in processes)
    del workers
    gc.collect()
    for process in processes:
        # The executor's own thread waits for them too, and whoever reaps second believes that they live.
        assert wait([process.sentinel], timeout=20)
