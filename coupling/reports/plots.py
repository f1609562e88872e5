"""Figures of matplotlib, which is optional: pip install 'coupling-gan[plots]'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coupling.errors import RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def empty_figure(width: float, height: float) -> Figure:
    """A figure of that many inches, without a window or global state.

    Raises :class:`RunError` if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RunError(
            "matplotlib is not installed; pip install 'coupling-gan[plots]', and give the command again"
        ) from None
    return Figure(figsize=(width, height), layout="constrained")


def plain(text: str) -> str:
    """Text that matplotlib shows unchanged; text between two dollars would be a formula."""
    return text.replace("$", r"\$")
