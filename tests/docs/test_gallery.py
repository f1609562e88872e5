"""The gallery: its commands draw its pictures, and it shows every demo of this repository."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^!\[[^\]]+\]\((.+?)\)\n\n(?:(?!```).+\n)+\n```sh\ncoupling (.+)\n```", PAGE, re.MULTILINE)
ROUNDING = 2  # of 255: processors and versions of torch round differently


@pytest.fixture(scope="module")
def gallery():
    sys.path.append(str(DOCS))
    try:
        import gallery
    finally:
        sys.path.remove(str(DOCS))
    return gallery


def test_the_page_shows_every_demo_of_this_repository(gallery):
    assert gallery.page() == PAGE, "run python docs/gallery.py"
    assert len(SHOWN) == 3 * len(gallery.repository_demos()) > 0
    files = {DOCS / picture for picture, _ in SHOWN}
    assert files == set((DOCS / "pictures").glob("gallery-*.png"))
    assert sum(file.stat().st_size for file in files) < 1_000_000


@pytest.mark.parametrize(("picture", "line"), SHOWN, ids=[picture for picture, _ in SHOWN])
def test_the_command_under_a_picture_draws_it(picture, line, command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = command(*shlex.split(line))
    assert result.exit_code == 0, result.output
    written = Path(result.stdout.strip())
    with Image.open(written / "grid.png" if written.is_dir() else written) as drawn, Image.open(DOCS / picture) as kept:
        assert drawn.size == kept.size, "run python docs/gallery.py"
        difference = np.abs(np.asarray(drawn.convert("RGB"), int) - np.asarray(kept.convert("RGB"), int)).max()
    assert difference <= ROUNDING, f"{difference} of 255: run python docs/gallery.py"
