"""The public names: `coupling/__init__.pyi` is the list, and each is there, in whatever order things are imported."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import coupling

STUB = Path(coupling.__file__).with_suffix(".pyi")


def listed() -> dict[str, str]:
    """{public name: the module that defines it}, as type checkers read the stub."""
    names = {}
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, f"{alias.name}: without `as {alias.name}`, mypy takes it for private"
                names[alias.name] = f"coupling.{node.module}"
    return names


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_stub_lists_what_can_be_imported():
    assert sorted(coupling.__all__) == sorted(listed()) == dir(coupling)


@pytest.mark.parametrize("name", sorted(listed()))
def test_each_public_name_is_the_object_of_its_module(name):
    assert getattr(coupling, name) is getattr(importlib.import_module(listed()[name]), name)


def test_no_module_has_the_name_of_a_public_name():
    """An import of a submodule sets an attribute of the package, which would hide the public name."""
    modules = {module.name for module in pkgutil.iter_modules(coupling.__path__)}
    assert modules.isdisjoint(listed())


@pytest.mark.parametrize("name", ["data_directory", "evaluate"])
@pytest.mark.parametrize("first", [True, False])
def test_a_function_is_not_hidden_by_the_module_of_its_name(name, first):
    imports = [f"import {listed()[name]}", f"from coupling import {name}"]
    code = "; ".join(imports if first else imports[::-1])
    assert python(f"{code}; import coupling; print(callable({name}), callable(coupling.{name}))") == "True True\n"


def test_importing_coupling_imports_neither_torch_nor_a_plugin():
    loaded = python("import sys, coupling; print(sorted(n.partition('.')[0] for n in sys.modules))")
    assert "'coupling'" in loaded
    assert not any(name in loaded for name in ("torch", "numpy", "pydantic", "click", "coupling_"))


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert STUB.with_name("py.typed").is_file()
