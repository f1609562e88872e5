"""Files that a hosting service, a citation manager or a container builder reads."""

from __future__ import annotations

import importlib
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from coupling import __version__
from coupling.cli.available_plugins import available_plugins

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))]


def workflow(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_yaml_files_of_the_project_can_be_read(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_workflow_runs_what_ci_runs():
    jobs = workflow("ci.yml")["jobs"]
    assert commands(jobs["linux"]) == [".ci/run"]
    assert commands(jobs["wheels"]) == [".ci/wheels"]
    assert "sphinx-build -W --keep-going -b html docs site" in commands(jobs["docs"])
    test = commands(jobs["others"])[-1]
    assert f"pip install -r requirements-dev.txt && {test}" in (ROOT / "README.md").read_text()
    for script in ("run", "wheels"):
        assert os.access(ROOT / ".ci" / script, os.X_OK)


def test_every_job_has_a_time_limit_and_no_right_to_write():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        content = yaml.safe_load(path.read_text())
        assert content["permissions"] == {"contents": "read"}
        assert all(job["timeout-minutes"] <= 90 for job in content["jobs"].values())


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["preferred-citation"]["title"] == "Coupled Generative Adversarial Networks"


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_every_distribution_says_who_made_it_and_where_it_is(path):
    project = tomllib.loads(path.read_text())["project"]
    assert project["authors"] == [{"name": "The coupling authors"}]
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= set(project["urls"])
    assert any(line.startswith("Operating System ::") for line in project["classifiers"])


RAW = "https://raw.githubusercontent.com/coupling-gan/coupling/main/"
"""Where files of the main branch are, for pages outside of the repository, such as PyPI's."""


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(ROOT.glob("plugins/*/README.md"))], ids=str)
def test_pictures_of_a_readme_have_absolute_addresses_and_are_there(path):
    text = path.read_text(encoding="utf-8")
    pictures = re.findall(r"\]\(([^)\s]+\.(?:png|svg|gif|jpg))\)", text)
    assert pictures or path.parent != ROOT
    for address in pictures:
        assert address.startswith(RAW), f"{address}: PyPI shows a picture by its absolute address only"
        assert (ROOT / address.removeprefix(RAW)).is_file(), address


def test_the_list_of_plugins_has_every_plugin_of_the_repository():
    named = {plugin.name: plugin for plugin in available_plugins()}
    for path in ROOT.glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        if "coupling" in project.get("entry-points", {}):
            assert named[project["name"]].address.endswith(f"/tree/main/plugins/{path.parent.name}")
    for plugin in named.values():
        assert plugin.address.startswith("https://")
        assert len(plugin.description) <= 110
        assert plugin.name.startswith("coupling-")


def test_the_readme_of_the_built_distribution_has_no_relative_link():
    pytest.importorskip("hatch_fancy_pypi_readme")  # a requirement of the build
    core = importlib.import_module("hatchling.metadata.core")
    manager = importlib.import_module("hatchling.plugin.manager").PluginManager()
    text = core.ProjectMetadata(str(ROOT), manager).core.readme
    here = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / "README.md").read_text("utf-8"))
    there = re.findall(r"\]\(([^)]+)\)", text)
    assert all(address.startswith(("https://", "#")) for address in there)
    for path in here:
        assert any(a.startswith(f"https://github.com/coupling-gan/coupling/tree/main/{path}") for a in there), path
