"""The documentation as a site, made by Sphinx from the pages of this folder.

    pip install -r requirements.txt -r requirements-docs.txt
    sphinx-build -W --keep-going -b html docs SITE

The pages are plain Markdown, which GitHub shows too. What only the site has is made by ``site_pages.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.append(str(DOCS))

from site_pages import REPOSITORY, for_the_site, google_docstring  # noqa: E402  (found only now)

from coupling.version import __version__  # noqa: E402

project = "coupling"
author = "The coupling authors"
project_copyright = author
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["plugin-example", "notebooks"]
highlight_language = "none"
default_role = "code"
smartquotes = False  # they make a dash of --
suppress_warnings = ["misc.highlighting_failure"]  # blocks that show a part of a file

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"coupling {release}"
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}

linkcheck_ignore = [
    r"https://(raw\.githubusercontent|github)\.com/coupling-gan/",  # this repository: tests check these as paths
]
linkcheck_retries = 2


def setup(app):  # noqa: ANN001, ANN201, D103
    app.connect("source-read", for_the_site)
    app.connect("autodoc-process-docstring", google_docstring)
