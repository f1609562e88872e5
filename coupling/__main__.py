"""``python -m coupling``."""

from coupling.cli import cli

if __name__ == "__main__":
    cli()
