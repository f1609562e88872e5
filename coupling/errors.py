"""The errors of the package: each is one message with the place, the value and the fix.

An :class:`InputError` is a mistake that the user can fix (exit code 2). A :class:`RunError` is the failure of a valid
run (exit code 1). Only ``cli/group.py`` turns them into exit codes.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


class CouplingError(Exception):
    """Anything that `coupling` reports in one message, without a traceback."""

    exit_code = 1
    """Exit code of the command that fails with it."""


class InputError(CouplingError):
    """Input that cannot work: a command line, a configuration, data, or a plugin."""

    exit_code = 2
    """Exit code of the command that fails with it."""


class ConfigError(InputError):
    """A configuration that is not valid; the message names the path in the file."""


class DataError(InputError):
    """Data that are missing, damaged, or not what their domain declares."""


class PluginError(InputError):
    """A plugin that cannot be used as it is."""


class RunError(CouplingError):
    """A run that failed; the message says how to continue."""


class ProgramError(RuntimeError):
    """A mistake in code, not in what a user gave: it ends with a traceback, and never becomes a message."""


def check_domain_name(key: str, name: str, known: Iterable[str]) -> None:
    """Raise :class:`ConfigError` where no domain is called ``name``; ``key``: the option that names it."""
    names = list(known)
    if name not in names:
        raise ConfigError(f"{key}: no domain is called '{name}'; {nearest(name, names)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that follows an unknown name: the nearest known one, else those that hold it, else the list of them."""
    names = sorted(known)
    folded = {known_name.casefold(): known_name for known_name in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{folded[close[0]]}'?"
    if len(name) > 2 and (holding := [whole for short, whole in folded.items() if name.casefold() in short]):
        return "did you mean " + " or ".join(f"'{whole}'" for whole in holding[:_LISTED]) + "?"
    if not names:
        return "there are none"
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return "known: " + ", ".join(names[:_LISTED]) + more


_LISTED = 20
"""Names in a hint, at most."""


def cause(error: BaseException) -> str:
    """One line on somebody else's exception: its kind, its message, and where it was raised outside of this package."""
    message = " ".join(str(error).split())
    if isinstance(error, CouplingError):
        return message
    ours = Path(__file__).parent
    raised = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and ours not in Path(frame.filename).parents  # those tell nobody anything
    ]
    place = f" ({Path(raised[-1].filename).name}, line {raised[-1].lineno})" if raised else ""
    return type(error).__name__ + (f": {message}" if message else "") + place
