"""Messages, warnings and progress bars on stderr, so that stdout holds results only."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)
"""Where progress is shown; quiet with ``coupling --quiet``."""


def print_line(message: str) -> None:
    """Print one line on stderr as it is: without markup, because paths hold brackets, and without wrapping.

    Args:
        message: the line.
    """
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def print_important(message: str) -> None:
    """Print one line on stderr as it is, also with ``coupling --quiet``: an error, a warning.

    Args:
        message: the line.
    """
    place = Console(stderr=True) if console.quiet else console  # a bar on the console moves out of the way
    place.print(message, markup=False, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning on stderr, one line that begins with "warning: ".

    Args:
        message: the rest of the line.
    """
    print_important(f"warning: {message}")


def show_origin(error: BaseException) -> None:
    """Print the tracebacks behind ``error`` if the environment variable COUPLING_TRACEBACK is set.

    Users need the message, which says what failed and where. The author of a plugin needs every frame, also of the
    exceptions that ``raise ... from None`` hides.
    """
    if os.environ.get("COUPLING_TRACEBACK", "") in ("", "0"):
        return
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    print_important("\n".join("".join(traceback.format_exception(e, chain=False)) for e in reversed(chain)))


def bars(on: Console) -> Progress:
    """Progress bars with a text behind their counts: each task has a field ``text``."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=on)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr while the block runs.

    ``with progress("Decoding", 100) as advance: ...``. Without a terminal it prints one line at the start and, unless
    the block raises, one at the end.

    Args:
        title: what is being done.
        total: number of things to do.

    Yields:
        ``advance(n=1)``, to be called when n more things are done.
    """
    if not console.is_terminal:
        print_line(f"{title}: 0/{total}")
        start = time.monotonic()
        yield lambda n=1: None
        print_line(f"{title}: done in {time.monotonic() - start:.1f} s")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(escape(title), total=total)
        yield lambda n=1: bar.advance(task, n)
