"""`coupling new-plugin`: what it writes installs, passes its tests and runs; names that cannot be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupling.api import load_config
from coupling.cli.new_plugin import write_plugin
from coupling.errors import InputError
from coupling.plugins import Plugins, installed
from tests.conftest import rejected

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_plugin("sea-birds", tmp_path_factory.mktemp("made"), installed().registry)


@pytest.fixture(scope="module")
def environment(made, tmp_path_factory) -> dict[str, str]:
    """The environment in which the plugin is installed as a distribution."""
    pytest.importorskip("hatchling")
    site = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(made)])
    path = os.pathsep.join([str(site), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "COUPLING_DATA": str(site / "data")}


def run(command, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_plugin_is_installed_and_runs(made, environment, tmp_path):
    here = {"env": environment, "cwd": tmp_path}
    assert "dataset sea-birds (plugin coupling-sea-birds)" in run(
        [sys.executable, "-m", "coupling", "plugins", "sea-birds"], **here
    )
    few = ["training.steps=2", "training.batch_size=4", "metrics.0.count=8"]
    changes = [part for change in few for part in ("--set", change)]
    run([sys.executable, "-m", "coupling", "run", str(made / "sea-birds.yaml"), *changes], **here)
    metrics = (tmp_path / "runs" / "sea-birds-001" / "metrics.jsonl").read_text()
    assert "sea-birds-distance/discs/outlines" in metrics
    assert "sea-birds-smoothness" in metrics


def test_the_tests_of_a_new_plugin_pass(made, environment):
    output = run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"], env=environment, cwd=made
    )
    assert re.search(r"\d+ passed", output)
    assert "skipped" not in output


def test_a_new_plugin_passes_the_linter(made):
    ruff = shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    own = ["--config", str(ROOT / "pyproject.toml")]
    first = ["--config", "lint.isort.known-first-party = ['coupling', 'coupling_sea_birds']"]
    run([ruff, "check", "--no-cache", *own, *first, str(made / "coupling_sea_birds")])
    run([ruff, "check", "--no-cache", *own, *first, "--ignore", "D,ANN,S,N", str(made / "tests")])
    run([ruff, "format", "--no-cache", "--check", *own, str(made)])


@pytest.mark.slow
def test_a_new_plugin_is_typed(made):
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    run([sys.executable, "-m", "mypy", "--strict", "coupling_sea_birds"], env=environment, cwd=made)


def test_the_example_validates_without_installing_the_plugin(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in [name for name in sys.modules if name.startswith("coupling_sea_birds")]:
        monkeypatch.delitem(sys.modules, name)
    plugins = Plugins(["coupling_sea_birds.plugin"])
    config = load_config("sea-birds.yaml", plugins=plugins)
    assert list(config.domains) == ["discs", "outlines"]


def test_no_placeholder_of_the_template_is_left(made):
    files = [path for path in made.rglob("*") if path.is_file()]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\$\{|PACKAGE|NAME|\.template", text), path
        assert text == "" or text.endswith("\n")
    assert (made / ".gitignore").is_file()
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["coupling"] == {"sea-birds": "coupling_sea_birds.plugin"}
    named = set(re.findall(r"`([\w./-]+\.(?:py|yaml))`", (made / "README.md").read_text()))
    assert named == {str(path.relative_to(made)) for path in files if path.suffix in (".py", ".yaml")} - {
        "coupling_sea_birds/__init__.py", "tests/test_components.py", "tests/test_conformance.py"
    }  # fmt: skip


def test_the_command_writes_a_plugin(command):
    result = command("new-plugin", "birds")
    assert result.exit_code == 0, result.output
    assert result.stdout == "coupling-birds\n"
    assert "next: cd coupling-birds && pip install -e '.[test]' && pytest && coupling run birds.yaml" in result.stderr
    before = {path: path.read_bytes() for path in Path("coupling-birds").rglob("*") if path.is_file()}
    rejected(command("new-plugin", "birds"), "coupling-birds: exists already; choose another name, or move it away")
    rejected(command("new-plugin", "coupling-birds"), "coupling-birds: exists already")
    assert {path: path.read_bytes() for path in Path("coupling-birds").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Sea Birds", "NAME 'Sea Birds': a plugin's name consists of lower-case letters.*: 'sea-birds', for example"),
        ("sea_birds", "'sea-birds', for example"),
        ("../birds", "'birds', for example"),
        ("7birds", "'birds', for example"),
        ("birds-", "'birds', for example"),
        ("", "'sea-birds', for example"),
        ("coupling-", "'sea-birds', for example"),
        ("vögel", "'v-gel', for example"),
        (
            "digits",
            r"architecture 'digits' of plugin '.*' exists already|a package 'coupling_digits' is installed already",
        ),
        ("pixel", "metric 'pixel-agreement' of plugin 'coupling' exists already"),
        ("negative", "transform 'negative' of plugin 'coupling' exists already"),
    ],
)
def test_a_name_that_is_not_valid_is_an_error(name, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_plugin(name, tmp_path, installed().registry)
    assert not list(tmp_path.iterdir())


def test_the_name_of_an_installed_package_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "coupling_birds.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="a package 'coupling_birds' is installed already; choose another name"):
        write_plugin("birds", tmp_path / "here", installed().registry)


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    original, written = Path.write_text, []

    def full(self, *arguments, **named):
        written.append(self)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return original(self, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="coupling-birds: cannot be written: No space left on device; go to another"):
        write_plugin("birds", tmp_path, installed().registry)
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=12))
def test_a_name_is_rejected_or_makes_one_folder(name):
    """Whatever is given, nothing is written elsewhere: the folder's name is the plugin's."""
    registry = installed().registry
    with pytest.MonkeyPatch.context() as patch:
        made: list[Path] = []

        def mkdir(self, *arguments, **named):
            made.append(self)
            raise OSError(30, "Read-only file system")

        patch.setattr(Path, "mkdir", mkdir)
        with pytest.raises(InputError):
            write_plugin(name, Path("parent"), registry)
        for folder in made:
            assert folder.parent == Path("parent")
            assert re.fullmatch(r"coupling-[a-z0-9-]+", folder.name)
