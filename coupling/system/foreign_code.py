"""Calls of a plugin's code: whatever it raises becomes one message that names the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from coupling.errors import CouplingError, PluginError, ProgramError, cause
from coupling.system.device import is_out_of_memory
from coupling.system.distributed import is_lost


@contextmanager
def guarded(what: str, prefix: str = "") -> Iterator[None]:
    """Turn an exception of a plugin's code into a :class:`PluginError`, "<what> failed: ...".

    Errors of coupling's own kinds, which such code raises on purpose, get ``prefix``: the place in the configuration.
    Running out of memory and losing a process are not the plugin's fault; others explain them.
    """
    try:
        yield
    except ProgramError:
        raise
    except CouplingError as error:
        if not prefix:
            raise
        raise type(error)(f"{prefix}{error}") from None
    except (Exception, SystemExit) as error:  # the latter would end a run as if all were well
        if is_out_of_memory(error) or is_lost(error):
            raise
        raise PluginError(f"{what} failed: {cause(error)}") from error
