"""The launch of a run: device and processes, by Accelerate."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import InitProcessGroupKwargs

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.config.sections import TrainingConfig
from coupling.errors import ConfigError, InputError, nearest
from coupling.system.distributed import PATIENCE
from coupling.system.launchers import launched_processes, set_by_accelerate

_WORKS = (
    "launch with accelerate launch --multi_gpu --num_processes N, on CPUs with "
    "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N"
)


_PARALLEL = {
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "MV2_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
    "SLURM_STEP_NUM_TASKS": "srun",
}
"""Variables in which launchers that do not connect their processes give the number of processes. SLURM_NTASKS is not
among them: it is also set in the batch script and the shell of an allocation, which run once."""


_SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}


def make_accelerator(config: Config) -> Accelerator:
    """Make the accelerator of this process. A launch that contradicts the configuration is an error.

    Raises:
        ConfigError: launcher and configuration contradict each other.
        InputError: one process in place of several, processes that do not know each other, or a way of
            sharding that cannot hold both generators and discriminators.
    """
    settings = config.training
    _check_sharding()
    _check_launch_settings(settings)
    _check_process_count()
    check_trackers(config.trackers)
    accelerator = Accelerator(
        mixed_precision="no",  # done here: generators and discriminators have a loss scale each
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    processes = accelerator.num_processes
    _check_connected(processes)
    Batch(settings.batch_size, processes, accumulate=settings.accumulate)
    return accelerator


def is_main_process() -> bool:
    """Whether this process prints the messages of the launch; known before the processes are connected."""
    return launched_processes() == 1 or os.environ["RANK"] == "0"


def check_trackers(names: Sequence[str]) -> None:
    """Raise :class:`ConfigError` for a tracker that Accelerate does not have, or that is not installed."""
    available = {str(kind) for kind in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(f"trackers: no tracker is called '{name}'; {nearest(name, LOGGER_TYPE_TO_CLASS)}")
        if name not in available:
            raise ConfigError(f"trackers: '{name}' is not installed; pip install {name}, or leave it out")


def _check_sharding() -> None:
    """Raise an error if Accelerate would shard: it shards one model with one optimizer, and a coupled GAN has two."""
    for variable, name in _SHARDING.items():
        if os.environ.get(variable, "false").lower() in ("true", "1"):
            raise InputError(
                f"launched with {name}: it shards one model with one optimizer, but a coupled GAN trains generators "
                "and discriminators with an optimizer and a buffer of gradients each; these networks fit on one "
                f"device, so divide the batch among more devices instead: {_WORKS} (docs/scaling.md)"
            )


def _check_launch_settings(settings: TrainingConfig) -> None:
    """Raise an error if the launcher asks for anything else than the configuration."""
    precision = {"no": "fp32"}.get(given := os.environ.get("ACCELERATE_MIXED_PRECISION", "no"), given)
    if precision not in ("fp32", settings.precision):
        raise ConfigError(
            f"training.precision: {settings.precision}, but launched with mixed precision {precision}; the "
            f"configuration decides: --set training.precision={precision}, or launch with --mixed_precision no"
        )
    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps not in ("1", str(settings.accumulate)):
        raise ConfigError(
            f"training.accumulate: {settings.accumulate}, but launched with {steps} accumulation steps; the "
            f"configuration decides: --set training.accumulate={steps}"
        )
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() != "no" and not settings.compile:
        raise ConfigError(
            "training.compile: false, but launched with a dynamo backend; the configuration decides: "
            "--set training.compile=true, or launch without it"
        )


def _check_process_count() -> None:
    """Raise an error for ``accelerate launch --cpu --num_processes N``, which starts one process.

    For several processes it sets MASTER_PORT. Where that was exported before, nothing is known.
    """
    if launched_processes() == 1 and set_by_accelerate("MASTER_PORT"):
        raise InputError(
            "launched for several processes, but Accelerate started only this one, as it does with --cpu: the others "
            f"would be missing without an error; {_WORKS}; for one process, --num_processes 1"
        )


def _check_connected(processes: int) -> None:
    """Raise an error if processes were started together but are not connected: each would train the run alone."""
    world = launched_processes()
    if world not in (1, processes):
        raise InputError(
            f"launched as {world} processes, but they are not connected (this one sees {processes}): each would train "
            f"alone; {_WORKS}"
        )
    # One copy of a launcher such as torchrun may start several processes; it gives the number of copies it found.
    members = _number(os.environ, "GROUP_WORLD_SIZE") or processes
    for variable, launcher in _PARALLEL.items():
        copies = 0 if variable.startswith("SLURM") and _in_terminal() else _number(os.environ, variable)
        if copies > members:
            raise InputError(
                f"started {copies} times by {launcher} ({variable}), but connected with "
                f"{members - 1 or 'none'} of the others: each would train the same run; on "
                f"one machine, leave {launcher} out and {_WORKS}; on several, let it start torchrun once on each "
                f"(docs/scaling.md); for independent runs, put env -u {variable} before "
                "the command"
            )


def _number(environment: Mapping[str, str], variable: str) -> int:
    """The number in a variable; 0 if there is none."""
    value = environment.get(variable, "")
    return int(value) if value.isascii() and value.isdigit() else 0


def _in_terminal() -> bool:
    """Whether this is a shell of ``srun --pty``: only the first task runs on, the others have ended."""
    return "SLURM_PTY_PORT" in os.environ and sys.stdin is not None and sys.stdin.isatty()
