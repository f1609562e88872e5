"""Tables of results on standard output."""

from __future__ import annotations

from collections.abc import Container, Iterable

from rich.console import Console
from rich.table import Table

from coupling.generation.given_samples import GivenSamples
from coupling.generation.transformation import covered_text
from coupling.model.inversion import Transformed
from coupling.sweeps.directory import RunStatus
from coupling.system.atomic_files import printable
from coupling.system.terminal import warn


def table(*columns: str, whole: Container[str] = ()) -> Table:
    """A plain table for results, without boxes; long text continues on the next line.

    Args:
        columns: the headings.
        whole: columns whose text is never broken, such as names.
    """
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in whole)
    return made


def print_statuses(statuses: Iterable[RunStatus], console: Console) -> None:
    """Print the runs of a sweep: cell and seed, how far each is, and its directory."""
    made = table("run", "state", "step", "directory", "")
    for status in statuses:
        changed = f"has changed: {'; '.join(status.changes)}" if status.changes else ""
        step = f"{status.step:,} of {status.run.config.training.steps:,}"
        made.add_row(status.run.title, status.state, step, str(status.path), changed)
    console.print(made)


def print_errors(given: GivenSamples, found: Transformed, threshold: float | None, console: Console) -> None:
    """Print a row for each image: the error of its reconstruction, and whether the model covers it.

    Without a ``threshold`` the column "covered" is left out.
    """
    columns = ["image", "error", *(["covered"] if threshold is not None else []), "changes"]
    made = table(*columns)
    for file, error, changes in zip(given.files, found.error.tolist(), given.changes, strict=True):
        covered = [] if threshold is None else [covered_text(error, threshold)]
        made.add_row(printable(str(file)), f"{error:.4f}", *covered, changes)
    console.print(made)
    if threshold is not None and (missed := int((found.error > threshold).sum())):
        warn(
            f"not covered: {missed} of {len(given.files)} images (error above {threshold:.4f}): the model draws "
            "nothing like these, so the images in the other domains mean little"
        )
