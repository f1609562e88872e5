"""Where data sets live on disk."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def data_directory(name: str) -> Path:
    """The directory of data set ``name``: ``$COUPLING_DATA/name``, else in the user's cache directory.

    It is not made here: whoever writes to it first makes it.
    """
    root = os.environ.get("COUPLING_DATA")
    return (Path(root).expanduser() if root else platformdirs.user_cache_path("coupling")) / name
