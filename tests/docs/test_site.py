"""The site: its contents, its links, its reference, and that it builds without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import coupling
import coupling.testing
from coupling.cli import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {path.stem for path in DOCS.glob("*.md")}

sphinx = pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def site_pages():
    sys.path.append(str(DOCS))
    try:
        import site_pages
    finally:
        sys.path.remove(str(DOCS))
    return site_pages


def test_every_page_is_in_one_of_the_contents(site_pages):
    made = site_pages.contents((DOCS / "index.md").read_text(encoding="utf-8"))
    assert re.findall(r":caption: (.+)", made) == ["Tutorials", "How-to guides", "Reference", "Explanation"]
    listed = re.findall(r"^[a-z][\w-]+$", made, flags=re.MULTILINE)
    assert sorted(listed) == sorted(PAGES - {"index"})


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("[a](../plugins/)", "/tree/main/plugins)"),
        ("[a](../README.md#examples)", "/blob/main/README.md#examples)"),
        ("[a](plugin-example/shapes.yaml)", "/blob/main/docs/plugin-example/shapes.yaml)"),
    ],
)
def test_a_link_to_a_file_outside_the_site_leads_to_the_repository(site_pages, link, address):
    assert site_pages.repository_links(link) == f"[a]({site_pages.REPOSITORY}{address}"


@pytest.mark.parametrize(
    "link", ["[a](sharing.md#rules)", "![a](pictures/faces.png)", "[a](#rules)", "[a](https://a.org/b)"]
)
def test_other_links_stay_as_they_are(site_pages, link):
    assert site_pages.repository_links(link) == link


def test_a_docstring_keeps_its_colons_and_stars(site_pages):
    lines = ["Class of each sample: (B, *shape), or ``*``.", "", "Returns:", "    {domain: tensor}."]
    site_pages.google_docstring(None, "attribute", "a", None, None, lines)
    assert lines[0] == r"Class of each sample: (B, \*shape), or ``*``."
    assert ":returns: {domain: tensor}." in lines


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_describes_every_name_and_command(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    for module in (coupling, coupling.testing):
        for name in module.__all__:
            assert f'id="{module.__name__}.{name}"' in reference, name
    options = (tmp_path / "command-line.html").read_text(encoding="utf-8")
    for name in cli.commands:
        assert f'id="coupling-{name}"' in options, name
    assert (tmp_path / "searchindex.js").is_file()
    assert all((tmp_path / f"{page}.html").is_file() for page in PAGES)
