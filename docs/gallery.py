"""Write the gallery: what the demo models of this repository draw, each picture with the command that draws it.

    python docs/gallery.py

It writes gallery.md and pictures/gallery-*.png. Run it after a demo model changes or is added. A test runs the commands
again and compares the pictures.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from coupling.cli import cli
from coupling.runs.demos import Demo, demo_names, find_demo
from coupling.runs.model_file import open_model_file

DOCS = Path(__file__).parent
PAGE = DOCS / "gallery.md"
PICTURES = DOCS / "pictures"

SEEDS = {"faces": (0, 0, 2)}
"""Seeds of the samples, the path and the directions, where they are not 0."""


INTRODUCTION = """# Gallery

These pictures are drawn by the finished models that travel with the plugins. Under each picture is the command that
draws it. You need no training, no data and no network: after [the installation](tutorial.md), each command takes
seconds. `coupling explore` writes a page on which you move through the same models yourself.
"""


@dataclass(frozen=True)
class Picture:
    """A picture of the gallery."""

    file: Path
    """Where it lies in the documents."""
    command: str
    """The command that draws it, in an empty directory."""
    drawn: str
    """The file that the command writes."""
    title: str
    caption: str


def repository_demos() -> list[Demo]:
    """The installed demos that come from this repository."""
    demos = (find_demo(name) for name in demo_names())
    return [demo for demo in demos if demo.file.is_relative_to(DOCS.parent)]


def pictures(demo: Demo) -> Iterator[Picture]:
    """The pictures of a demo."""
    name = demo.name
    samples, path, directions = (f" --seed {seed}" if seed else "" for seed in SEEDS.get(name, (0, 0, 0)))
    yield Picture(
        PICTURES / f"gallery-{name}-samples.png",
        f"coupling sample demo:{name} --count 8{samples} --output {name}",
        f"{name}/grid.png",
        "samples",
        "Each column is one latent code, each row a domain.",
    )
    yield Picture(
        PICTURES / f"gallery-{name}-path.png",
        f"coupling traverse demo:{name} --pairs 1 --steps 8{path} --output {name}-path.png",
        f"{name}-path.png",
        "a path between two codes",
        "The path between two codes, in all domains. `--output path.gif` draws it as an animation, `path.mp4` as a "
        "video.",
    )
    yield Picture(
        PICTURES / f"gallery-{name}-directions.png",
        f"coupling traverse demo:{name} --directions 2 --steps 7{directions} --output {name}-directions.png",
        f"{name}-directions.png",
        "two main directions",
        "One code, the column in the middle, moved along the two [directions](trained-models.md#explore) in which the "
        "samples vary most.",
    )


def draw(picture: Picture, folder: Path) -> Path:
    """Run the command of a picture with ``folder`` in place of the current directory; returns what it has drawn."""
    arguments = shlex.split(picture.command)[1:]
    arguments[-1] = str(folder / arguments[-1])  # what follows --output
    result = CliRunner().invoke(cli, arguments, prog_name="coupling")
    if result.exit_code != 0:
        raise SystemExit(f"{picture.command}\n{result.output}")
    return folder / picture.drawn


def page() -> str:
    """The text of the page."""
    parts = [INTRODUCTION]
    for demo in repository_demos():
        with open_model_file(demo.file) as content:
            values = content.values
        domains = ", ".join(values["domains"])
        made_by = demo.configuration.relative_to(DOCS.parent)
        parts.append(
            f"## demo:{demo.name}\n\n{demo.about}\n\n"
            f"Domains: {domains}. Trained for {values['step']:,} steps with [this configuration](../{made_by})."
        )
        for picture in pictures(demo):
            parts.append(f"![{demo.name}: {picture.title}]({picture.file.relative_to(DOCS)})\n\n{picture.caption}")
            parts.append(f"```sh\n{picture.command}\n```")
        parts.append("To move through the codes in your browser:")
        parts.append(f"```sh\ncoupling explore demo:{demo.name} --open\n```")
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(parts)) + "\n"


def main() -> None:
    """Write the page and its pictures; remove pictures that are no longer in it."""
    for old in PICTURES.glob("gallery-*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        for demo in repository_demos():
            for picture in pictures(demo):
                shutil.copyfile(draw(picture, Path(folder)), picture.file)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
