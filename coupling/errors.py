"""What can go wrong, and whose turn it is.

An :class:`InputError` is the user's to mend (exit code 2); a :class:`RunError` happened to a
run that was rightly asked for (exit code 1). Both carry one message that names the place, the
value and the mend. ``cli.py`` alone turns them into exit codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CouplingError(Exception):
    """Anything that `coupling` reports in one message, without a traceback."""

    exit_code = 1


class InputError(CouplingError):
    """The user gave something that cannot work: usage, configuration, data, plugin."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration that is not valid; the message names the path in the file."""


class DataError(InputError):
    """Data that are missing, damaged, or not what their domain declares."""


class PluginError(InputError):
    """A plugin that cannot be used as it is."""


class RunError(CouplingError):
    """A run that failed; the message says how to go on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that follows an unknown name: the nearest known one, else the whole list."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    if not names:
        return "there are none"
    return "known: " + ", ".join(names)
