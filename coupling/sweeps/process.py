"""The process of a sweep's run: its start and its end, and the reason if it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from coupling.sweeps.directory import RunStatus

_REASON = 300
"""Maximum number of characters that are quoted from a run's own message."""


@dataclass
class Child:
    """A run in its process."""

    status: RunStatus
    process: subprocess.Popen[bytes]
    slot: Mapping[str, str]
    """Its environment variables, from :func:`coupling.sweeps.run_slots.run_slots`."""
    log: Path
    written: int
    """Length of the log before this process wrote into it; earlier output is of earlier processes."""
    started: float
    """Time of its start, as by time.monotonic."""


def start_process(command: list[str], log: IO[bytes], slot: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that ends when this one does; a terminal's Ctrl-C does not reach it, only the sweep ends it."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **slot},
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows alone has it
    )


@contextmanager
def end_children(children: Sequence[Child]) -> Iterator[None]:
    """A context at whose end the runs that are still active are asked to save and end, and waited for."""
    try:
        yield
    finally:
        for child in children:
            request_end(child.process)
        for child in children:
            child.process.wait()
            close(child.process)


def request_end(process: subprocess.Popen[bytes]) -> None:
    """Ask a run to save and end."""
    if sys.platform == "win32":  # no process gets a SIGTERM from outside there; a run ends when its pipe is closed
        close(process)
    else:
        process.terminate()


def close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe by which a process knows that the sweep is running."""
    assert process.stdin is not None
    process.stdin.close()


def reason_of(child: Child, code: int) -> str:
    """The reason why a run failed, from its output."""
    text = child.log.read_bytes()[child.written :].decode("utf-8", errors="replace").strip()
    _, found, message = f"\n{text}".rpartition("\nerror: ")
    if found:
        return " ".join(message.split())[:_REASON]
    last = text.splitlines()[-1] if text else ""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"ended by {name}" + ("; memory may have run out" if name == "SIGKILL" else "")
    return f"exit code {code}: {last[:_REASON]}"
