"""The grid of a sweep: a configuration, axes over it and seeds, and the runs that these make."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field

from coupling.config.config import Config, Name, build_config
from coupling.config.inheritance import complete
from coupling.config.overrides import assign, keys_of, override, parse_assignment
from coupling.config.validation import Model, describe
from coupling.config.yaml_text import dump_yaml, parse_yaml, read_text
from coupling.errors import ConfigError, nearest
from coupling.plugins import Plugins
from coupling.system.file_names import file_name

_LONGEST = 60


def _check_path_part(value: str) -> str:
    """Check an axis or label: it names a folder and is given as AXIS=LABEL."""
    if not value or len(value) > _LONGEST or not value.isprintable() or "/" in value or value != value.strip():
        raise ValueError(f"an axis or label has 1 to {_LONGEST} printable characters and no /, none blank at its ends")
    return value


def _axis_name(value: str) -> str:
    if "=" in value or value == "seed":
        raise ValueError("an axis has no = in its name and is not called seed; the seeds have their own key")
    return _check_path_part(value)


def _labelled(value: Any) -> Any:
    """Turn an axis that is a list of values, of the key that it is called after, into labels with assignments."""
    if not isinstance(value, Mapping):
        return value
    return {name: _labels(name, axis) if isinstance(axis, list) else axis for name, axis in value.items()}


def _labels(path: str, values: list[Any]) -> dict[str, dict[str, Any]]:
    labels = [v if isinstance(v, str) else json.dumps(v, separators=(",", ":")) for v in values]
    for number, label in enumerate(labels):
        if label in labels[:number]:
            raise ValueError(f"axis '{path}' lists {label} twice")
    return {label: {path: value} for label, value in zip(labels, values, strict=True)}


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is given twice")
    return seeds


Label = Annotated[str, AfterValidator(_check_path_part)]


AxisName = Annotated[str, AfterValidator(_axis_name)]


Assignments = dict[str, Any]


Axis = Annotated[dict[Label, Assignments], Field(min_length=1)]


Seed = Annotated[int, Field(ge=0, lt=2**63)]


class SweepConfig(Model):
    """A grid and seeds over the configuration of a run."""

    name: Name = Field(description="the sweep's name, and its directory's: sweeps/NAME")
    base: str | dict[str, Any] = Field(
        description="the configuration of a run: a file, found from the sweep's own folder, or its keys"
    )
    set: Assignments = Field({}, description="values of keys of all runs: {training.steps: 1500}")
    axes: Annotated[dict[AxisName, Axis], BeforeValidator(_labelled)] = Field(
        {},
        description="axes by name: labels, each with the values of keys that it stands for, or a list of values of the "
        "key that the axis is called after; the last axis gives the columns of the table",
    )
    seeds: Annotated[list[Seed], AfterValidator(_distinct)] = Field(
        [0], min_length=1, description="seeds; every cell of the grid is run with each"
    )
    metric: str | None = Field(
        None, description="flat name of the table's metric, one that all runs measure; default: their first"
    )
    baselines: list[str] = Field(
        ["unrelated", "constant", "true-pairs"],
        description="floors and other values beside the metric that the table and figure show: METRIC/unrelated",
    )


@dataclass(frozen=True)
class GridRun:
    """One run of a sweep: a cell of the grid, with a seed."""

    labels: tuple[str, ...]
    """One label of each axis, in the axes' order."""
    seed: int
    config: Config
    folder: Path
    """Its directory in the sweep's; a number is added if a run of an earlier configuration is there."""
    title: str
    """Its name in messages: ``generator=1-2, discriminator=none, seed 0``."""


class Grid:
    """A sweep with all its runs' configurations, each of them valid."""

    def __init__(self, config: SweepConfig, plugins: Plugins) -> None:
        """Make the runs of ``config``, whose base is a mapping.

        Raises :class:`ConfigError`, which names the cell, if one is not valid or two are the same.
        """
        self.config = config
        self.plugins = plugins
        self.axes = {name: list(axis) for name, axis in config.axes.items()}
        """Labels of each axis."""
        assert isinstance(config.base, dict)
        base = copy.deepcopy(config.base)
        for path, value in config.set.items():
            assign(base, path, copy.deepcopy(value), f"set.{path}")
        self.runs: list[GridRun] = []
        for labels in itertools.product(*self.axes.values()):
            for seed in config.seeds:
                self.runs.append(self._run(base, labels, seed))
        self._check_distinct()

    def _run(self, base: dict[str, Any], labels: tuple[str, ...], seed: int) -> GridRun:
        values = copy.deepcopy(base)
        points = list(zip(self.axes, labels, strict=True))
        title = ", ".join(f"{axis}={label}" for axis, label in points)
        try:
            for axis, label in points:
                for path, value in self.config.axes[axis][label].items():
                    assign(values, path, copy.deepcopy(value), f"axes.{axis}.{label}.{path}")
            values["seed"] = seed
            config = build_config(values, self.plugins.registry)
        except ConfigError as error:
            if not points:
                raise
            raise ConfigError(f"cell {title}: {error}") from None
        folder = Path("runs", *(file_name(f"{axis}={label}") for axis, label in points), f"seed-{seed}")
        return GridRun(labels, seed, config, folder, ", ".join(part for part in (title, f"seed {seed}") if part))

    def _check_distinct(self) -> None:
        seen: dict[str, GridRun] = {}
        for run in self.runs:
            text = run.config.yaml()
            if text in seen:
                raise ConfigError(
                    f"cells {seen[text].title} and {run.title} are the same configuration; leave one out, or "
                    "check whether another axis overrides what it sets"
                )
            seen[text] = run

    def chosen(self, only: Iterable[str]) -> list[GridRun]:
        """The runs of the given ``AXIS=LABEL``: of any label given for an axis, and of all axes given; default: all."""
        wanted: dict[str, set[str]] = {}
        for choice in only:
            axis, separator, label = choice.partition("=")
            if not separator:
                raise ConfigError(f"--only {choice}: write it as AXIS=LABEL")
            if axis not in self.axes:
                raise ConfigError(f"--only {choice}: no axis is called '{axis}'; {nearest(axis, self.axes)}")
            if label not in self.axes[axis]:
                hint = nearest(label, self.axes[axis])
                raise ConfigError(f"--only {choice}: no label of axis '{axis}' is '{label}'; {hint}")
            wanted.setdefault(axis, set()).add(label)
        order = list(self.axes)
        return [
            run for run in self.runs if all(run.labels[order.index(axis)] in labels for axis, labels in wanted.items())
        ]

    def yaml(self) -> str:
        """The complete sweep as YAML, which can be run again."""
        return dump_yaml(self.config.model_dump(mode="json"))


def load_grid(path: str | Path, overrides: Iterable[str] = (), *, plugins: Plugins) -> Grid:
    """Read a sweep's file and make its runs.

    ``overrides``: those of the sweep's own keys (``seeds=[0]``) change the sweep, all others every
    run (``training.steps=10``). Raises :class:`ConfigError`, which names the file and the fix.
    """
    path = Path(path)
    text = read_text(path)
    try:
        values = parse_yaml(text)
        if not isinstance(values, dict):
            raise ConfigError("a sweep is a mapping with the keys name, base, axes, seeds")
        if "domains" in values and "base" not in values:
            raise ConfigError(f"is the configuration of a run; write a sweep, a second file, with base: {path.name}")
        config = _validated(values, overrides)
        config = config.model_copy(update={"base": _complete_base(config.base, path)})
        return Grid(config, plugins)
    except ConfigError as error:
        separator = ":\n  " if "\n" in str(error) else ": "
        raise ConfigError(f"{path}{separator}" + str(error).replace("\n", "\n  ")) from None


def _validated(values: dict[str, Any], overrides: Iterable[str]) -> SweepConfig:
    """The sweep's own keys, with the changes of ``--set``: to the sweep, or to all its runs, under ``set``."""
    of_runs: dict[str, str] = {}
    settings: dict[str, Any] = {}
    for assignment in overrides:
        path, value = parse_assignment(assignment)
        if (axis := _axis_of_key(values, path, value)) is not None:
            values["axes"][axis] = value
        elif keys_of(path)[0] in SweepConfig.model_fields:
            override(values, assignment)
        else:
            of_runs[assignment] = path
            settings.pop(path, None)  # the last one counts
            settings[path] = value
    try:
        config = SweepConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(describe(error, SweepConfig, values)) from None
    kept = {path: value for path, value in config.set.items() if path not in settings}
    config = config.model_copy(update={"set": kept | settings})
    _check_owners(config, of_runs)
    return config


def _axis_of_key(values: dict[str, Any], path: str, value: Any) -> str | None:
    """The axis that is called after a key with dots, where ``--set axes.optimizer.lr=[1, 2]`` means one; else None."""
    axes, axis = values.setdefault("axes", {}), path.removeprefix("axes.")
    if not isinstance(axes, dict) or axis == path:
        return None
    new = isinstance(value, list) and keys_of(axis)[0] not in axes
    return axis if axis in axes or new else None


@dataclass(frozen=True)
class _Setting:
    """A place in a sweep that sets a key of its runs."""

    place: str
    """The place and the key, for messages: ``set.training.steps``, ``axes.generator.1-2: sharing.generator``."""
    path: str
    axis: str = ""
    """The axis that it belongs to, if any."""
    whole: bool = False
    """Whether no part of it may be overridden: it was given by ``--set``."""

    def loses(self, later: _Setting) -> bool:
        """Whether a value of this place is lost when ``later`` is set after it."""
        return _within(self.path, later.path) or (self.whole and _within(later.path, self.path))


def _check_owners(config: SweepConfig, of_runs: Mapping[str, str]) -> None:
    """Raise :class:`ConfigError` if two places set one key, so that one of the values would be lost.

    ``of_runs``: paths by their ``--set`` option.
    """
    given = [_Setting(f"--set {option}", path, whole=True) for option, path in of_runs.items()]
    given += [_Setting(f"set.{path}", path) for path in config.set if path not in of_runs.values()]
    varied = [
        _Setting(f"axes.{axis}.{label}: {path}", path, axis)
        for axis, labels in config.axes.items()
        for label, paths in labels.items()
        for path in paths
    ]
    for setting in given + varied:
        if keys_of(setting.path)[0] == "seed":
            raise ConfigError(f"{setting.place}: the seeds of a sweep's runs are its key `seeds`: [0, 1, 2]")
    for number, later in enumerate(varied):
        for earlier in given + varied[:number]:
            if earlier.axis != later.axis and earlier.loses(later):
                raise ConfigError(
                    f"{earlier.place}: is set by axis '{later.axis}' too ({later.place}), so one of the values would "
                    "be lost; leave one of them out"
                )


def _within(path: str, outer: str) -> bool:
    """Whether ``path`` is ``outer`` or a key under it."""
    keys, above = keys_of(path), keys_of(outer)
    return len(keys) >= len(above) and all(a == b or "*" in (a, b) for a, b in zip(keys, above, strict=False))


def _complete_base(base: str | dict[str, Any], sweep: Path) -> dict[str, Any]:
    """The values of a sweep's base, complete with those of the files that it extends."""
    try:
        if not isinstance(base, str):
            return complete(base, sweep).values
        path = sweep.parent / base
        values = parse_yaml(read_text(path))
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: is not a configuration of a run, a mapping with the keys name, domains, ...")
        if "base" in values:
            raise ConfigError(f"{path}: is a sweep itself; name the configuration of a run")
        return complete(values, path).values
    except ConfigError as error:
        raise ConfigError(f"base: {error}") from None
