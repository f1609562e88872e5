"""Parts that all pages have: templates, files of this package, data of their scripts, pictures, and the writing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from coupling.system.atomic_files import OTHER_OUTPUT, write_text, writing
from coupling.version import __version__


def page_template(name: str) -> jinja2.Template:
    """A template of this package, in which every text is escaped and ``version`` is coupling's."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("coupling.reports", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals["version"] = __version__
    return environment.get_template(name)


def page_file(name: str) -> Markup:
    """The text of a file of this package, such as a script."""
    return Markup((Path(__file__).parent / name).read_text("utf-8"))  # noqa: S704


def report_files() -> dict[str, Markup]:
    """Style and script of the report and the comparison, and those of the library that draws their curves."""
    return {
        "style": page_file("report.css"),
        "script": page_file("report.js"),
        "plot_style": page_file("vendor/uPlot.min.css"),  # uPlot 1.6.32
        "plot_script": page_file("vendor/uPlot.iife.min.js"),
    }


def json_in_page(data: Any) -> Markup:
    """JSON that can stand in a script element: no text in it can end the element."""
    return Markup(json.dumps(data).replace("<", "\\u003c"))  # noqa: S704


def png_source(file: bytes) -> str:
    """The content of a PNG as the address of an image in a page."""
    return "data:image/png;base64," + base64.b64encode(file).decode()


def write_page(file: Path, text: str) -> Path:
    """Write a page and the folders above it; returns the file. Raises :class:`InputError` if that fails."""
    with writing(file, OTHER_OUTPUT):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    return file
