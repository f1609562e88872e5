"""What started this process: a launcher of several processes, or a person.

Variables alone do not tell: a shell, a batch script or a container may export any of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePath

import psutil


def launched_processes(environment: Mapping[str, str] | None = None) -> int:
    """The number of processes that a launcher started together; 1 if there was no launcher.

    Launchers that connect their processes set RANK and WORLD_SIZE in each. One of them without the other is left over
    from something else.

    Args:
        environment: variables; by default those of this process.
    """
    variables = os.environ if environment is None else environment
    rank, world = (variables.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    is_launched = all(text.isascii() and text.isdigit() for text in (rank, world))
    return max(1, int(world)) if is_launched else 1


def set_by_accelerate(variable: str) -> bool:
    """Whether `accelerate launch` started this process and set a variable that it was not given itself.

    Args:
        variable: name of the variable.
    """
    if variable not in os.environ:
        return False
    for parent in psutil.Process().parents():
        try:
            if _is_accelerate(parent.cmdline()):
                return variable not in parent.environ()
        except (psutil.Error, OSError):  # it has ended, or belongs to somebody else
            continue
    return False


def _is_accelerate(words: list[str]) -> bool:
    """Whether a command line is one of `accelerate launch`, `accelerate-launch` or their modules."""
    names = ("accelerate", "accelerate-launch")
    return any(PurePath(word).stem in names or word.startswith("accelerate.commands.") for word in words[:3])
