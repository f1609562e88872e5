"""The queue of a sweep's runs: each is started as a process when there is a free slot, and watched until it ends."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from coupling.errors import InputError
from coupling.sweeps.directory import RunStatus, SweepDirectory, clear_bare
from coupling.sweeps.grid import GridRun
from coupling.sweeps.process import Child, close, end_children, reason_of, request_end, start_process
from coupling.sweeps.progress import SweepProgress
from coupling.system.atomic_files import write_text
from coupling.system.file_lock import check_not_in_use
from coupling.system.signals import StopRequest
from coupling.system.terminal import print_line

_POLL = 0.2
"""Seconds between looks at the runs."""


_PATIENCE = 1.0
"""Seconds between looks at a run's directory that another process holds."""


class RunQueue:
    """Runs that wait, runs in their processes, and free slots."""

    def __init__(
        self,
        runs: Iterable[GridRun],
        slots: list[dict[str, str]],
        directory: SweepDirectory,
        modules: Sequence[str],
        status_of: Callable[[GridRun], RunStatus],
        shown: SweepProgress,
        on_finished: Callable[[RunStatus], str],
    ) -> None:
        """``modules``: plugins of ``--plugin``. ``on_finished`` is called for each finished run; answers its scores."""
        self.waiting = deque(runs)
        self.free = slots
        self.active: list[Child] = []
        self.failures: list[str] = []
        """Messages on runs that failed."""
        self._directory = directory
        self._modules = modules
        self._status_of = status_of
        self._shown = shown
        self._on_finished = on_finished

    def work(self, stop: StopRequest) -> None:
        """Run all runs; after a stop request, let the active ones save and end, and start no other."""
        stopping = announced = False
        with end_children(self.active):
            while self.active or (self.waiting and not stop):
                if stop and not stopping:
                    stopping = True
                    for child in self.active:
                        request_end(child.process)
                self._fill(stop)
                if self.waiting and not self.active and not announced:
                    announced = True
                    titles = ", ".join(run.title for run in self.waiting)
                    print_line(f"{titles}: waiting for another process that still works on it")
                time.sleep(_POLL if self.active else _PATIENCE)
                for child in self.active[:]:
                    if child.process.poll() is not None:
                        self.active.remove(child)
                        self.free.append(dict(child.slot))
                        self._end(child, stopped=bool(stop))
                self._shown.look()

    def _fill(self, stop: StopRequest) -> None:
        """Start runs in the free slots, until a stop is requested."""
        while self.waiting and self.free and not stop:
            child = self._next(self.free[-1])
            if child is None:
                return
            self.free.pop()
            self.active.append(child)
            self._shown.started(child.status)

    def _next(self, slot: Mapping[str, str]) -> Child | None:
        """Start the next run whose directory is free; a run that outlived a killed sweep may still be saving."""
        for _ in range(len(self.waiting)):
            run = self.waiting.popleft()
            status = self._status_of(run)
            try:
                check_not_in_use(status.path)
            except InputError:
                self.waiting.append(run)
                continue
            if status.state != "finished":  # the process that outlived the sweep may have finished it
                return self._start(status, slot)
        return None

    def _start(self, status: RunStatus, slot: Mapping[str, str]) -> Child:
        path = status.path
        config, log = path.with_name(f"{path.name}.yaml"), path.with_name(f"{path.name}.log")
        command = ["run", str(config), "--output", str(path)]
        command += ["--resume"] if status.state == "unfinished" else []
        command += [part for module in self._modules for part in ("--plugin", module)]
        with self._directory.writing(config):
            if status.state == "new":
                clear_bare(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(config, status.run.config.yaml())
        with self._directory.writing(log), log.open("ab") as file:
            file.write(f"$ coupling {' '.join(command)}\n".encode())
            file.flush()
            written = file.tell()
            process = start_process([sys.executable, "-m", "coupling.cli.child", *command], file, slot)
        return Child(status, process, slot, log, written, time.monotonic())

    def _end(self, child: Child, *, stopped: bool) -> None:
        """Note how a run's process ended: finished, stopped or failed."""
        run, code = child.status.run, child.process.returncode
        close(child.process)
        seconds = time.monotonic() - child.started
        status = self._status_of(run)
        finished = status.state == "finished"
        reason = ""
        if not finished and not (stopped and code in (-signal.SIGTERM, 128 + signal.SIGTERM)):
            reason = f"{reason_of(child, code)} ({child.log})"
            self.failures.append(f"{run.title}: {reason}")
        self._shown.ended(status, seconds, reason, self._on_finished(status) if finished else "")
