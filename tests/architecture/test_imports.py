"""Imports run one way, and plugins import public names alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import coupling
import coupling.testing

ROOT = Path(__file__).parents[2]
PUBLIC = {"coupling": coupling.__all__, "coupling.testing": coupling.testing.__all__}
TEMPLATE = ROOT / "coupling" / "cli" / "plugin_template"


def sources() -> dict[str, str]:
    """{place: Python code} of all plugins, the template, and the documents' blocks."""
    files = [
        *ROOT.glob("plugins/*/**/*.py"),
        *ROOT.glob("docs/plugin-example/**/*.py"),
        *TEMPLATE.rglob("*.py.template"),
    ]
    code = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]:
        if ".pytest_cache" in page.parts or page.name == "reference.md":  # signatures, not programs
            continue
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        code |= {f"{page.relative_to(ROOT)}, block {number}": block for number, block in enumerate(blocks, 1)}
    return code


SOURCES = sources()


def test_imports_run_one_way(monkeypatch):
    lint_imports = pytest.importorskip("importlinter.cli").lint_imports
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


@pytest.mark.parametrize("place", sorted(SOURCES))
def test_plugins_use_public_names(place):
    for node in ast.walk(ast.parse(re.sub(r"\$\{\w+\}", "name", SOURCES[place]))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "coupling":
            assert node.module in PUBLIC, f"line {node.lineno}: from {node.module}"
            unknown = {alias.name for alias in node.names} - set(PUBLIC[node.module])
            assert not unknown, f"line {node.lineno}: {unknown}"
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] == "coupling"]
            assert set(names) <= set(PUBLIC), f"line {node.lineno}: import {names}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "coupling":
            assert node.attr in (*PUBLIC["coupling"], "testing"), f"line {node.lineno}: coupling.{node.attr}"


def test_the_framework_imports_modules_not_the_public_names():
    """`from coupling import NAME` in the framework would load the whole and could come round in a circle."""
    for path in ROOT.glob("coupling/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "coupling":
                assert not {alias.name for alias in node.names} & set(coupling.__all__), f"{path}:{node.lineno}"
