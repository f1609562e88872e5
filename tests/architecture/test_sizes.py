"""Modules and functions stay short enough to be read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [*ROOT.glob("coupling/**/*.py"), *ROOT.glob("plugins/*/coupling_*/*.py"), *ROOT.glob("docs/**/*.py")]
MOST_LINES = 350
MOST_LINES_OF_A_FUNCTION = 40
"""Lines of code from the first statement on: signatures with described options and docstrings do not count."""

files = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


@files
def test_no_module_is_longer_than_350_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@files
def test_no_function_is_longer_than_40_lines(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            statements = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = statements[-1].end_lineno - statements[0].lineno + 1
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {lines} lines"
