"""Notes on images: what was converted or ignored while they were decoded, counted over a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

from coupling.system.terminal import print_line, warn


class Note(NamedTuple):
    """A conversion that images went through."""

    text: str
    """What was done: "16-bit values scaled to 8 bits"."""
    is_warning: bool
    """Whether the result may differ from what the file's author meant."""
    images: int
    """Number of images."""
    example: str
    """Name of one of them."""


Notes: TypeAlias = dict[str, Note]
"""Notes by their text."""

_collected: ContextVar[Notes | None] = ContextVar("notes", default=None)


@contextmanager
def collect_notes() -> Iterator[Notes]:
    """Collect the notes of a ``with`` block.

    Yields:
        The notes, by their text; filled while the block runs.
    """
    notes: Notes = {}
    token = _collected.set(notes)
    try:
        yield notes
    finally:
        _collected.reset(token)


def note(text: str, name: str, *, is_warning: bool = False) -> None:
    """Note a conversion of one image; without :func:`collect_notes` around it, nothing happens.

    Args:
        text: what was done.
        name: name of the image.
        is_warning: whether the result may differ from what the file's author meant.
    """
    notes = _collected.get()
    if notes is not None:
        add_notes(notes, [Note(text, is_warning, 1, name)])


def add_notes(notes: Notes, more: Sequence[Note]) -> None:
    """Count more notes.

    Args:
        notes: the notes so far; changed in place.
        more: the others.
    """
    for one in more:
        before = notes.get(one.text)
        notes[one.text] = one if before is None else before._replace(images=before.images + one.images)


def print_notes(notes: Sequence[Note], title: str) -> None:
    """Print a line for each note.

    Args:
        notes: the notes.
        title: what the line begins with.
    """
    for one in notes:
        say = warn if one.is_warning else print_line
        say(f"{title}: {one.text}: {one.images:,} image{'s' if one.images > 1 else ''} ({one.example} for one)")
