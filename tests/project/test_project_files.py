"""Files that a hosting service, a citation manager or a container builder reads."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
import yaml

from coupling import __version__

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
