"""Parts that all pages have: templates, files of this package, and data for their scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup


def page_template(name: str) -> jinja2.Template:
    """A template of this package, in which every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("coupling.reports", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)


def page_file(name: str) -> str:
    """The text of a file of this package, such as a script."""
    return (Path(__file__).parent / name).read_text("utf-8")


def json_in_page(data: Any) -> Markup:
    """JSON that can stand in a script element: no text in it can end the element."""
    return Markup(json.dumps(data).replace("<", "\\u003c"))  # noqa: S704
