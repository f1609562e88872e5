"""Addresses of models on the Hugging Face hub, hf://USER/MODEL[@REVISION], and their download."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from coupling.errors import InputError, RunError

_ADDRESS = re.compile(r"hf:/{1,2}(?P<repository>[^@]*)(?:@(?P<revision>.+))?")  # a path has lost one of the slashes


@dataclass(frozen=True)
class HubAddress:
    """A repository, and a revision of it: a branch, a tag or a commit."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")

    def check(self) -> None:
        """Raise :class:`InputError` if this cannot be the name of a repository."""
        if not re.fullmatch(r"[\w.-]*\w/[\w.-]*\w", self.repository):
            raise InputError(f"{self}: a model on the hub is hf://USER/MODEL, or hf://USER/MODEL@REVISION")

    @property
    def name(self) -> str:
        """The model's name without its owner's."""
        return self.repository.rpartition("/")[2]


def hub_address(path: str | PurePath) -> HubAddress | None:
    """The address that ``path`` is; None if it is the path of a file or folder."""
    match = _ADDRESS.fullmatch(path.as_posix() if isinstance(path, PurePath) else path)  # Windows turns the slashes
    return None if match is None else HubAddress(match["repository"].rstrip("/"), match["revision"])


FILE = "model.safetensors"


def download(address: HubAddress, token: str | None = None) -> Path:
    """Download the model file of a repository, unless it is in the hub's cache; returns its path.

    Raises :class:`InputError` if there is no such file, or the hub cannot be reached.
    """
    import huggingface_hub

    with explain_hub_errors(address):
        return Path(huggingface_hub.hf_hub_download(address.repository, FILE, revision=address.revision, token=token))


@contextlib.contextmanager
def explain_hub_errors(address: HubAddress) -> Iterator[None]:
    """Turn errors of the hub and the network into messages that name the fix."""
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
        raise InputError(f"{address}: holds no {FILE}, so it is not a model that coupling wrote") from None
    except (errors.HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{address}: the hub rejected the request, or cannot be reached: {reason}; log in with {login}"
        ) from None
