"""Schedules: numbers of a configuration that are functions of the step, such as a falling learning rate."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic.fields import FieldInfo

from coupling.config.validation import Model
from coupling.errors import ConfigError


def _check_share(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?%", value) or float(value[:-1]) > 100:
        raise ValueError("write a share of the steps as 60%, from 0% to 100%, or give a step as a whole number")
    return value


def _time_kind(value: Any) -> str:
    return "share" if isinstance(value, str) else "step"


StepOrShare = Annotated[
    Annotated[int, Field(ge=0), Tag("step")]
    | Annotated[
        str, AfterValidator(_check_share), Field(json_schema_extra={"pattern": r"^\d+(\.\d+)?%$"}), Tag("share")
    ],
    Discriminator(_time_kind),
]
"""A step, counted from 0, or a share of all steps: ``60%``."""


class Schedule(Model):
    """A number that is a function of the step alone, so that it needs no state and a resumed run has the same.

    It is ``from`` before step ``start``, ``to`` from step ``end`` on, and between them falls or rises on a line or on
    half a wave of the cosine (Loshchilov & Hutter 2017, section 3). During a warm-up of n steps, the value of step s,
    counted from 0, is multiplied by (s + 1) / n (Goyal et al. 2017, section 2.2).
    """

    from_: float = Field(alias="from", description="the number at first")
    to: float | None = Field(None, description="the number at last; constant takes none")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="the way from the first to the last"
    )
    start: StepOrShare = Field(0, description="step at which the number begins to change, or a share of all: 60%")
    end: StepOrShare | None = Field(
        None, description="first step with the last number, or a share of all steps; null: the end of the run"
    )
    warm_up: StepOrShare = Field(
        0, description="steps, or a share of all, in which the number first rises in proportion from near 0"
    )

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Schedule:
        if self.schedule != "constant" and self.to is None:
            raise ValueError(f"schedule: {self.schedule} needs a last number; give to, or schedule: constant")
        if self.schedule == "constant" and (self.to is not None or self.end is not None or self.start != 0):
            raise ValueError("schedule: constant keeps the number; leave to, start and end out, or choose linear")
        return self

    @pydantic.model_serializer
    def plain(self) -> dict[str, Any]:
        """The schedule as it is written in YAML."""
        keys = {"from": self.from_, "to": self.to, "schedule": self.schedule, "start": self.start, "end": self.end}
        if self.schedule == "constant":
            keys = {"from": self.from_, "schedule": self.schedule}
        return {key: value for key, value in (keys | {"warm_up": self.warm_up}).items() if value is not None}

    def __str__(self) -> str:
        """``0.0005 to 0.0001 (cosine, steps 700 to 1,200)``."""
        warm_up = f", warm-up {_shown(self.warm_up)}" if self.warm_up else ""
        if self.to is None:
            return f"{self.from_:g} (constant{warm_up})"
        end = "the last" if self.end is None else _shown(self.end)
        return f"{self.from_:g} to {self.to:g} ({self.schedule}, steps {_shown(self.start)} to {end}{warm_up})"

    def completed(self, steps: int, path: str) -> Schedule:
        """The same schedule for a run of ``steps``, with all its times as steps.

        Args:
            steps: number of steps of the run.
            path: its place in the configuration, for messages.

        Raises:
            ConfigError: it ends after the run, or before its own start.
        """
        times = {"start": self.start, "warm_up": self.warm_up}
        if self.schedule != "constant":
            times["end"] = steps if self.end is None else self.end
        found = {key: _step(time, steps) for key, time in times.items()}
        for key, step in found.items():
            if step > steps:
                fix = "leave it out: the schedule then ends with the run" if key == "end" else f"give at most {steps}"
                raise ConfigError(
                    f"{path}.{key}: {step} is after the end of the run, training.steps: {steps}; {fix}, give a share "
                    "of the steps, such as 50%, or train for more steps"
                )
        if found["start"] > found.get("end", steps):
            raise ConfigError(f"{path}.start: {self.start} is after its end, {self.end}; give an earlier step")
        return self.model_copy(update=found)

    def at(self, step: int) -> float:
        """The number at a step.

        Args:
            step: the step, counted from 0; the schedule must be :meth:`completed`.
        """
        start, warm_up = int(self.start), int(self.warm_up)
        rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
        if self.to is None or step < start:
            return self.from_ * rise
        end = step if self.end is None else int(self.end)
        if step >= end:
            return self.to * rise
        share = (step - start) / (end - start)
        if self.schedule == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return (self.from_ + share * (self.to - self.from_)) * rise


Number = float | Schedule
"""A number of a configuration: the same in all steps, or a function of the step."""


def number_at(number: Number, step: int) -> float:
    """The number at a step, counted from 0."""
    return number.at(step) if isinstance(number, Schedule) else number


def in_words(number: Number) -> str:
    """``0.0005``, or ``0.0005 to 0.0001 (cosine, steps 700 to 1,200)``."""
    return str(number) if isinstance(number, Schedule) else f"{number:g}"


def find_schedules(values: object, path: str) -> Iterator[tuple[str, Schedule]]:
    """The schedules in checked values, each with its path in the configuration; ``path``: that of ``values``."""
    if isinstance(values, Schedule):
        yield path, values
    elif isinstance(values, pydantic.BaseModel):
        yield from find_schedules({key: getattr(values, key) for key in type(values).model_fields}, path)
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from find_schedules(value, f"{path}.{key}")
    elif isinstance(values, tuple):
        for number, value in enumerate(values):
            yield from find_schedules(value, f"{path}[{number}]")


def or_schedule(annotation: Any, name: str, ends: Any = None) -> Any:
    """The annotation of a number that may follow a schedule, from that of the number; others stay as they are.

    ``name``: what the number is called. ``ends``: the annotation of a schedule's ends; None: that of the number. A
    ``float`` can follow a schedule, a whole number cannot.
    """
    field = FieldInfo.from_annotation(annotation)
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
    number = next((kind for kind in kinds if _unwrapped(kind) is float), None)
    if number is None:
        return annotation
    bounded: Any = ends or Annotated[number, Field(), *field.metadata]
    model: Any = pydantic.create_model(
        "".join(part.capitalize() for part in name.split("_")) + "Schedule",
        __base__=Schedule,
        __doc__=f"A schedule of {name}.",
        __module__=__name__,
        from_=(bounded, Schedule.model_fields["from_"]),
        to=(bounded | None, Schedule.model_fields["to"]),
    )
    plain: Any = Annotated[field.annotation, Field(), *field.metadata, Tag("number")]
    either: Any = Annotated[plain | Annotated[model, Tag("schedule")], Discriminator(_kind)]
    return Annotated[either, Field(description=field.description)] if field.description else either


def _unwrapped(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _kind(value: Any) -> str:
    return "schedule" if isinstance(value, Mapping | Schedule) else "number"


def _step(time: int | str, steps: int) -> int:
    return round(float(time.removesuffix("%")) / 100 * steps) if isinstance(time, str) else time


def _shown(time: int | str) -> str:
    return time if isinstance(time, str) else f"{time:,}"
