"""hf://USER/MODEL[@REVISION]: where a model lies on the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from coupling.errors import InputError

_ADDRESS = re.compile(r"hf:/{1,2}(?P<repository>[^@]*)(?:@(?P<revision>.+))?")  # a path has lost one of the slashes


@dataclass(frozen=True)
class HubAddress:
    """A repository, and a revision of it: a branch, a tag or a commit."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")

    def check(self) -> None:
        """Raise :class:`InputError` for what is no name of a repository."""
        if not re.fullmatch(r"[\w.-]*\w/[\w.-]*\w", self.repository):
            raise InputError(f"{self}: a model on the hub is hf://USER/MODEL, or hf://USER/MODEL@REVISION")

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.repository.rpartition("/")[2]


def hub_address(path: str | Path) -> HubAddress | None:
    """The address that ``path`` is; None where it is a path."""
    match = _ADDRESS.fullmatch(str(path))
    return None if match is None else HubAddress(match["repository"].rstrip("/"), match["revision"])
