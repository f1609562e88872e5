"""A command of ``coupling`` that does not outlive the process that started it.

``python -m coupling.cli.child run CONFIG ...`` with a pipe for its standard input, of which only the
parent holds the other end. However the parent ends, kill -9 too, the pipe is then closed, and this
process gets a SIGTERM: a run saves and ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from coupling.cli import cli


def follow() -> None:
    """Wait for the parent's end; on an own thread."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=follow, daemon=True).start()
    cli(prog_name="coupling")
