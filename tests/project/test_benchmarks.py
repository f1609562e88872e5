"""The unattended program that trains the examples: it trains, is interrupted, resumes, measures, and goes on."""

import json
import subprocess
import sys

from click.testing import CliRunner

from tests.benchmarks import examples


def run(folder, *arguments):
    result = CliRunner().invoke(examples.main, ["--output", str(folder), *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output, json.loads((folder / "results.json").read_text())


def test_an_example_that_cannot_be_trained_leaves_out_its_row_alone(tmp_path, monkeypatch):
    for name in ("digits-edges", "conditional-a"):
        monkeypatch.setitem(examples.ROWS, name, examples.Row(f"{name}.yml", 1))
    output, found = run(
        tmp_path / "runs", "--only", "digits-edges", "--only", "conditional-a", "--minutes", "20"
    )  # more than it needs
    assert list(found) == ["digits-edges", "conditional-a"]
    assert all(f"{name}.yml" in row["error"] for name, row in found.items())
    assert output.count("| digits-edges | – | – |") == 2  # the table is printed after each


def test_results_are_those_of_the_run_or_of_its_last_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 50, "seconds": 2.0}\n{"step": 60, "pixel-agreement/a/b": 0.5}\n{"step": 150, "seconds": 4.5}\n'
    )
    summary = {"status": "finished", "step": 150, "steps": 150, "last": {"pixel-agreement/a/b": 0.5}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    expected = {"step": 150, "of": 150, "milliseconds": 25.0, "scores": {"pixel-agreement/a/b": 0.5}}
    assert examples.results(tmp_path) == expected

    def measured(command, **_):
        assert command == [sys.executable, "-m", "coupling", "evaluate", str(tmp_path), "--json"]
        return subprocess.CompletedProcess(command, 0, '{"scores": {"pixel-agreement/a/b": 0.75}}', "")

    monkeypatch.setattr(subprocess, "run", measured)
    (tmp_path / "summary.json").write_text(json.dumps({**summary, "status": "interrupted", "steps": 400}))
    assert examples.results(tmp_path) == {**expected, "of": 400, "scores": {"pixel-agreement/a/b": 0.75}}
    assert "| a | 150 of 150 | 25.0 | pixel-agreement/a/b 0.500 |" in examples.table({"a": expected})


def test_every_row_is_an_example_whose_settings_are_valid():
    from coupling.api import load_config

    for row in examples.ROWS.values():
        load_config(examples.EXAMPLES / row.example, list(row.settings))
