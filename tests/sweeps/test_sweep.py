"""Sweeps that run: several runs at once, killed, failing, resumed to the tables of an uninterrupted sweep."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from coupling.errors import InputError
from coupling.system.file_lock import RunLock, check_not_in_use
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny
from tests.sweeps.test_grid import AXES

TABLES = ("table.md", "table.csv", "runs.csv")
STEPS = 24
PAUSE = 1.0
"""Seconds a step takes at least until there is a file ``hurry``: time to be killed in, on a busy machine too."""


def write(folder, *changes, hurry=True, **sweep):
    """A sweep of tests/support/tiny_plugin.py's configuration in ``folder``: two cells, two seeds."""
    if hurry:
        (folder / "hurry").touch()
    plain = tiny.values(
        "metrics=[{name: brightness, every: 5}]",
        f"losses=[non-saturating, {{name: slow, seconds: {PAUSE}, until: '{folder / 'hurry'}'}}]",
        *map("training.{}".format, (f"steps={STEPS}", "log_every=1", "sample_every=100", "checkpoint_every=7")),
        *changes,
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    values = {"name": "s", "base": "tiny.yaml", "axes": {"generator": AXES["generator"]}, "seeds": [0, 1], **sweep}
    (folder / "s.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def start(folder, *arguments, **environment):
    """``coupling sweep`` in a process of its own."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "coupling", "sweep", "s.yaml", "--plugin", TINY, *map(str, arguments)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": path, "COUPLING_DATA": str(folder / "data"), **environment},
    )  # fmt: skip


def end(process, timeout=300):
    """Output and exit code."""
    out, err = process.communicate(timeout=timeout)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def folders(folder):
    return sorted(path.parent for path in Path(folder, "sweeps/s/runs").glob("**/config.yaml"))


def steps(path):
    """Steps that a run has logged, each once as it went on where its checkpoint was."""
    lines = Path(path, "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines if '"loss/' in line]


def until(condition, timeout=240):
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout
        time.sleep(0.02)


def in_use(path):
    try:
        check_not_in_use(path)
    except InputError:
        return True
    return False


def training(folder, least):
    """Runs that have logged ``least`` steps and go on."""
    found = []
    for path in folders(folder):
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            if in_use(path) and least <= len(steps(path)) < STEPS - 4:
                found.append(path)
    return found


def pid(path):
    return json.loads((path / ".lock").read_text())["pid"]


def tables(folder):
    return {name: Path(folder, "sweeps/s", name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that nothing happened to, two runs at once; what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    write(folder)
    code, out, err = end(start(folder, "--jobs", 2))
    assert code == 0, err
    return folder, out, err


def test_a_sweep_runs_every_cell_and_seed_and_prints_their_scores(whole):
    folder, out, err = whole
    table = (folder / "sweeps/s/table.md").read_text()
    assert out == f"{table}\nsweeps/s\n"
    assert "s: 4 of 4 runs to do, in sweeps/s" in err
    rows = list(csv.DictReader(io.StringIO((folder / "sweeps/s/runs.csv").read_text())))
    assert [(r["generator"], r["seed"], r["metric"]) for r in rows] == [
        (g, s, "brightness/a") for g in ("1", "1-2") for s in ("0", "1")
    ]
    for row in rows:
        run = folder / f"sweeps/s/runs/generator={row['generator']}/seed-{row['seed']}"
        measured = {}
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
            if "brightness/a" in line:
                measured[line["step"]] = line["brightness/a"]
        assert list(measured) == [5, 10, 15, 20, STEPS]
        best = max(measured, key=measured.get)
        assert int(row["best_step"]) == best
        assert float(row["best"]) == pytest.approx(measured[best], rel=1e-4)
        assert float(row["last"]) == pytest.approx(measured[STEPS], rel=1e-4)
        assert int(row["last_step"]) == STEPS
        assert f"generator={row['generator']}, seed {row['seed']}: finished in " in err
        assert (run.parent / f"{run.name}.log").read_text().startswith("$ coupling run ")
    for column in ("1", "1-2"):
        values = [float(r["last"]) for r in rows if r["generator"] == column]
        mean, half = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
        assert f"{mean:.4f} ± {half:.4f}" in table
    with Image.open(folder / "sweeps/s/figure.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert len(picture.getcolors(1 << 20)) > 20


def test_two_runs_are_active_at_once_and_the_seeds_alternate(whole):
    err = whole[2]
    events = re.findall(r"^generator=(\S+), seed (\d): (started|finished)", err, re.MULTILINE)
    assert [event[2] for event in events[:3]] == ["started", "started", "finished"]
    assert [event[:2] for event in events if event[2] == "started"] == [
        ("1", "0"),
        ("1-2", "0"),
        ("1", "1"),
        ("1-2", "1"),
    ]
    most = now = 0
    for event in events:
        now += {"started": 1, "finished": -1}[event[2]]
        most = max(most, now)
    assert most == 2


def test_finished_runs_are_not_run_again(whole):
    folder = whole[0]
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (folder / "sweeps/s/runs").rglob("*") if p.is_file()}
    made = tables(folder)
    for name in TABLES:
        (folder / "sweeps/s" / name).unlink()
    code, out, err = end(start(folder))
    assert code == 0, err
    assert "0 of 4 runs to do" in err
    assert tables(folder) == made
    assert out == whole[1]
    for path, (content, changed) in before.items():
        assert path.read_bytes() == content
        assert path.stat().st_mtime_ns == changed
    assert {p for p in (folder / "sweeps/s/runs").rglob("*") if p.is_file()} == set(before)


def test_the_sweeps_own_file_runs_again_without_matplotlib_too(whole, command, tmp_path, monkeypatch):
    shutil.copytree(whole[0] / "sweeps", tmp_path / "sweeps")
    for name in (*TABLES, "figure.png"):
        (tmp_path / "sweeps/s" / name).unlink()
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    again = command("sweep", "sweeps/s/sweep.yaml", "--plugin", TINY)
    assert again.exit_code == 0, again.output
    assert again.stdout == whole[1]
    assert "0 of 4 runs to do" in again.stderr
    assert "sweeps/s/figure.png is not drawn: matplotlib is not installed; pip install" in again.stderr
    assert tables(tmp_path) == tables(whole[0])
    assert {p.name for p in Path("sweeps/s").iterdir()} == {"runs", "sweep.yaml", *TABLES}


def test_a_sweep_killed_at_any_moment_resumes_to_the_same_tables(whole, tmp_path):
    """kill -9 of a run, then of the sweep; its runs save and end; the same command goes on, and nothing differs."""
    write(tmp_path, hurry=False)
    sweep = start(tmp_path, "--jobs", 2)
    try:
        until(lambda: len(training(tmp_path, 9)) == 2)
        one, other = training(tmp_path, 9)
        os.kill(pid(one), signal.SIGKILL)
        until(lambda: not in_use(one))
        until(lambda: len(folders(tmp_path)) == 3)  # the sweep goes on with another
        until(lambda: any(path not in (one, other) for path in training(tmp_path, 2)))
    finally:
        sweep.kill()
        code, _, err = end(sweep)
    assert code == -signal.SIGKILL
    assert re.search(r"seed 0: failed: ended by SIGKILL; memory may have run out \(sweeps/s/runs/.*seed-0\.log\)", err)
    begun = folders(tmp_path)
    until(lambda: not any(map(in_use, begun)))  # only the closed pipe tells them
    (tmp_path / "hurry").touch()
    states = {p: json.loads((p / "summary.json").read_text()) for p in begun}
    assert states[one]["status"] == "running"
    assert all(s["status"] in ("interrupted", "finished") for p, s in states.items() if p != one)
    assert any(s["status"] == "interrupted" and 0 < s["step"] < STEPS for s in states.values())
    code, out, err = end(start(tmp_path, "--jobs", 2))
    assert code == 0, err
    assert "resumed after step" in err
    assert tables(tmp_path) == tables(whole[0])
    assert out == whole[1]
    for path in folders(tmp_path):
        assert steps(path) == list(range(1, STEPS + 1))
    assert len(folders(tmp_path)) == 4


def test_a_signal_ends_the_runs_after_they_have_saved(whole, tmp_path):
    write(tmp_path, hurry=False)
    sweep = start(tmp_path, "--jobs", 1, "--only", "generator=1")
    try:
        until(lambda: training(tmp_path, 3))
    finally:
        sweep.send_signal(signal.SIGTERM)
        code, out, err = end(sweep)
    (tmp_path / "hurry").touch()
    assert (code, out) == (143, "")
    assert "SIGTERM: 0 of 2 runs are finished, the others saved in sweeps/s; the same command continues" in err
    assert "failed" not in err
    [run] = folders(tmp_path)
    assert not in_use(run)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert len(steps(run)) == summary["step"] >= 3
    assert not in_use(tmp_path / "sweeps/s")
    code, out, err = end(start(tmp_path, "--jobs", 2, "--only", "generator=1"))
    assert code == 0, err
    assert f"generator=1, seed 0: started, resumed after step {summary['step']}" in err
    [expected] = [row for row in whole[1].splitlines() if row.startswith("| 1 |")]
    assert expected in out.splitlines()  # one row of the two


@pytest.fixture
def sweep(command, tmp_path):
    """``sweep(["--jobs", 1], "training.steps=2", seeds=[0])`` in this process, its runs in theirs."""

    def run(arguments=(), *changes, **values):
        write(tmp_path, "losses=[non-saturating]", "training.steps=6", *changes, **values)
        return command("sweep", "s.yaml", "--plugin", TINY, *arguments)

    return run


def test_a_run_that_fails_stops_no_other_and_is_named(sweep):
    axes = {"breaks": {"no": {}, "yes": {"losses.1": {"name": "breaking", "step": 2}}}}
    result = sweep([], axes=axes, seeds=[0])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    message = result.stderr.partition("error: ")[2]
    assert message.startswith("1 of 2 runs failed; fix the causes, and the same command continues with these runs:\n")
    assert "breaks=yes, seed 0: loss/generator" in message.replace("step 2: ", "")
    assert "(sweeps/s/runs/breaks=yes/seed-0.log)" in message
    assert "breaks=no" not in message
    assert "\n| no | " in result.stdout  # what there is, is shown
    assert "over 1 seed;" in result.stdout
    again = sweep(["--only", "breaks=no"], axes=axes, seeds=[0])
    assert again.exit_code == 0
    assert again.stdout == result.stdout


def test_a_changed_cell_is_run_anew_beside_the_old_and_the_others_are_kept(sweep, command):
    one = {"generator": AXES["generator"]}
    assert sweep([], axes=one, seeds=[0]).exit_code == 0
    kept, old = Path("sweeps/s/runs/generator=1/seed-0"), Path("sweeps/s/runs/generator=1-2/seed-0")
    before = {p: p.read_bytes() for run in (kept, old) for p in run.rglob("*") if p.is_file()}
    first = tables(".")
    other = {"generator": {**AXES["generator"], "1-2": {**AXES["generator"]["1-2"], "optimizer.lr": 0.5}}}
    dry = sweep(["--dry-run"], axes=other, seeds=[0])
    assert re.search(r"generator=1-2, seed 0 +new .*seed-0-2 +has changed: optimizer.lr: 0.01 -> 0.5", dry.stdout)
    assert re.search(r"generator=1, seed 0 +finished ", dry.stdout)
    result = sweep([], axes=other, seeds=[0])
    assert result.exit_code == 0, result.output
    assert "1 of 2 runs to do" in result.stderr
    assert "1 of them were run before with another configuration" in result.stderr
    assert "optimizer.lr: 0.01 -> 0.5" in result.stderr
    assert {p: p.read_bytes() for p in before} == before
    assert "lr: 0.5" in Path(f"{old}-2/config.yaml").read_text()
    assert tables(".") != first
    back = sweep([], axes=one, seeds=[0])  # the earlier file finds the earlier runs
    assert "0 of 2 runs to do" in back.stderr
    assert tables(".") == first
    intervals = sweep(["--dry-run", "--set", "training.checkpoint_every=2"], axes=one, seeds=[0])
    assert intervals.stdout.count(" finished ") == 2
    measured = sweep(["--dry-run", "--set", "metrics.0.every=2"], axes=one, seeds=[0])  # another grid of iterations
    assert measured.stdout.count(" new ") == 2
    fewer = sweep(["--dry-run", "--set", "training.steps=3"], axes=one, seeds=[0])
    assert fewer.stdout.count("has changed: training.steps: 6 -> 3") == 2
    more = sweep(["--set", "training.steps=9", "--only", "generator=1"], axes=one, seeds=[0])
    assert more.exit_code == 0, more.output
    assert "generator=1, seed 0: started, resumed after step 6" in more.stderr
    assert len(steps(kept)) == 9


def test_a_metric_that_no_run_measures_is_an_error_before_any_run(sweep):
    rejected(
        sweep([], axes={}, seeds=[0], metric="brightness/b"),
        "metric: no run measures 'brightness/b'; did you mean 'brightness/a'?",
    )
    assert not Path("sweeps").exists()


def test_a_baseline_that_no_run_measured_costs_no_run(sweep):
    assert sweep([], axes={}, seeds=[0]).exit_code == 0
    result = sweep([], axes={}, seeds=[0], metric="brightness/a", baselines=["nope"])
    assert "baselines: no run measured brightness/a/nope; beside their metrics the runs measured: " in result.stderr
    assert result.exit_code == 0, result.output
    assert "0 of 1 runs to do" in result.stderr
    assert "brightness/a" in result.stdout


def test_a_run_resumes_after_its_newest_checkpoint(sweep):
    changes = ("training.log_every=5", "training.checkpoint_every=2", "training.keep_checkpoints=9")
    assert sweep([], *changes, axes={}, seeds=[0]).exit_code == 0
    run = Path("sweeps/s/runs/seed-0")
    (run / "summary.json").unlink()
    for step in (5, 6):  # 5: the metric's best
        shutil.rmtree(run / f"checkpoints/step-{step:07d}", ignore_errors=True)
    dry = sweep(["--dry-run"], *changes, axes={}, seeds=[0])
    assert re.search(r"seed 0 +unfinished +4 of 6 ", dry.stdout), dry.stdout


def test_other_data_make_another_run(sweep, plugin):
    assert sweep([], axes={}, seeds=[0]).exit_code == 0
    path = Path("sweeps/s/runs/seed-0/environment.json")
    environment = json.loads(path.read_text())
    path.write_text(json.dumps({**environment, "data": {**environment["data"], "a": "other"}}))
    Path("sweeps/s/runs/seed-0/summary.json").write_text("{}")  # else nothing is to be done, and no data are read
    result = sweep([], axes={}, seeds=[0])
    assert result.exit_code == 0, result.output
    assert "data of domains.a: other -> tiny:pool" in result.stderr
    assert Path("sweeps/s/runs/seed-0-2/summary.json").is_file()


def test_a_run_killed_before_its_first_file_is_begun_again(sweep):
    bare = Path("sweeps/s/runs/seed-0")
    (bare / "samples").mkdir(parents=True)
    (bare / "checkpoints").mkdir()
    (bare / ".lock").write_text("{}")
    (bare / ".config.yaml.123.tmp").write_text("na")
    Path("sweeps/s/.sweep.yaml.123.tmp").write_text("na")
    strange = Path("sweeps/s/runs/seed-1")
    strange.mkdir()
    (strange / "notes.txt").write_text("mine")
    Path("sweeps/s/sweep.yaml").write_text("name: s\n")
    result = sweep([], axes={})
    assert result.exit_code == 0, result.output
    assert json.loads((bare / "summary.json").read_text())["status"] == "finished"
    assert [p.name for p in strange.iterdir()] == ["notes.txt"]
    assert Path("sweeps/s/runs/seed-1-2/summary.json").is_file()
    assert not Path("sweeps/s/.sweep.yaml.123.tmp").exists()


def test_directories_of_something_else_are_errors(sweep, tmp_path):
    Path("full").mkdir()
    Path("full/x").touch()
    Path("file").touch()
    Path("other").mkdir()
    Path("other/sweep.yaml").write_text("name: t\n")
    for dry in ([], ["--dry-run"]):
        rejected(sweep([*dry, "--output", "full"]), "full: exists already and is not a sweep's directory; give another")
        rejected(sweep([*dry, "--output", "file"]), "file: is a file; give another --output")
        rejected(sweep([*dry, "--output", "other"]), "other: holds the sweep 't', not 's'; give another --output")
    Path("mine").mkdir()
    Path("mine/sweep.yaml").write_text("name: s\n")
    lock = RunLock(Path("mine"))
    rejected(sweep(["--output", "mine"]), f"mine: in use by process {os.getpid()}")
    assert sweep(["--output", "mine", "--dry-run"]).exit_code == 0
    lock.release()
    assert Path("other/sweep.yaml").read_text() == "name: t\n"


def test_the_sweep_waits_for_a_run_of_another_process(sweep, monkeypatch):
    run = Path("sweeps/s/runs/seed-0")
    run.mkdir(parents=True)
    Path("sweeps/s/sweep.yaml").write_text("name: s\n")
    lock = RunLock(run)
    sleep, slept = time.sleep, []

    def release(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            lock.release()
        sleep(0.1)

    monkeypatch.setattr("coupling.sweeps.queue.time.sleep", release)
    result = sweep([], axes={}, seeds=[0])
    assert result.exit_code == 0, result.output
    assert slept[:2] == [1.0, 1.0]
    assert "seed 0: waiting for another process that still works on it" in result.stderr


def test_a_full_disk_ends_the_sweep_with_a_message(sweep, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("coupling.sweeps.queue.write_text", full)
    result = sweep([], axes={}, seeds=[0])
    assert result.exit_code == 1
    assert "seed-0.yaml: cannot be written: No space left on device; free disk space" in result.stderr
    assert not in_use(Path("sweeps/s"))
