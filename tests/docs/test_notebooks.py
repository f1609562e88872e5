"""The notebooks: written without outputs, ready for Colab, and run from the first cell to the last."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
COLAB = "https://colab.research.google.com/github/coupling-gan/coupling/blob/main/docs/notebooks/"
SMALLER = {"STEPS = 2000 ": "STEPS = 2 ", "COUNT = 2000 ": "COUNT = 32 "}
EXECUTE = """
import sys, nbclient, nbformat
book = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(book, timeout=600, kernel_name="python3").execute()
nbformat.write(book, sys.argv[1])
"""


def cells(path, kind):
    book = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


@notebooks
def test_a_notebook_holds_no_outputs(path):
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(path, "code"))


@notebooks
def test_a_notebook_opens_in_colab_and_installs_what_it_needs(path):
    assert f"({COLAB}{path.name})" in "".join(cells(path, "markdown")[0]["source"])
    assert "%pip install" in "".join(cells(path, "code")[0]["source"])


@notebooks
def test_the_links_of_a_notebook_lead_somewhere(path):
    for cell in cells(path, "markdown"):
        for link in re.findall(r"\]\(([^)\s]+)\)", "".join(cell["source"])):
            assert link.startswith("https://") or (path.parent / link).exists(), link


@pytest.mark.slow
@notebooks
def test_a_notebook_runs_and_shows_pictures(path, tmp_path):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    copy = tmp_path / path.name
    text = path.read_text(encoding="utf-8")
    for shown, small in SMALLER.items():
        text = text.replace(shown, small)
    copy.write_text(text, encoding="utf-8")
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "COUPLING_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-c", EXECUTE, str(copy)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kinds = {kind for cell in cells(copy, "code") for output in cell["outputs"] for kind in output.get("data", {})}
    assert {"text/html", "image/png"} & kinds
