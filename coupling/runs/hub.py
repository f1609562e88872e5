"""hf://USER/MODEL[@REVISION]: where a model lies on the Hugging Face hub."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coupling.errors import InputError, RunError

if TYPE_CHECKING:
    pass


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


FILE = "model.safetensors"


def download(address: HubAddress, token: str | None = None) -> Path:
    """The model file of a repository, downloaded into the hub's cache unless it is there.

    Raises :class:`InputError` where there is none, or it cannot be reached.
    """
    import huggingface_hub

    with _explained(address):
        return Path(huggingface_hub.hf_hub_download(address.repository, FILE, revision=address.revision, token=token))


@contextlib.contextmanager
def _explained(address: HubAddress) -> Iterator[None]:
    """Errors of the hub and of the way there, with what to do about them."""
    from huggingface_hub import errors

    address.check()
    login = "`hf auth login`, or HF_TOKEN"
    try:
        yield
    except (InputError, RunError):
        raise
    except errors.GatedRepoError:
        where = f"https://huggingface.co/{address.repository}"
        raise InputError(f"{address}: is gated: ask for access at {where}, then {login}") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{address}: has no revision '{address.revision}'") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"{address}: no such model on the hub, or a private one, which needs {login}") from None
    except errors.LocalEntryNotFoundError:
        raise InputError(
            f"{address}: the hub cannot be reached, and the model is not in its cache; a folder that holds "
            f"{FILE} can be given as it is"
        ) from None
    except errors.EntryNotFoundError:
        raise InputError(f"{address}: holds no {FILE}, so it is no model that coupling wrote") from None
    except (errors.HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{address}: the hub rejected the request, or cannot be reached: {reason}; log in with {login}"
        ) from None
