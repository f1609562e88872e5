"""The command line: what each command prints, on which stream, and the exit codes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import coupling
from coupling.plugins import installed
from tests.conftest import TINY, rejected


@pytest.fixture
def trained(train) -> Path:
    assert train("--output", "trained").exit_code == 0
    return Path("trained")


def test_run_trains_and_prints_its_directory(train):
    result = train()
    assert result.exit_code == 0
    assert result.stdout == "runs/tiny-001\n"  # results on stdout, the rest on stderr
    assert "step 2 of 2" in result.stderr
    assert {p.name for p in Path("runs/tiny-001").iterdir()} >= {
        "config.yaml", "environment.json", "metrics.jsonl", "summary.json", "samples", "checkpoints"
    }  # fmt: skip
    assert train().stdout == "runs/tiny-002\n"


def test_a_run_ends_with_the_next_commands(train):
    given = f"--plugin {TINY}"
    line = train().stderr.splitlines()[-1]
    assert line == f"next: coupling sample runs/tiny-001 {given}; coupling report runs/tiny-001 {given}"


def test_the_next_commands_can_be_run(train, command):
    line = train("--output", "my run").stderr.splitlines()[-1]
    for text in line.removeprefix("next: ").split("; "):
        program, *arguments = shlex.split(text)
        assert program == "coupling"
        assert command(*arguments).exit_code == 0, text


def test_a_run_that_is_already_finished_ends_with_the_next_commands_too(train, trained):
    result = train("--output", trained, "--resume")
    assert result.stderr.splitlines()[-1].startswith("next: coupling sample trained ")


def test_quiet_shows_results_warnings_and_errors_alone(trained, command):
    result = command("--quiet", "sample", trained, "--count", 2, "--output", "drawn", "--plugin", TINY)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "drawn\n", "")
    assert "sampling" in command("sample", trained, "--count", 2, "--output", "again", "--plugin", TINY).stderr
    wrong = command("-q", "sample", "elsewhere/run")
    rejected(wrong, "elsewhere/run: no such run; `coupling demo` lists finished models")
    Path("broken.yaml").write_text("name: [")
    rejected(command("-q", "check", "broken.yaml"), "broken.yaml: ")


def test_a_runs_own_configuration_runs_again(trained, command):
    again = command("run", trained / "config.yaml", "--plugin", TINY, "--output", "again")
    assert again.exit_code == 0, again.output
    assert (trained / "config.yaml").read_text() == Path("again/config.yaml").read_text()
    first, second = (
        [json.loads(line) | {"seconds": 0} for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (trained, Path("again"))
    )
    assert first == second


def test_a_run_with_a_plugin_can_be_resumed(train, trained):
    result = train("training.steps=3", "--output", trained, "--resume")
    assert result.exit_code == 0, result.output
    assert json.loads((trained / "summary.json").read_text())["step"] == 3


def test_check_prints_domains_layers_and_parameters(train):
    result = train(verb="check")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["a", "tiny", "1", "×", "4", "×", "4", "-1", "to", "1", "16", "1", "of", "2", "png", "image"] in lines
    assert ["b", "tiny", "1", "×", "4", "×", "4", "-1", "to", "1", "17", "2", "of", "2", "png", "image"] in lines
    assert lines[lines.index(["layer", "a", "b", "parameters"]) + 1][:3] == ["1", "A", "A"]
    # Generator: 5x6+6+1 and 6x6+6+1 shared, 6x16+16 for each of two domains.
    assert ["generator", "304", "80", "384", "21%"] in lines
    assert not list(Path().glob("runs*"))


def test_check_explains_joint_statistics(train):
    assert "couples" not in train(verb="check").stdout
    assert "depends on the other domains' samples too" in train("batch_statistics=joint", verb="check").stdout.replace(
        "\n", " "
    )


def test_a_run_explains_joint_statistics(train):
    assert "depends on" not in train("--output", "alone").stderr
    text = train("batch_statistics=joint", "--output", "joint").stderr
    assert "a domain's gradient depends on the other domains' samples too" in text


def test_sample_writes_the_images_of_its_seed(trained, command):
    result = command("sample", trained, "--count", 3, "--seed", 1, "--plugin", TINY)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{trained}/sampled\n"
    folder = trained / "sampled"
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png")) == sorted(
        ["grid.png", *(f"{domain}/{number:06d}.png" for domain in "ab" for number in range(3))]
    )
    command("sample", trained, "--count", 3, "--seed", 1, "--plugin", TINY, "--output", "same")
    command("sample", trained, "--count", 3, "--seed", 2, "--plugin", TINY, "--output", "other")
    pixels = [np.asarray(Image.open(Path(f) / "a" / "000002.png")) for f in (folder, "same", "other")]
    assert pixels[0].shape == (4, 4)
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] != pixels[2]).any()


def test_sample_takes_a_checkpoint_or_a_model_file(trained, command):
    checkpoint = trained / "checkpoints" / "step-0000002"
    for run in (checkpoint, checkpoint / "model.safetensors"):
        result = command("sample", run, "--count", 1, "--plugin", TINY, "--output", "out")
        assert result.exit_code == 0, result.output


def test_plugins_lists_components_by_kind(command):
    result = command("plugins", "--plugin", TINY)
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    headings = [rows.index([heading]) for heading in ("architectures", "datasets", "transforms", "losses", "metrics")]
    assert headings == sorted(headings)
    [metric] = [number for number, row in enumerate(rows) if row[:2] == ["pixel-agreement", "coupling"]]
    assert metric > rows.index(["metrics"])
    [tiny] = [number for number, row in enumerate(rows) if row[:1] == ["tiny"]]
    assert rows.index(["datasets"]) < tiny < rows.index(["transforms"])


@pytest.mark.parametrize("kind", ["loss", "losses"])
def test_plugins_lists_one_kind(command, kind):
    lines = command("plugins", kind).stdout.splitlines()
    assert lines[0] == "losses"
    assert any(line.startswith("hinge ") for line in lines)
    assert not any("image-folder" in line or line in ("datasets", "metrics") for line in lines)


def test_names_of_components_are_never_broken(command, monkeypatch):
    monkeypatch.setattr("coupling.cli.authoring.console", lambda: Console(width=60))
    lines = command("plugins").stdout.splitlines()
    assert max(map(len, lines)) <= 60
    words = {word for line in lines for word in line.split()}
    for component in installed().registry.components.values():
        assert {component.name, component.owner} <= words


def test_plugins_prints_the_options_of_a_component(command):
    text = " ".join(command("plugins", "image-folder").stdout.split())
    assert text.startswith("dataset image-folder (plugin coupling) All images of a folder")
    assert "path text required the folder or zip; ~ is your home directory" in text
    assert "integer, 1 or more" in text
    assert "none | stretch | crop" in text
    assert "[k, n]: the k-th of n" in text  # brackets are no markup
    metric = " ".join(command("plugins", "pixel-agreement").stdout.split())
    assert " from text required" in metric
    assert "every integer | null, 1 or more null steps between measurements" in metric
    rejected(command("plugins", "image-foldr"), "no component is called 'image-foldr'; did you mean 'image-folder'?")
    rejected(command("plugins", "architectur"), "no component is called 'architectur'; did you mean 'architecture'?")


@pytest.mark.parametrize(
    ("losses", "warnings"),
    [
        ("[hinge, wasserstein]", ["losses: hinge, wasserstein are 2 adversarial losses, whose values are added up"]),
        ("[hinge, hinge]", ["losses[1]: hinge is losses[0] again, with equal options, so its value counts twice"]),
        ("[hinge, r1, r1]", ["losses[2]: r1 is losses[1] again"]),
        ("[{name: non-saturating, weight: 0}, hinge, r1, r2, {name: r1, gamma: 3}]", []),
    ],
)
def test_losses_that_are_hardly_meant_together_give_a_warning(train, losses, warnings):
    result = train(f"losses={losses}", verb="check")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == len(warnings)
    assert all(line.startswith(f"warning: {warning}") for line, warning in zip(lines, warnings, strict=True))


def test_the_picture_of_check_may_lie_in_a_new_folder(train):
    assert train("--picture", "new/folder/graph.svg", verb="check").exit_code == 0
    assert "<svg" in Path("new/folder/graph.svg").read_text()
    Path("file").write_text("")
    result = train("--picture", "file/graph.svg", verb="check")
    rejected(result, "--picture file/graph.svg: cannot be written: Not a directory; give another file")
    assert result.stdout == ""


def test_schema_has_the_components_of_plugins(command):
    schema = json.loads(command("schema", "--plugin", TINY).stdout)
    assert "dataset tiny" in schema["$defs"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "no command 'rnu'; did you mean 'run'?"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "x.yaml", "--outptu", "y"], "No such option"),
        (["sample", "x", "--count", "0"], "0 is not in the range"),
        (["sample", "x", "--count", "many"], "'many' is not a valid integer"),
    ],
)
def test_a_usage_error_names_the_argument(command, arguments, message):
    rejected(command(*arguments), message)


def test_help_and_version_are_printed(command):
    assert "run" in command("--help").stdout
    assert command("-h").exit_code == 0
    assert coupling.__version__ in command("--version").stdout


def test_sigterm_outside_training_ends_a_command(trained, command, monkeypatch):
    """The exit code is 143, open files are closed, and an interrupted draw prints how much is kept."""
    handler = signal.getsignal(signal.SIGTERM)

    def terminated(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("coupling.generation.samples.Image.Image.save", terminated)
    result = command("sample", trained, "--count", "3", "--output", "drawn", "--plugin", TINY)
    assert result.exit_code == 143
    assert result.stderr.endswith("drawn: 0 of 3 samples are kept; the same command continues\nterminated\n")
    assert signal.getsignal(signal.SIGTERM) is handler


def test_an_interruption_before_training_exits_with_130(train, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("coupling.training.trainer.train", interrupted)
    result = train()
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


def test_the_package_runs_as_a_module(tmp_path):
    (tmp_path / "c.yaml").write_text("name: x\nname: y\n")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "coupling", "check", "c.yaml"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: c.yaml: line 2: 'name' is given twice; use each name once\n"


def test_resume_takes_the_newest_run_of_the_same_configuration(train):
    assert train("training.steps=1").exit_code == 0
    assert train("optimizer.lr=0.5", "training.steps=1").exit_code == 0
    result = train("training.steps=2", "--resume")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith("runs/tiny-001")
    rejected(train("optimizer.lr=0.7", "--resume"), "runs/tiny-002 was made with another configuration", "optimizer.lr")
