"""Plugins: all are loaded in the same way, broken ones are isolated, misspelt hooks are errors, names are unique."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from pathlib import Path

import pytest

from coupling.config.registry import KINDS
from coupling.errors import ConfigError, PluginError
from coupling.plugins import Plugins, installed
from tests.conftest import TINY, rejected

DATASET = """
from coupling import Dataset
class Things(Dataset):
    '''Things.'''
@hookimpl
def register_datasets(register):
    register("things", Things)
"""


def named(path: Path) -> str:
    with pytest.raises(PluginError) as caught:
        Plugins((str(path),), entry_points=False)
    message = str(caught.value)
    assert message.startswith(f"--plugin {path}: ")
    assert "\n" not in message
    return message


def test_built_in_components_are_loaded_as_those_of_plugins():
    plugins = Plugins(entry_points=False)
    assert plugins.owners == ["coupling"]
    assert all(plugins.registry.names(kind) for kind in KINDS)
    assert {component.owner for component in plugins.registry.components.values()} == {"coupling"}


@pytest.mark.usefixtures("command")
def test_a_plugin_is_loaded_by_file_and_by_module(plugin, monkeypatch):
    path = plugin(DATASET)
    by_file = Plugins((str(path),), entry_points=False)
    assert by_file.registry.components["dataset", "things"].owner == str(path)
    assert by_file.owners == ["coupling", str(path)]
    assert by_file.versions()[str(path)] == ""
    monkeypatch.chdir(path.parent)
    by_name = Plugins((path.stem,), entry_points=False)
    assert by_name.registry.components["dataset", "things"].owner == path.stem
    both = Plugins((path.stem, str(path)), entry_points=False)  # one module, not a name given twice
    assert both.owners == ["coupling", path.stem]
    assert importlib.import_module(path.stem)  # as worker processes will


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import nothing_of_this_name",
            "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'",
        ),
        ("x = (1", "cannot be imported: SyntaxError: '(' was never closed"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "cannot be imported: SystemExit: 0"),
        ("x = 1", "has no hook of coupling's; define one, register_datasets(register) for example, and mark it"),
        ("def register_datasets(register): ...", "has no hook of coupling's"),  # unmarked
        ("@hookimpl\ndef register_dataset(register): ...", "'register_dataset'; did you mean 'register_datasets'?"),
        ("@hookimpl\ndef register_datasets(registry): ...", "Argument(s) {'registry'} are declared in the hookimpl"),
        ("@hookimpl\ndef register_datasets(register): 1 / 0", "cannot be used: ZeroDivisionError: division by zero"),
        ("@hookimpl\ndef register_datasets(): ...", "cannot be used: TypeError"),
        ("@hookimpl\ndef register_datasets(register): register('x', 1)", "registers dataset 'x', which is not a class"),
        (
            "def f(): ...\n@hookimpl\ndef register_losses(register): register('two words', f)",
            "registers loss 'two words': a name consists of letters (a to z), digits, - and _, and begins with",
        ),
        ("def f(): ...\n@hookimpl\ndef register_losses(register): register(f, f)", "registers loss <function f at"),
        (
            "def f(a): ...\n@hookimpl\ndef register_losses(register): register('x', f)",
            "component 'x': option 'a' has no type annotation",
        ),
        (
            "def f(): ...\n@hookimpl\ndef register_losses(register): register('hinge', f)",
            "loss 'hinge' is registered twice: by 'coupling' and by '",
        ),
    ],
)
def test_a_named_plugin_that_fails_is_an_error(plugin, source, message):
    assert message in named(plugin(source))


@pytest.mark.usefixtures("command")
def test_a_file_that_is_not_a_module_is_an_error(tmp_path):
    assert "there is no file" in named(tmp_path / "missing.py")
    (tmp_path / "my-plugin.py").write_text("")
    assert "'my-plugin' cannot be a module's name: rename the file" in named(tmp_path / "my-plugin.py")
    for taken in ("random.py", "sys.py", "coupling.py"):
        (tmp_path / taken).write_text(DATASET)
        assert f"there is another module called '{taken[:-3]}'" in named(tmp_path / taken)
    with pytest.raises(PluginError, match="--plugin no_such_module: cannot be imported: ModuleNotFoundError"):
        Plugins(("no_such_module",), entry_points=False)


def test_a_plugin_that_fails_leaves_nothing_registered(plugin, installing):
    half = plugin(DATASET + "    register('more', 3)\n")
    installing(half=half)
    plugins = Plugins()
    assert plugins.owners == ["coupling"]
    assert ("dataset", "things") not in plugins.registry.components
    assert not plugins.manager.is_registered(importlib.import_module(half.stem))
    assert "'more', which is not a class or function" in plugins.registry.broken["half"]


def test_a_broken_plugin_does_not_affect_others(plugin, installing):
    installing(bad=plugin("raise RuntimeError('two\\nlines')"), good=plugin(DATASET))
    plugins = Plugins()
    assert plugins.owners == ["coupling", "good"]
    assert plugins.registry.broken.keys() == {"bad"}
    reason = plugins.registry.broken["bad"]
    assert reason.startswith("RuntimeError: two lines (plugin_")
    with pytest.raises(ConfigError, match=r"no dataset is called 'x'(.|\n)*plugin 'bad', which was left out, may have"):
        plugins.registry.get("dataset", "x", "domains.a.dataset")


def test_a_broken_entry_point_does_not_affect_others_of_its_distribution(plugin, installing, monkeypatch):
    installing(one=plugin(DATASET), two=plugin("1 / 0"))
    points = importlib.metadata.entry_points(group="coupling")

    class Together:
        dist = type("Distribution", (), {"name": "both"})

        def __init__(self, point):
            self.name, self.load = point.name, point.load

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Together(p) for p in points])
    plugins = Plugins()
    assert plugins.registry.components["dataset", "things"].owner == "both"
    assert "ZeroDivisionError" in plugins.registry.broken["both"]


def test_a_name_in_two_plugins_is_an_error_naming_both(plugin, installing):
    installing(first=plugin(DATASET), second=plugin(DATASET))
    plugins = Plugins()
    assert plugins.registry.components["dataset", "things"].owner == "first"
    assert "dataset 'things' is registered twice: by 'first' and by 'second'" in plugins.registry.broken["second"]


def test_a_broken_plugin_is_named_where_a_component_is_missing(plugin, installing, command):
    installing(faces=plugin("import resvg_of_another_name"))
    result = command("plugins")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if "faces" in line]
    assert len(lines) == 1
    assert lines[0].startswith("left out: faces: ModuleNotFoundError")
    Path("c.yaml").write_text(
        "name: x\ndomains: {a: {dataset: avatars}}\ngenerator: {architecture: mlp}\ndiscriminator: {architecture: mlp}"
    )
    result = command("check", "c.yaml")
    assert result.exit_code == 2
    assert "plugin 'faces' is left out: ModuleNotFoundError" in result.stderr.splitlines()[0]
    assert "no dataset is called 'avatars'" in result.stderr
    assert "(plugin 'faces', which was left out, may have it: ModuleNotFoundError" in result.stderr


# -- commands ------------------------------------------------------------------------------------

COMMAND = """
import click
@hookimpl
def register_commands(cli):
    @cli.command()
    def greet():
        "Say hello."
        click.echo("hello")
"""


def test_a_plugin_adds_a_command(plugin, installing, command):
    installing(polite=plugin(COMMAND))
    assert command("greet").stdout == "hello\n"
    assert ["greet", "Say", "hello."] in [line.split() for line in command("plugins").stdout.splitlines()]
    rejected(command("gret"), "no command 'gret'; did you mean 'greet'?")


def test_a_plugin_cannot_replace_our_own_command(plugin, installing, command):
    installing(rude=plugin(COMMAND.replace("greet", "check")))
    assert "is registered twice: by 'coupling' and by 'rude'" in command("greet").stderr
    assert "Say hello." not in command("--help").stdout


def test_a_command_in_two_plugins_is_an_error_naming_both(plugin, installing, command):
    installing(polite=plugin(COMMAND), rude=plugin(COMMAND))
    assert command("greet").stdout == "hello\n"
    assert installed().registry.broken["rude"] == (
        "its commands are left out: command 'greet' is registered twice: by 'polite' and by 'rude'; "
        "uninstall or rename one of them"
    )


def test_a_plugin_that_fails_to_make_its_commands_loses_only_them(plugin, installing, command):
    installing(bad=plugin("@hookimpl\ndef register_commands(cli): 1 / 0"))
    assert command("--help").exit_code == 0
    result = command("greet")
    assert result.exit_code == 2
    assert "plugin 'bad' is left out: its commands are left out: ZeroDivisionError" in result.stderr


# -- hooks of a run --------------------------------------------------------------------------------

NOTES = """
import json
notes = []
@hookimpl
def after_step(run, step, losses):
    notes.append(["step", step, sorted(losses)])
@hookimpl
def after_training(run, model):
    checkpoints = [path.name for path in run.checkpoints.iterdir()]
    notes.append(["training", model.step, sorted(model.domains), checkpoints])
    (run.path / "notes.json").write_text(json.dumps(notes))
"""


def test_hooks_of_a_run_are_called(plugin, train):
    result = train("training.steps=4", "training.log_every=2", "--output", "out", "--plugin", plugin(NOTES))
    assert result.exit_code == 0, result.output
    *steps, training = json.loads(Path("out/notes.json").read_text())
    assert [step for _, step, _ in steps] == [2, 4]
    assert "loss/generator/a" in steps[0][2]
    assert training == ["training", 4, ["a", "b"], ["step-0000004"]]


def test_a_hook_that_fails_does_not_end_the_run(plugin, train):
    bad = plugin("@hookimpl\ndef after_step(run): 1 / 0\n@hookimpl\ndef after_training(run): raise KeyError('x')")
    result = train("--output", "out", "--plugin", bad)
    assert result.exit_code == 0, result.output
    assert f"plugin '{bad}': after_step failed: ZeroDivisionError: division by zero" in result.stderr
    assert f"plugin '{bad}': after_training failed: KeyError: 'x'" in result.stderr
    assert json.loads(Path("out/summary.json").read_text())["status"] == "finished"


FAILING = """
from coupling import Dataset
from coupling.errors import DataError
def deep():
    try:
        {"a": 1}["b"]
    except KeyError:
        raise DataError("nothing there") from None
class Failing(Dataset):
    def __init__(self) -> None: deep()
    def __len__(self): return 9
    def __getitem__(self, index): return None
@hookimpl
def register_datasets(register): register("failing", Failing)
@hookimpl
def after_step(run): 1 / 0
"""


def test_the_author_of_a_plugin_gets_every_frame_on_request(plugin, train, monkeypatch):
    """Tracebacks of all exceptions behind a message; users get the message only."""
    failing, printed = plugin(FAILING), {}
    for wanted in ("", "0", "1"):
        monkeypatch.setenv("COUPLING_TRACEBACK", wanted)
        result = train("domains.a.dataset=failing", "--plugin", failing)
        assert result.exit_code == 2
        printed[wanted] = result.stderr
    assert printed[""] == printed["0"] == "error: domains.a.dataset: nothing there\n"
    assert printed["1"].endswith("\n" + printed[""])
    assert printed["1"].count("Traceback (most recent call last)") > 1
    for fragment in ("in deep", "KeyError: 'b'", "coupling.errors.DataError: nothing there", 'cli/group.py", line'):
        assert fragment in printed["1"]


def test_a_failed_hook_and_a_broken_plugin_print_tracebacks_on_request(plugin, train, installing, command, monkeypatch):
    monkeypatch.setenv("COUPLING_TRACEBACK", "1")
    result = train("training.steps=1", "--output", "out", "--plugin", plugin(FAILING))
    assert result.exit_code == 0, result.output
    assert "in after_step\n    def after_step(run): 1 / 0" in result.stderr
    installing(broken=plugin("def deep(): raise ValueError('no')\ndeep()"))
    result = command("plugins")
    assert result.exit_code == 0
    assert "in deep\n    def deep(): raise ValueError('no')" in result.stderr


def test_the_plugins_of_a_run_are_recorded(train):
    assert train("--output", "out").exit_code == 0
    assert json.loads(Path("out/environment.json").read_text())["plugins"][TINY] == ""
