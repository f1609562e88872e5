"""The documents are true: links, configurations, commands, made parts, and the code in them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from coupling.api import load_config, parse_config
from coupling.cli import cli
from coupling.cli.plugin_commands import PluginCommand
from coupling.config.components import MetricConfig, metric_entry
from coupling.plugins import Plugins
from coupling.training.trainer import train

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = DOCS / "plugin-example"
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(path for path in sorted(DOCS.rglob("*.md")) if ".pytest_cache" not in path.parts),
    *sorted(ROOT.glob("plugins/*/README.md")),
]
documents = pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])


def load_generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """GitHub's names of a document's headings."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@documents
def test_every_relative_link_leads_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@documents
def test_every_whole_configuration_validates(path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE)
    plugins = Plugins(["coupling_shapes.plugin"])
    for block in blocks(path.read_text(encoding="utf-8"), "yaml"):
        values = yaml.safe_load(block)
        if isinstance(values, dict) and {"name", "domains"} <= set(values):
            parse_config(values, plugins=plugins)


@documents
def test_every_command_exists_with_its_options(path):
    text = path.read_text(encoding="utf-8")
    code = [line for block in blocks(text, "(?:sh)?") for line in block.splitlines()]
    for span in [*code, *re.findall(r"`([^`\n]+)`", text)]:
        for name, rest in re.findall(r"(?:^|(?<!from) )coupling ([a-z][a-z-]*)\b([^|&>]*)", span):
            command = cli.get_command(click.Context(cli), name)
            assert command is not None, span
            if isinstance(command, PluginCommand):
                command = command.load()
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            assert set(re.findall(r"(?<!\w)--[a-z][a-z-]*", rest)) <= known, span


def test_every_command_is_documented():
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    for name, command in cli.commands.items():
        assert f"## {name}\n" in text
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                shown = f"{'' if parameter.required else '['}{parameter.opts[0]}"
                assert shown in section, f"{name} {shown}"


def test_every_file_that_the_design_names_exists():
    for name in re.findall(r"`(\w+\.py)`", (DOCS / "design.md").read_text(encoding="utf-8")):
        assert (ROOT / "coupling" / name).is_file(), name


def test_made_parts_are_up_to_date():
    for path, content in load_generate().made():
        assert path.read_text(encoding="utf-8") == content, f"{path}: run python docs/generate.py"


def test_every_metric_is_described_with_an_example_that_validates():
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `([a-z-]+)`\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL))
    registry = Plugins(entry_points=False).registry
    assert sorted(sections) == registry.names("metric")
    for name, section in sections.items():
        rows = re.findall(r"^\| ([a-z ]+) \| .+ \|$", section.partition("<!-- made")[0], re.MULTILINE)
        assert rows == ["formula", "source", "range", "beside it", "recorded", "reads"], name
        entries = [entry for block in blocks(section, "yaml") for entry in yaml.safe_load(block)]
        examples = [MetricConfig.model_validate(metric_entry(entry)) for entry in entries]
        assert examples, name
        for example in examples:
            assert example.name == name
            registry.build("metric", name, example.options, "metrics.md")


def test_pictures_are_small_and_all_in_use():
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    for picture in (DOCS / "pictures").iterdir():
        assert picture.stat().st_size < 300_000, picture
        assert any(f"pictures/{picture.name})" in text for text in texts), f"{picture} is in no document"


def test_all_code_of_the_example_plugin_is_in_the_text():
    text = (DOCS / "bring-your-own-domains.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^`([\w./-]+)`\n\n```", text, re.MULTILINE))
    files = {str(path.relative_to(EXAMPLE)) for path in EXAMPLE.rglob("*.py") if "tests" not in path.parts}
    assert files - shown == {"coupling_shapes/__init__.py"}


@pytest.fixture(scope="module")
def installed_example(tmp_path_factory):
    """The example plugin, installed as a distribution; the environment in which it is found."""
    pytest.importorskip("hatchling")
    site, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "plugin"
    source.symlink_to(EXAMPLE)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)])
    return {**os.environ, "PYTHONPATH": str(site), "COUPLING_DATA": str(site / "data")}


def run(command, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_plugin_is_found_once_installed_and_trains(installed_example, tmp_path):
    settings = ["training.steps=3", "training.batch_size=4", "metrics.0.count=8"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "coupling", "run", str(EXAMPLE / "shapes.yaml"), *overrides]
    run([*command, "--output", str(tmp_path / "run")], env=installed_example, cwd=tmp_path)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "centre-distance/discs/squares" in metrics
    assert "smoothness" in metrics


def test_the_example_plugins_own_tests_pass(installed_example):
    options = ["-q", "-p", "no:cacheprovider"]
    run([sys.executable, "-m", "pytest", *options, str(EXAMPLE / "tests")], env=installed_example, cwd=ROOT)


def test_the_tutorials_python_runs(few_faces, capsys):
    values: dict[str, object] = {}
    for block in blocks((DOCS / "tutorial.md").read_text(encoding="utf-8"), "python"):
        exec(compile(block, "tutorial.md", "exec"), values)
    assert "'glasses': torch.Size([8, 3, 64, 64])" in capsys.readouterr().out
    assert values["between"].shape == (5, 3, 64, 64)


def test_the_python_of_trained_models_runs(few_faces, capsys):
    values: dict[str, object] = {}
    for block in blocks((DOCS / "trained-models.md").read_text(encoding="utf-8"), "python"):
        exec(compile(block, "trained-models.md", "exec"), values)
    out = capsys.readouterr().out
    assert "(3, 64, 64) (-1.0, 1.0) 1" in out
    assert "torch.Size([2, 12, 3, 64, 64])" in out
    assert all(torch.equal(values["same"][name], images) for name, images in values["pairs"].items())


def test_the_python_of_troubleshooting_shows_the_values_of_each_domain(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    domains = {}
    for name, white in (("pale", 128), ("full", 255)):
        (tmp_path / name).mkdir()
        for number in range(32):
            Image.new("RGB", (8, 8), (0, number, white)).save(tmp_path / name / f"{number}.png")
        domains[name] = {"dataset": {"name": "image-folder", "path": name, "size": 8}}
    teams = {team: {"architecture": "mlp"} for team in ("generator", "discriminator")}
    Path("mine.yaml").write_text(yaml.safe_dump({"name": "mine", "domains": domains, **teams}, sort_keys=False))
    [block] = blocks((DOCS / "troubleshooting.md").read_text(encoding="utf-8"), "python")
    exec(compile(block, "troubleshooting.md", "exec"), {})
    pale, full = capsys.readouterr().out.splitlines()[-2:]
    assert pale.startswith("pale (-1.0, 1.0) -1.0 0.00")
    assert full == "full (-1.0, 1.0) -1.0 1.0"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the library's files
def test_the_python_of_generated_pairs_runs(few_faces, capsys):
    pytest.importorskip("webdataset")
    arguments = ["sample", "runs/faces-001", "--count", "2", "--format", "webdataset", "--output", "pairs"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    for block in blocks((DOCS / "generated-pairs.md").read_text(encoding="utf-8"), "python"):
        exec(compile(block, "generated-pairs.md", "exec"), {})
    assert capsys.readouterr().out == "(64, 64, 3) (64, 64, 3)\n" * 2


@pytest.fixture
def few_faces(tmp_path, monkeypatch):
    """The run that the documents use, of few faces and one step."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    few = [f"domains.{domain}.dataset.count=4" for domain in ("glasses", "no-glasses")]
    config = load_config(
        ROOT / "examples" / "faces.yaml", [*few, "training.steps=1", "training.batch_size=4", "metrics=[]"]
    )
    assert train(config).path == Path("runs/faces-001")
