"""The directory of data sets on disk."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from coupling.system.file_names import expand_home


def data_directory(name: str) -> Path:
    """The directory of a data set: ``$COUPLING_DATA/name``, by default in the user's cache directory.

    It is not created here: whoever writes to it first creates it.

    Args:
        name: name of the data set.
    """
    root = os.environ.get("COUPLING_DATA")
    return (expand_home(root, "COUPLING_DATA") if root else platformdirs.user_cache_path("coupling")) / name
