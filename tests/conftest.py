"""Fixtures of all tests: the command line in an empty directory, plugins written on the spot."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which accelerate does

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

import coupling.training.trainer
from coupling import plugins
from coupling.api import load_model
from coupling.cli import cli
from coupling.model.model import CoupledModel
from tests.support import tiny_plugin as tiny

TINY = str(Path(tiny.__file__).resolve())
_numbers = itertools.count(1)

# In the background of a shell without job control, Ctrl-C is ignored, also by what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # nohup ignores it, also for what tests start
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
torch.set_num_threads(1)  # on tensors this small, threads would only wait for each other


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``command("run", "tiny.yaml", ...)`` in an empty directory, as ``coupling run tiny.yaml ...``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    return lambda *arguments: CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="coupling")


@pytest.fixture
def train(command: Callable[..., Result]) -> Callable[..., Result]:
    """``train("training.steps=2", "--output", "out")``: run the tiny plugin's configuration with these changes."""

    def train(*arguments: object, verb: str = "run") -> Result:
        Path("tiny.yaml").write_text(yaml.safe_dump(tiny.values("training.steps=2"), sort_keys=False))
        changes = [str(a) for a in arguments]
        first_option = next((i for i, a in enumerate(changes) if a.startswith("--")), len(changes))
        sets = [part for change in changes[:first_option] for part in ("--set", change)]
        return command(verb, "tiny.yaml", "--plugin", TINY, *sets, *changes[first_option:])

    return train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of tests/support/tiny_plugin.py's configuration, one for all tests of a file."""
    path = tmp_path_factory.mktemp("runs") / "run"
    return coupling.training.trainer.train(tiny.config(), path, plugins=tiny.plugins()).path


@pytest.fixture(scope="module")
def model(run: Path) -> CoupledModel:
    """That run's model."""
    return load_model(run, plugins=tiny.plugins())


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Path]:
    """``plugin(source)``: a .py file with a module name that no other test has."""

    def write(source: str) -> Path:
        path = tmp_path / f"plugin_{next(_numbers)}.py"
        path.write_text("from coupling import hookimpl\n\n" + textwrap.dedent(source))
        return path

    return write


@pytest.fixture
def installing(monkeypatch: pytest.MonkeyPatch):
    """``installing(name=path, ...)``: these .py files are installed plugins, and no others."""

    def install(**files: Path) -> None:
        points = []
        for name, path in files.items():
            monkeypatch.syspath_prepend(path.parent)
            points.append(importlib.metadata.EntryPoint(name, path.stem, "coupling"))
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [p for p in points if p.group == group])
        plugins.installed.cache_clear()

    yield install
    monkeypatch.undo()
    plugins.installed.cache_clear()


def rejected(result: Result, *fragments: str) -> str:
    """Assert that a command ended with one message that holds ``fragments``, exit code 2 and nothing else."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    message = result.stderr
    assert len(re.findall(r"^[eE]rror: ", message, re.MULTILINE)) == 1, message
    for fragment in fragments:
        assert fragment in message, message
    return message
