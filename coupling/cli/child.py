"""Start a command so that it ends when the process that started it ends.

``python -m coupling.cli.child run CONFIG ...`` reads a pipe as its standard input, whose other end only the parent
holds. However the parent ends, also by ``kill -9``, the system closes the pipe, and this process sends itself a
SIGTERM: a run saves and ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from coupling.cli import cli


def follow() -> None:
    """Wait until the parent has ended, then send SIGTERM to this process. Runs in a thread of its own."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    if sys.platform == "win32":  # os.kill would end it before anything is saved
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=follow, daemon=True).start()
    cli(prog_name="coupling")
