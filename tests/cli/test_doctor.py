"""``coupling doctor``: what it finds, what it calls a problem, and that one broken part does not hide the others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import accelerate.commands.config.config_args as accelerate_config
import pytest
import torch

from coupling import __version__
from coupling.cli import diagnosis
from coupling.system import device
from tests.conftest import TINY, rejected


@pytest.fixture
def doctor(command, monkeypatch, tmp_path):
    """``doctor()``: the facts, in an environment without a configuration of Accelerate."""
    monkeypatch.setattr(accelerate_config, "default_config_file", str(tmp_path / "accelerate.yaml"))

    def doctor(*arguments):
        result = command("doctor", "--json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return doctor


def test_it_shows_versions_devices_plugins_and_data(doctor, tmp_path, installing):
    installing()
    folder = tmp_path / "data" / "mnist" / "inner"
    folder.mkdir(parents=True)
    (folder / "images").write_bytes(bytes(1500))
    facts = doctor("--plugin", TINY)
    assert facts["coupling"]["version"] == __version__
    assert facts["torch"]["version"] == torch.__version__
    assert "cpu" in facts["torch"]["devices"]
    assert re.fullmatch(r"\d+ GFLOP/s in fp32, \d+ in bf16", facts["torch"]["matrix products"])
    assert facts["torch"]["bf16"]
    assert facts["accelerate"]["configuration"].startswith("none")
    assert facts["plugins"]["coupling"].startswith(__version__)
    assert facts["plugins"][TINY].startswith("no distribution")
    assert facts["data"]["mnist"] == "1.5 KB in 1 files"
    assert facts["data"]["cache"].startswith("0 entries, 0 bytes; coupling cache lists them")
    assert facts["variables"]["COUPLING_DATA"] == str(tmp_path / "data")
    assert not [p for p in facts["problems"] if not p.startswith("data: only")]


def test_the_text_has_every_fact_of_the_document(command, doctor):
    facts = doctor()
    text = command("doctor").stdout
    for section, values in facts.items():
        if section != "problems":
            for name in values:
                assert f"\n  {name}: " in text
    assert "no problem was found" in text or "found; the lines above say how to fix them" in text


def test_a_plugin_that_fails_is_a_problem(doctor, plugin, installing):
    installing(broken=plugin("1 / 0"))
    facts = doctor()
    [problem] = [p for p in facts["problems"] if p.startswith("plugin")]
    assert problem.startswith("plugin broken: is left out: ZeroDivisionError")


def test_a_part_that_fails_hides_no_other(doctor, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1 / 0)
    facts = doctor()
    assert facts["torch"] == {}
    assert any(p.startswith("torch: cannot be read: ZeroDivisionError") for p in facts["problems"])
    assert facts["plugins"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("distributed_type: FSDP\nnum_processes: 2\n", "which cannot train a coupled GAN"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_configuration_of_accelerate_that_cannot_train_is_a_problem(doctor, tmp_path, text, problem):
    (tmp_path / "accelerate.yaml").write_text(text)
    assert any(problem in p for p in doctor()["problems"])


def test_a_configuration_of_accelerate_is_shown(doctor, tmp_path):
    (tmp_path / "accelerate.yaml").write_text("distributed_type: MULTI_GPU\nnum_processes: 2\n")
    facts = doctor()
    assert facts["accelerate"]["num_processes"] == 2
    assert not any(p.startswith("accelerate") for p in facts["problems"])


def test_a_data_directory_that_cannot_be_written_is_a_problem(doctor, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "file"))
    assert any(p.startswith("data: ") and "cannot be written" in p for p in doctor()["problems"])


def test_little_free_space_is_a_problem(doctor, monkeypatch):
    monkeypatch.setattr(diagnosis, "_LITTLE", 2**80)
    assert any("are free on the disk" in p for p in doctor()["problems"])


def test_extras_that_are_missing_are_named_with_the_command(doctor, monkeypatch):
    monkeypatch.setattr(
        diagnosis.importlib.metadata,
        "requires",
        lambda name: ["click>=8", 'nothere>=2; extra == "some"', 'click>=8; extra == "some"'],
    )
    assert doctor()["extras"]["some"].startswith("nothere missing, click ")
    assert doctor()["extras"]["some"].endswith(": pip install 'coupling-gan[some]'")


def test_a_plugin_that_cannot_be_loaded_is_one_message(command):
    rejected(command("doctor", "--plugin", "missing_module"), "--plugin missing_module")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (123_456, "123 KB"), (5e9, "5.0 GB"), (3e12, "3.0 TB")],
)
def test_sizes_are_written_for_people(count, text):
    assert diagnosis.size_text(count) == text


def test_a_size_counts_every_file_below(tmp_path):
    for name in ("a", "b/c", "b/d/e"):
        path = Path(tmp_path / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10))
    assert diagnosis._measure(tmp_path) == (3, 30)


@pytest.mark.parametrize(("half", "advice"), [(3.0e11, "training.precision: bf16"), (1.5e11, "train in fp32")])
def test_bf16_is_advised_where_its_matrix_products_are_faster(monkeypatch, half, advice):
    monkeypatch.setattr(device, "matrix_rate", lambda kind: half if kind == torch.bfloat16 else 1.0e11)
    found = diagnosis._torch([])
    assert found["matrix products"].startswith("100 GFLOP/s in fp32")
    assert advice in found["bf16"]
