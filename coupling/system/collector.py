"""Python's collector of cyclic garbage, which costs time where many objects are made that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 50_000


@contextmanager
def rare_collections() -> Iterator[None]:
    """A block that makes objects that stay: modules, classes, networks. Garbage is looked for once in 50,000 objects.

    By default it is once in 700, which takes a fifth of the time in which torch is imported.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(_OBJECTS, before[0]) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
