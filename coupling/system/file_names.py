"""Names of files that the operating system accepts, and paths that begin with a home directory."""

from __future__ import annotations

import os
from pathlib import Path

from coupling.errors import ConfigError

_RESERVED = '<>:"/\\|?*%'
"""Characters that Windows accepts in no name, and the one that stands for them."""


def file_name(text: str, *, windows: bool = os.name == "nt") -> str:
    """``text`` as the name of one file: on Windows what it accepts in no name is written as %3A; elsewhere as it is."""
    if not windows:
        return text
    name = "".join(f"%{ord(c):02X}" if c in _RESERVED else c for c in text)
    return f"{name[:-1]}%2E" if name.endswith(".") else name


def expand_home(path: str | Path, key: str = "path") -> Path:
    """``path`` with the home directory in place of ``~`` or ``~user``.

    Args:
        path: a path, which need not exist.
        key: what the message calls it: an option's name.

    Returns:
        The path. One without ``~`` is returned as it is.

    Raises:
        ConfigError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise ConfigError(
            f"{key} '{path}': there is no home directory '{user}': give the whole path, or ./{user} for a folder of "
            "that name"
        ) from None
