"""Out-of-memory errors as messages that say what to lower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.errors import RunError
from coupling.system.device import is_out_of_memory

if TYPE_CHECKING:
    from coupling.networks.build import Networks


@contextmanager
def explain_out_of_memory(
    config: Config, when: Callable[[], str], networks: Networks | None = None, batch: Batch | None = None
) -> Iterator[None]:
    """Turn an out-of-memory error of any device into a :class:`RunError` that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"out of memory {when()}: {_load(config, networks, batch)}. Free memory, or launch more processes, "
            "which divide the batch, and continue with --resume; or, in a new run, raise training.accumulate, which "
            f"divides the batch, or lower training.batch_size or the architectures' width. ({reason})"
        ) from None


def _load(config: Config, networks: Networks | None, batch: Batch | None) -> str:
    """Describe what has to fit: the batch and the networks."""
    share = "" if batch is None or batch.processes == 1 else f", {batch.share} of them on this process"
    teams = []
    for team in ("generator", "discriminator"):
        size = "" if networks is None else f", {sum(p.numel() for p in getattr(networks, team).parameters()):,} numbers"
        teams.append(f"{team}s '{getattr(config, team).architecture.name}'{size}")
    return (
        f"training.batch_size is {config.training.batch_size} for each of {len(config.domains)} domains{share}; "
        f"the model is {'; '.join(teams)}"
    )
