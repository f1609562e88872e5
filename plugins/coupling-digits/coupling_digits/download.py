"""Downloads of published files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pooch  # type: ignore[import-untyped]

from coupling import DataError

PAGE = "an HTML page, saved in place of the data (an error page of the server?)"
"""Description of a file that a server sent instead of the data."""

AGAIN = "delete it to have the official file downloaded, or put it there whole"
"""The end of messages about a file that is not what it should be."""


def downloaded(directory: Path, name: str, md5: str, mirrors: Sequence[str], advice: str) -> Path:
    """Download a file from the first of ``mirrors`` that has it; it appears in ``directory`` when it is complete.

    Raises DataError, with each mirror's reason and ``advice`` on what to put where, if none has it.
    """
    reasons = []
    for mirror in mirrors:
        try:
            return Path(pooch.retrieve(mirror + name, f"md5:{md5}", name, directory))
        except (OSError, ValueError) as error:  # ValueError: its checksum is wrong
            reasons.append(f"  {mirror}{name}: {error}")
    problem = f"{directory}: {name} is not there, packed or not, and could not be downloaded:"
    raise DataError("\n".join([problem, *reasons, advice]))
