"""Each distribution requires what its code imports, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))]

DISTRIBUTIONS = {
    "coupling_explore": "coupling-explore",
    "datasets": "datasets",
    "dicebear_styles": "dicebear-styles",  # holds no code
    "h5py": "h5py",
    "matplotlib": "matplotlib",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "pyarrow": "pyarrow",
    "av": "av",
    "imageio": "imageio",
    "skimage": "scikit-image",
    "torch_fidelity": "torch-fidelity",
}
"""Distributions of optional modules, also where they are not installed."""

FINDS = {"files", "find_spec", "import_module", "_package"}
"""Functions that take the name of a module."""

NOT_IMPORTED = {"av", "tensorboard"}
"""What Accelerate (trackers) and imageio (PyAV) import."""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def for_types_alone(tree):
    """The lines under ``if TYPE_CHECKING:``, which no interpreter runs."""
    tests = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    return {line for test in tests for line in range(test.lineno, test.end_lineno + 1)}


def modules(path):
    """Top-level modules that a file imports, or finds by a name that it spells out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typed = for_types_alone(tree)
    for node in ast.walk(tree):
        if getattr(node, "lineno", 0) in typed:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in FINDS:
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


def imported(folder):
    """Distributions that the code of a package imports."""
    known = packages_distributions()
    names = {
        name.partition(".")[0]
        for path in folder.rglob("*.py")
        if "plugin_template" not in path.parts
        for name in modules(path)
    }
    names -= {*sys.stdlib_module_names, folder.name}
    return {"coupling-gan" if n == "coupling" else normal(DISTRIBUTIONS.get(n) or known[n][0]) for n in names}


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_a_distribution_requires_what_it_imports_and_nothing_else(path):
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    extras = [one for extra in project.get("optional-dependencies", {}).values() for one in extra]
    required = {normal(re.match(r"[\w.-]+", line)[0]) for line in [*project["dependencies"], *extras]}
    name = "coupling" if path.parent == ROOT else path.parent.name.replace("-", "_")
    found = imported(path.parent / name)
    assert found - required == set(), "imported, but not required"
    assert required - found <= NOT_IMPORTED, "required, but not imported"


def test_the_requirements_name_the_cpu_index_for_machines_without_a_gpu():
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert index in (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert index in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_and_the_classifiers_name_the_same_systems():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    systems = [line for line in project["classifiers"] if line.startswith("Operating System ::")]
    assert [system.rpartition(" ")[2] for system in systems] == ["Linux", "MacOS", "Windows"]
    assert "for Linux, macOS and Windows" in readme
