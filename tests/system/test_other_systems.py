"""Systems other than Linux: what they lack is not imported, not called, and not put into the names of files."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
import yaml

from coupling.errors import ConfigError
from coupling.runs.demos import demo_name
from coupling.runs.hub import HubAddress, hub_address
from coupling.system import atomic_files
from coupling.system.data_directory import data_directory
from coupling.system.file_names import expand_home, file_name
from tests.support import tiny_plugin as tiny

ROOT = Path(__file__).parents[2]
LACKING = ("fcntl", "resource", "termios", "grp", "pwd")
"""Modules that Windows does not have."""

COMMANDS = [
    ["--help"],
    ["plugins"],
    ["check", "tiny.yaml", "--plugin", tiny.__file__],
    ["run", "tiny.yaml", "--plugin", tiny.__file__, "--output", "out"],
    ["sample", "out", "--plugin", tiny.__file__, "--count", "2", "--output", "drawn"],
]
# On Linux, psutil needs the module resource and platformdirs os.getuid, so those stay.
PROGRAM = f"""
import os, signal, sys, warnings
for module in {sorted({*LACKING} - {"resource"})!r}:
    sys.modules[module] = None
for name in ("fork", "sync", "sched_getaffinity", "O_DIRECTORY", "O_NOFOLLOW"):
    delattr(os, name)
del signal.SIGHUP
warnings.filterwarnings("ignore", "only soft file lock is available")  # filelock's own
from click.testing import CliRunner
from coupling.cli import cli
for command in {COMMANDS!r}:
    result = CliRunner().invoke(cli, command)
    print(command[0], result.exit_code)
    if result.exit_code:
        raise SystemExit(result.output) from result.exception
"""


def test_the_commands_run_without_what_windows_lacks(tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny.values("training.steps=2"), sort_keys=False))
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("\n")[:-1] == [f"{command[0]} 0" for command in COMMANDS]
    assert (tmp_path / "out/summary.json").exists()
    assert len(list((tmp_path / "drawn").rglob("00000*.png"))) == 4


def sources():
    folders = [ROOT / "coupling", *sorted((ROOT / "plugins").glob("*/coupling_*"))]
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def test_no_module_imports_what_a_system_lacks():
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {*LACKING, "msvcrt"} & {name.partition(".")[0] for name in names}, path


def test_a_directory_is_not_synced_where_it_cannot_be_opened(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    modes = []
    opened = os.open
    monkeypatch.setattr(atomic_files, "_WINDOWS", True)
    monkeypatch.setattr(os, "open", lambda path, mode: modes.append((Path(path).name, mode)) or opened(path, mode))
    atomic_files.sync(tmp_path)
    atomic_files.sync(tmp_path / "file")
    assert modes == [("file", os.O_RDWR)]  # Windows syncs no file that is open for reading alone


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lr=0.001", "lr=0.001"),
        ('loss={"name":"r1"}', "loss={%22name%22%3A%22r1%22}"),
        ("a/b*?", "a%2Fb%2A%3F"),
        ("50%", "50%25"),
        ("half.", "half%2E"),
    ],
)
def test_names_of_files_hold_no_character_that_windows_rejects(text, name):
    assert file_name(text, windows=True) == name
    assert file_name(text, windows=False) == text


def test_a_home_directory_that_does_not_exist_is_an_error(monkeypatch):
    assert expand_home("~/images") == Path.home() / "images"
    assert expand_home(Path("images/~x")) == Path("images/~x")
    message = "there is no home directory '~nosuchuser': give the whole path, or ./~nosuchuser for a folder"
    with pytest.raises(ConfigError, match=f"path '~nosuchuser/images': {message}"):
        expand_home("~nosuchuser/images")
    monkeypatch.setenv("COUPLING_DATA", "~nosuchuser")
    with pytest.raises(ConfigError, match=f"COUPLING_DATA '~nosuchuser': {message}"):
        data_directory("mnist")


@pytest.mark.parametrize("path_class", [PurePosixPath, PureWindowsPath])
def test_addresses_of_models_survive_the_paths_of_every_system(path_class):
    assert hub_address(path_class("hf://me/tiny@v1")) == HubAddress("me/tiny", "v1")
    assert demo_name(path_class("demo:faces")) == "faces"
    assert hub_address(path_class("runs/tiny-001")) is None
