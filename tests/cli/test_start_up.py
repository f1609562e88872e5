"""What the command line imports before a command runs, and how it finds the commands of plugins."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from coupling.cli import cli
from coupling.cli.plugin_commands import hook_is_used, listed_commands
from coupling.plugins import installed

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, os, sys
from coupling.cli import cli
for arguments, variables in json.loads(sys.argv[1]):
    print("START", flush=True)
    os.environ.update(variables)
    try:
        cli(arguments, prog_name="coupling")
    except SystemExit:
        sys.stderr.flush()
    print("IMPORTED", *[name for name in ("torch", "heavy_plugin", "heavy_command") if name in sys.modules], flush=True)
"""


@pytest.fixture
def distribution(tmp_path: Path) -> Path:
    """An installed distribution with a plugin, which must not be imported, and with the command `greet`."""
    folder = tmp_path / "site"
    metadata = folder / "coupling_heavy-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: coupling-heavy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[coupling]\nheavy = heavy_plugin\n[coupling.commands]\ngreet = heavy_command:greet\n"
        "[coupling.demos]\ncircles = heavy_plugin\n"
    )
    (folder / "heavy_plugin.py").write_text("import torch\n")
    (folder / "heavy_command.py").write_text(
        "import click\n@click.command()\ndef greet():\n    'Say hello.'\n    print('hello')\n"
    )
    return folder


def start(folder: Path, *commands: list[str], **variables: str) -> list[tuple[str, list[str]]]:
    """For each command, in a process for all: its output, and what has been imported of torch and the plugin."""
    path = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([(command, variables) for command in commands])],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    parts = [part.partition("IMPORTED") for part in result.stdout.split("START")[1:]]
    return [(output, imported.split()) for output, _, imported in parts]


def test_help_imports_neither_torch_nor_plugins(distribution):
    expected = [
        ([], "A command of the plugin coupling-heavy."),
        (["--help"], "A command of the plugin coupling-heavy."),
        (["help"], "Translate images from one domain into others."),
        (["rnu"], "no command 'rnu'; did you mean 'run'?"),
        (["gret"], "no command 'gret'; did you mean 'greet'?"),
        (["demo:faces"], "'demo:faces' is a model, not a command; put a command before it: coupling sample demo:faces"),
        (["frobnicate"], "no command 'frobnicate'; known: cache"),
        *(([name, "--help"], f"Usage: coupling {name} ") for name in cli.commands),
        (["help", "transform"], "Usage: coupling transform "),
    ]
    results = start(distribution, *(arguments for arguments, _ in expected))
    for (arguments, fragment), (output, imported) in zip(expected, results, strict=True):
        assert fragment in output
        assert imported == [], arguments


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("coupling ", "greet"),
        ("coupling tr", "transform"),
        ("coupling gr", "greet"),
        ("coupling run --re", "--resume"),
        ("coupling sample de", "demo:circles"),
        ("coupling compare runs/a demo:", "demo:circles"),
        ("coupling demo ci", "circles"),
    ],
)
def test_completion_imports_neither_torch_nor_plugins(distribution, typed, offered):
    [(output, imported)] = start(
        distribution, [], _COUPLING_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=str(typed.count(" "))
    )
    assert f"plain,{offered}" in output.split()
    assert imported == []


def test_a_command_of_the_entry_point_group_is_imported_when_it_is_used(distribution):
    results = start(distribution, ["greet"], ["greet", "--help"], ["help", "greet"])
    for (output, imported), fragment in zip(results, ("hello", "Say hello.", "Say hello."), strict=True):
        assert fragment in output
        assert imported == ["heavy_command"]


def test_a_command_that_only_the_hook_registers_runs(distribution):
    (distribution / "heavy_plugin.py").write_text(
        "import coupling, click\n@coupling.hookimpl\ndef register_commands(cli):\n"
        "    cli.add_command(click.Command('wave', callback=lambda: print('waving')))\n"
    )
    [(_, before), (output, after)] = start(distribution, ["--help"], ["wave"])
    assert before == []
    assert "waving" in output
    assert "heavy_plugin" in after


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("x = 1", False),
        ("@hookimpl\ndef register_commands(cli): ...", True),
        ("from elsewhere import *", True),
        ("@hookimpl(specname='register_commands')\ndef more(cli): ...", True),
    ],
)
def test_plugins_are_imported_for_their_commands_only_if_their_source_has_the_hook(plugin, installing, source, used):
    installing(one=plugin(source))
    assert hook_is_used() is used


def test_a_plugin_whose_source_is_not_found_may_have_the_hook(installing, tmp_path):
    installing(gone=tmp_path / "no_such_module.py")
    assert hook_is_used()


# -- commands of the entry-point group that cannot be used -----------------------------------------


@pytest.fixture
def listing(monkeypatch):
    """``listing("greet", "module:object", ...)``: the entry-point group has this command for each of the values."""

    def listing(name: str, *values: str) -> None:
        points = [metadata.EntryPoint(name, value, "coupling.commands") for value in values]
        monkeypatch.setattr(metadata, "entry_points", lambda group: [p for p in points if p.group == group])
        installed.cache_clear()

    yield listing
    installed.cache_clear()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["no_such_module:greet"], "command 'greet' of plugin 'greet' cannot be imported: ModuleNotFoundError"),
        (["json:dumps"], "command 'greet' of plugin 'greet': json:dumps is not a click command"),
        (["json:dumps", "json:loads"], "command 'greet' is registered twice: by 'greet' and by 'greet'"),
    ],
)
def test_a_command_that_cannot_be_used_is_an_error(listing, values, message):
    listing("greet", *values)
    result = CliRunner().invoke(cli, ["greet"], prog_name="coupling")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_command_of_the_group_with_the_name_of_ours_is_left_out(listing, command):
    listing("check", "json:dumps")
    assert "Usage: coupling check [OPTIONS] CONFIG" in command("check", "--help").stdout
    assert "its command 'check' has the name of one of coupling's own" in command("plugins").stdout


# -- the list of commands ---------------------------------------------------------------------------


def test_commands_are_listed_in_the_order_of_use(command):
    text = command("--help").stdout
    listed = re.findall(r"^  ([a-z-]+)  +[A-Z]", text, re.MULTILINE)
    assert [name for name in listed if name in cli.commands] == list(cli.commands)
    assert list(cli.commands)[:4] == ["demo", "run", "check", "sample"]


def test_every_command_has_one_whole_line_at_80_columns(command):
    lines = CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["--help"], terminal_width=80).stdout.splitlines()
    for name, each in [*cli.commands.items(), *listed_commands().items()]:
        line = f"{name} .*{re.escape(each.get_short_help_str(200))}"
        assert any(re.fullmatch(rf"  {line}", text) for text in lines), name
    assert "..." not in "\n".join(lines).replace("COMMAND [ARGS]...", "")


def test_the_help_of_an_unknown_command_is_an_error(command):
    result = command("help", "rnu")
    assert result.exit_code == 2
    assert "no command 'rnu'; did you mean 'run'?" in result.stderr


def test_check_does_not_import_the_compiler_of_torch():
    """It takes as long as torch itself; optimizers and operation counters import it by default."""
    program = (
        "import sys; from click.testing import CliRunner; from coupling.cli import cli; "
        f"result = CliRunner().invoke(cli, ['check', {str(ROOT / 'examples' / 'faces.yaml')!r}]); "
        "print(result.exit_code, 'torch._dynamo' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "0 False\n"
