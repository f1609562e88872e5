"""Resuming: the run that --resume continues, and checks that it fits a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from coupling.config.config import Config, read_config
from coupling.config.registry import Registry
from coupling.config.yaml_text import in_yaml
from coupling.errors import InputError
from coupling.runs import checkpoint
from coupling.runs.directory import MARKER, RunDirectory, latest_numbers
from coupling.runs.metrics_log import read_log

MAY_CHANGE = (
    "training.steps",
    "training.prefetch",
    "training.log_every",
    "training.sample_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "trackers",
    "metrics",
)
"""Keys that may differ when a run is resumed: they do not change what is learned at a step."""

_PLACE = re.compile(r"domains\.[^.]+\.dataset\.path: ")
"""A data set that was moved. Its fingerprint decides whether it is the same."""


def may_differ(line: str, keys: tuple[str, ...] = MAY_CHANGE) -> bool:
    """Whether a run can be resumed in spite of a line of :func:`differences`."""
    return line.startswith(keys) or _PLACE.match(line) is not None


def run_to_resume(config: Config, output: Path | None, registry: Registry) -> RunDirectory:
    """The run to resume: ``output``, or the newest of this configuration under runs/.

    Raises :class:`InputError` if there is none, or it was made with another configuration.
    """
    if output is None:
        runs = Path("runs")
        numbers = latest_numbers(runs, config.name) if runs.is_dir() else []
        if not numbers:
            raise InputError(f"--resume: there is no run of '{config.name}' under {runs}/ yet; leave --resume out")
        newest_first = [runs / f"{config.name}-{number:03d}" for number in sorted(numbers, reverse=True)]
        fitting = (path for path in newest_first if _is_run(path) and not _changes(path, config, registry))
        output = next(fitting, newest_first[0])
    if not _is_run(output):
        raise InputError(f"--resume: {output} is not a run directory ({MARKER} is missing)")
    changes = _changes(output, config, registry)
    if changes:
        raise InputError(
            f"--resume: {output} was made with another configuration:\n  "
            + "\n  ".join(changes)
            + "\nundo the changes, name another run with --output, or start a new one without --resume"
        )
    return RunDirectory(output, config)


def check_checkpoints_kept(run: RunDirectory, registry: Registry) -> None:
    """Raise :class:`InputError` if a run has saved checkpoints, but has none: it would be overwritten."""
    try:
        if any(path.name.startswith("step-") for path in run.checkpoints.iterdir()):
            return  # a damaged one is an error of its own
    except FileNotFoundError:
        pass
    except OSError:
        return  # a folder that cannot be read, too
    summary = run.read_json("summary.json")
    every = read_config(run.path / MARKER, (), registry).training.checkpoint_every
    step, status = summary.get("step", 0), summary.get("status")
    logged = max((line["step"] for line in read_log(run.path)), default=0)
    # A run that fails at the step of a checkpoint may not have saved it; later steps come after it.
    passed = max(step, logged) > every or (step == every and status == "running")
    if passed or (step > 0 and status in ("finished", "interrupted")):
        raise InputError(
            f"--resume: {run.path} has trained {max(step, logged):,} steps, but its checkpoints are gone from "
            f"{run.checkpoints}; restore one, or start a new run without --resume"
        )


def is_finished(run: RunDirectory) -> bool:
    """Whether a run has finished its last step and has an intact checkpoint of it."""
    summary = run.read_json("summary.json")
    steps = run.config.training.steps
    if summary.get("status") != "finished" or summary.get("step") != steps:
        return False
    found, _ = checkpoint.newest(run.checkpoints)
    return found is not None and found.step == steps


def _is_run(path: Path) -> bool:
    try:
        return (path / MARKER).is_file()
    except OSError as error:  # a folder that may not be entered
        raise InputError(f"--resume: {path}: cannot be read: {error.strerror}; fix its permissions") from None


def _changes(run: Path, config: Config, registry: Registry) -> list[str]:
    """Differences of a run's configuration from ``config`` in keys that must not change."""
    before = read_config(run / MARKER, (), registry)
    return [line for line in differences(before, config) if not may_differ(line)]


def check_same_data(run: RunDirectory, data: Mapping[str, Sequence[str]]) -> None:
    """Raise :class:`InputError` if a domain's data are not those that the run began with.

    ``data``: the fingerprint of each domain, then other forms of it that mean the same samples. A run on
    other samples would be another run.
    """
    changes = data_changes(run.read_json("environment.json").get("data", {}), data)
    if changes:
        raise InputError(
            f"--resume: {run.path} was trained on other data:\n  "
            + "\n  ".join(changes)
            + "\nrestore the data, or start a new run without --resume"
        )


def data_changes(before: Mapping[str, str], data: Mapping[str, Sequence[str]]) -> list[str]:
    """Domains whose data are not those of a record, one a line: ``domains.name: before -> after``.

    ``data``: as in :func:`check_same_data`. Domains that the record does not name are left out.
    """
    changes = []
    for name, forms in data.items():
        recorded = before.get(name, forms[0])
        if recorded not in forms:
            others = [other for other in data if other != name and before.get(other) in forms]
            reason = f" (the data of domain '{others[0]}')" if others else ""
            reason += _BY_PLACE if re.search(r":part\d+of\d+$", recorded) else ""
            changes.append(f"domains.{name}: {abbreviated(recorded)} -> {abbreviated(forms[0])}{reason}")
    return changes


def abbreviated(fingerprint: str) -> str:
    """A fingerprint whose digests are cut to eight characters."""
    return ":".join(part[:8] if len(part) == 64 else part for part in fingerprint.split(":"))


_BY_PLACE = (
    "\n    (an earlier version of coupling made this record. It cut a data set with named samples by the path of its "
    "folder, so the samples of this domain cannot be found again)"
)


def differences(before: Config, after: Config) -> list[str]:
    """Keys whose values differ, one a line: ``key: before -> after``."""
    old, new = flat_settings(before), flat_settings(after)
    keys = dict.fromkeys([*old, *new])
    orders = list(before.domains), list(after.domains)
    if orders[0] != orders[1] and set(orders[0]) == set(orders[1]):  # the same keys, but other weights and streams
        return [f"domains: {', '.join(orders[0])} -> {', '.join(orders[1])}, in another order"]
    return [f"{k}: {in_yaml(old.get(k))} -> {in_yaml(new.get(k))}" for k in keys if old.get(k) != new.get(k)]


def flat_settings(config: Config) -> dict[str, Any]:
    """Every value of a configuration by its path: {"training.steps": 1000, ...}."""
    return flat_values(config.plain())


def flat_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values by their path; lists stay whole."""
    return dict(_flat(values))


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, values
