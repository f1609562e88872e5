"""Runs that die where a test wants them to: each in a process of its own, forked from one that has imported torch.

``deaths.runs([...])`` does them one after the other and returns their exit codes. A run is a dict:

path, overrides, resume      what :func:`coupling.train` is given; ``tests/support/tiny_plugin.py``'s configuration
processes, rank              2: under a launcher, where this one dies (the exit code is the first dead process's)
step                         kill -9 in the middle of this step (from 1)
operation, at                kill -9 before the n-th file operation (from 0) of what follows the step ``at``
torn, at                     kill -9 when half of this file of the checkpoint of ``at`` is written
after                        kill -9 from outside after so many seconds

``deaths.looks([...])`` tells of each what it left: the exit code, the last step logged, the newest whole checkpoint,
the complaints about newer ones, and the number of unfinished ones.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import safetensors.torch
import torch.distributed as dist

from coupling.runs import checkpoint
from coupling.training.inputs import StepInputs
from coupling.training.recorder import Recorder
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny

_CHANGES = ("os.mkdir", "os.chmod", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def runs(jobs):
    """Do the runs in a small launcher; a process that was killed has the exit code -9."""
    return [left["code"] for left in looks(jobs)]


def looks(jobs, timeout=600):
    """Do the runs in a small launcher, and look at what each one leaves."""
    root = str(Path(__file__).parents[2])
    launch = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    environment = {k: v for k, v in os.environ.items() if k not in launch}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.support.killed_runs", json.dumps(jobs, default=str)],
        capture_output=True, text=True, timeout=timeout, check=False, cwd=root,
        env=environment | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def work(job):
    """One process of a run, prepared to die."""
    if job.get("rank", 0) == (dist.get_rank() if dist.is_initialized() else 0):
        if "step" in job:
            _die_in_step(job["step"])
        if "operation" in job:
            _die_at_operation(job["operation"], job["at"], job["path"])
        if "torn" in job:
            _die_in_file(job["torn"], job["at"])
    train(tiny.config(*job["overrides"]), job["path"], resume=job["resume"], plugins=tiny.plugins())


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


def _die_in_file(name, at):
    save_file = safetensors.torch.save_file

    def half(tensors, path, metadata):
        save_file(tensors, path, metadata)
        if path.name == name and f"{at:07d}" in path.parent.name:
            os.truncate(path, path.stat().st_size // 2)
            die()

    safetensors.torch.save_file = half


def _fork(job):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(job)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    if "after" in job:
        time.sleep(job["after"])
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _launch(job):
    from accelerate import debug_launcher
    from torch.multiprocessing import ProcessExitedException

    try:
        debug_launcher(work, (job,), num_processes=job["processes"])
    except ProcessExitedException as error:
        return error.exit_code
    return 0


def left(path, code):
    """What a run has left."""
    folder = Path(path) / "checkpoints"
    found, complaints = checkpoint.newest(folder) if folder.is_dir() else (None, [])
    return {
        "code": code,
        "progress": progress(path),
        "saved": found.step if found else 0,
        "complaints": complaints,
        "unfinished": len(list(folder.glob(".step-*.tmp"))),
    }


def progress(path):
    """Last step that metrics.jsonl tells of, 0 for none."""
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
    for job in json.loads(sys.argv[1]):
        code = _launch(job) if job.get("processes", 1) > 1 else _fork(job)
        print(json.dumps(left(job["path"], code)), flush=True)
