"""``python -m coupling``."""

from __future__ import annotations

from coupling.cli import cli

if __name__ == "__main__":
    cli()
