"""The process of a sweep's run: started, closed, waited for, and why it failed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from coupling.sweeps.directory import Standing

_REASON = 300
"""Characters of a run's own message that are repeated, at most."""


@dataclass
class Child:
    """A run in its process."""

    standing: Standing
    process: subprocess.Popen[bytes]
    place: Mapping[str, str]
    log: Path
    written: int
    """Length of the log before this process wrote into it: what earlier ones said is not its own."""
    started: float


def start_process(command: list[str], log: IO[bytes], place: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A process that ends when this one does, and that a terminal's Ctrl-C does not reach: we end it, once."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **place},
        start_new_session=True,
    )


@contextmanager
def ending(children: Sequence[Child]) -> Iterator[None]:
    """Whatever ends the block, the runs that still go on are told to save, and waited for."""
    try:
        yield
    finally:
        for child in children:
            child.process.terminate()
        for child in children:
            child.process.wait()
            close(child.process)


def close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe by which a process knows that the sweep lives."""
    assert process.stdin is not None
    process.stdin.close()


def reason_of(child: Child, code: int) -> str:
    """Why a run failed, as its output says."""
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
        return f"ended by {name}" + ("; memory may have run out" if code == -signal.SIGKILL else "")
    return f"exit code {code}: {last[:_REASON]}"
