"""Calls of a plugin's code: an exception in it becomes one message that names the plugin's component."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from coupling.errors import CouplingError, PluginError, ProgramError, cause
from coupling.system.device import is_out_of_memory
from coupling.system.distributed import is_lost


@contextmanager
def guarded(what: str, prefix: str = "") -> Iterator[None]:
    """Turn an exception of a plugin's code into a :class:`PluginError`, "<what> failed: ...".

    Errors of coupling's own kinds, which a plugin raises on purpose, get ``prefix``: the path in the configuration.
    Out of memory and a lost process are not the plugin's errors and pass through.
    """
    try:
        yield
    except ProgramError:
        raise
    except CouplingError as error:
        if not prefix:
            raise
        raise type(error)(f"{prefix}{error}") from None
    except (Exception, SystemExit) as error:  # SystemExit would end a run with exit code 0
        if is_out_of_memory(error) or is_lost(error):
            raise
        raise PluginError(f"{what} failed: {cause(error)}") from error
