"""What people see while they wait: remarks and progress, on stderr, so that stdout holds results only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)


def remark(message: str) -> None:
    """Print one line as it is: no markup (paths hold brackets), no wrapping (logs are searched)."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar while the block runs; yields ``advance(n=1)``, to be called as things get done.

    Away from a terminal it prints one line at the start and, unless the block raises, one at the end.
    """
    if not console.is_terminal:
        remark(f"{title}: 0/{total}")
        start = time.monotonic()
        yield lambda n=1: None
        remark(f"{title}: done in {time.monotonic() - start:.1f} s")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(escape(title), total=total)
        yield lambda n=1: bar.advance(task, n)
