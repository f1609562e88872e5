"""Runs that are killed at a chosen moment: each in a process of its own, forked from one that has imported torch.

``outcomes([KilledRun(...), ...])`` does the runs one after the other, and returns what each one left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch.distributed as dist

from coupling.runs import checkpoint
from coupling.training.inputs import StepInputs
from coupling.training.recorder import Recorder
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny

_CHANGES = ("os.mkdir", "os.chmod", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


@dataclass(frozen=True)
class KilledRun:
    """A run of the tiny plugin's configuration, and the moment at which it is killed; without one it ends by itself."""

    path: Path
    overrides: tuple[str, ...]
    resume: bool = False
    processes: int = 1
    """2: under a launcher."""
    rank: int = 0
    """The process that is killed."""
    in_step: int | None = None
    """``kill -9`` in the middle of this step (from 1)."""
    operation: int | None = None
    """``kill -9`` before this file operation (from 0) of the end of step ``at``."""
    behind: bool = False
    """The operation is one of the thread that writes the checkpoint, which waits until the next step has begun."""
    torn_file: str | None = None
    """``kill -9`` when half of this file of the checkpoint of step ``at`` is written."""
    at: int = 0
    after_seconds: float | None = None
    """``kill -9`` from outside after this time."""


@dataclass(frozen=True)
class Outcome:
    """What a run left."""

    code: int
    """Its exit code; -9 if it was killed. Under a launcher that of the first process that died."""
    progress: int
    """The last step in metrics.jsonl."""
    saved: int
    """The step of the newest intact checkpoint."""
    complaints: list[str]
    """Messages about newer checkpoints that are damaged."""
    unfinished: int
    """Number of checkpoints that are not finished."""


def codes(runs: list[KilledRun]) -> list[int]:
    """Do the runs; the exit code of each."""
    return [outcome.code for outcome in outcomes(runs)]


def outcomes(runs: list[KilledRun], timeout: int = 600) -> list[Outcome]:
    """Do the runs in a small launcher; the outcome of each."""
    root = str(Path(__file__).parents[2])
    launch = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    environment = {k: v for k, v in os.environ.items() if k not in launch}
    jobs = json.dumps([asdict(run) for run in runs], default=str)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.support.killed_runs", jobs],
        capture_output=True, text=True, timeout=timeout, check=False, cwd=root,
        env=environment | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    return [Outcome(**json.loads(line)) for line in ended.stdout.splitlines()]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def work(run: KilledRun) -> None:
    """One process of a run, prepared to die."""
    if run.rank == (dist.get_rank() if dist.is_initialized() else 0):
        if run.in_step is not None:
            _die_in_step(run.in_step)
        if run.operation is not None:
            (_die_behind if run.behind else _die_at_operation)(run.operation, run.at, run.path)
        if run.torn_file is not None:
            _die_in_file(run.torn_file, run.at)
    train(tiny.config(*run.overrides), run.path, resume=run.resume, plugins=tiny.plugins())


def _die_in_step(number):
    one_step = StepInputs.take_step

    def take_step(inputs, step, *rest):
        losses = one_step(inputs, step, *rest)
        if step == number - 1:
            die()
        return losses

    StepInputs.take_step = take_step


def _die_at_operation(number, at, path):
    left = [number + 1]
    now = {"active": False}
    save, one_step = Recorder.save, StepInputs.take_step

    def saving(recorder):
        now["active"] = recorder.step == at
        save(recorder)

    def stepping(*arguments):
        now["active"] = False
        return one_step(*arguments)

    def hook(event, arguments):
        if now["active"] and (event in _CHANGES or (event == "open" and str(arguments[0]).startswith(str(path)))):
            left[0] -= 1
            if left[0] == 0:
                die()

    Recorder.save, StepInputs.take_step = saving, stepping
    sys.addaudithook(hook)


def _die_behind(number, at, path):
    left = [number + 1]
    begun = threading.Event()
    write, one_step = checkpoint.Snapshot.write, StepInputs.take_step

    def waiting(snapshot, folder):
        if snapshot.step == at:
            assert begun.wait(60)
        return write(snapshot, folder)

    def stepping(inputs, step, *rest):
        if step == at:
            begun.set()
        return one_step(inputs, step, *rest)

    def hook(event, arguments):
        name = threading.current_thread().name
        if begun.is_set() and name == "coupling-checkpoint" and (event in _CHANGES or event == "open"):
            left[0] -= 1
            if left[0] == 0:
                die()

    checkpoint.Snapshot.write, StepInputs.take_step = waiting, stepping
    sys.addaudithook(hook)


def _die_in_file(name, at):
    save_file = safetensors.torch.save_file

    def half(tensors, path, metadata):
        save_file(tensors, path, metadata)
        if path.name == name and f"{at:07d}" in path.parent.name:
            os.truncate(path, path.stat().st_size // 2)
            die()

    safetensors.torch.save_file = half


def _fork(run: KilledRun) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(run)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    if run.after_seconds is not None:
        time.sleep(run.after_seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _launch(run: KilledRun) -> int:
    from accelerate import debug_launcher
    from torch.multiprocessing import ProcessExitedException

    try:
        debug_launcher(work, (run,), num_processes=run.processes)
    except ProcessExitedException as error:
        return error.exit_code
    return 0


def outcome_of(path: Path, code: int) -> Outcome:
    """What the run at ``path`` left."""
    folder = Path(path) / "checkpoints"
    found, complaints = checkpoint.newest(folder) if folder.is_dir() else (None, [])
    return Outcome(
        code=code,
        progress=progress(path),
        saved=found.step if found else 0,
        complaints=complaints,
        unfinished=len(list(folder.glob(".step-*.tmp"))),
    )


def progress(path):
    """Last step in metrics.jsonl, 0 for none."""
    try:
        rows = (Path(path) / "metrics.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return 0
    steps = [0]
    for row in rows:
        try:
            steps.append(json.loads(row)["step"])
        except ValueError:
            assert row == rows[-1]  # a torn line is the last one
    return max(steps)


def everything(found: checkpoint.Checkpoint):
    """All tensors of a checkpoint."""
    return found.model() | {f"state.{name}": tensor for name, tensor in found.state().items()}


if __name__ == "__main__":
    import torch._dynamo  # noqa: F401  (as the first step of an optimizer would: once, not in every process)

    tiny.plugins()
    for values in json.loads(sys.argv[1]):
        run = KilledRun(**values | {"path": Path(values["path"])})
        code = _launch(run) if run.processes > 1 else _fork(run)
        print(json.dumps(asdict(outcome_of(run.path, code))), flush=True)
