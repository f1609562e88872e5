"""Strict pydantic models, the form of names, and validation errors as one message."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationInfo

from coupling.config.yaml_text import in_yaml
from coupling.errors import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]*"


MAX_NAME = 100
"""Maximum number of characters of a name: names of files begin with it, and no system accepts more than 255."""


def check_name(value: object) -> str:
    """Return ``value`` if it can be a name: part of a path, a key and a command.

    Raises:
        ValueError: it cannot; the message gives the rule.
    """
    if not isinstance(value, str) or not re.fullmatch(NAME_PATTERN, value):
        raise ValueError("a name consists of letters (a to z), digits, - and _, and begins with a letter or digit")
    if len(value) > MAX_NAME:
        raise ValueError(f"a name has at most {MAX_NAME} characters, this one has {len(value)}")
    return value


Location = Sequence[int | str]


_SHOWN = 100
"""Maximum number of characters of a value in a message."""


def describe(
    error: pydantic.ValidationError,
    model: type[pydantic.BaseModel],
    values: object,
    path: str = "",
    owner: str = "",
    common: Iterable[str] = (),
) -> str:
    """Every problem of a validation, one on each line: path, value, fix.

    Args:
        error: the error of the validation.
        model: the model that was validated.
        values: the values that it was validated from.
        path: their place in the configuration.
        owner: the component whose options they are, for messages.
        common: further keys that are valid, for the hint on an unknown one.
    """
    problems: dict[str, dict[str, None]] = {}
    for problem in error.errors():
        location = _within(values, problem["loc"], missing=problem["type"] == "missing")
        text = _explain(problem, location, model, f" of {owner}" if owner else "", common)
        problems.setdefault(join(path, location), {})[text] = None
    return "\n".join(
        f"{place}: {'; or '.join(texts)}" if place else "; or ".join(texts) for place, texts in problems.items()
    )


def _explain(
    problem: ErrorDetails, location: Location, model: type[pydantic.BaseModel], owner: str, common: Iterable[str]
) -> str:
    """One problem without its path; ``owner``: " of " and the component, or nothing."""
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        key = str(location[-1])
        known = [*_keys(model, location[:-1]), *(common if len(location) == 1 else ())]
        return f"unknown {'option' if owner else 'key'} '{key}'{owner}; {nearest(key, known)}"
    if kind == "missing":
        return f"is required{owner} and not given"
    message = (
        problem["msg"]
        .removeprefix("Value error, ")
        .replace("Input should be", "should be")
        .replace("a valid string", "text")
    )
    if kind in ("model_type", "dict_type"):
        message = "should be a mapping of keys to values"
    elif kind == "list_type":
        entry = value if isinstance(value, str) else in_yaml(value)
        message = "should be a list" if value is None else f"should be a list, such as [{entry}]"
    elif kind == "tuple_type":
        message = "should be a list"
    elif kind == "too_short":
        least = problem["ctx"]["min_length"]
        message = "should have at least one entry" if least == 1 else f"should have at least {least} entries"
    if not location:
        return message  # a problem of several keys, which the message names
    shown = in_yaml(value)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "..."
    absent = kind == "too_short" if value is not None else kind != "value_error"
    fix = "; give a value, or leave the key out if it has a default" if absent else ""
    return f"{shown} is not valid: {message}{fix}"


def _within(values: Any, location: Location, *, missing: bool) -> Location:
    """``location`` without the labels that pydantic adds (members of unions, validators)."""
    kept: list[int | str] = []
    for number, part in enumerate(location):
        known: Container[Any] = range(len(values)) if isinstance(values, list | tuple) else ()
        if part in (values if isinstance(values, Mapping) else known):
            values = values[part]
        elif not (missing and number == len(location) - 1):
            continue
        kept.append(part)
    return kept


def _keys(annotation: Any, location: Location) -> list[str]:
    """The keys that a model, or an annotation that contains models, has at ``location``."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        fields = {field.alias or key: field for key, field in annotation.model_fields.items()}
        if not location:
            return list(fields)
        return _keys(fields[str(location[0])].annotation, location[1:]) if location[0] in fields else []
    inner = get_args(annotation)
    if get_origin(annotation) in (dict, list, tuple):
        return [key for part in inner for key in _keys(part, location[1:])] if location else []
    return [key for part in inner for key in _keys(part, location)]


def join(path: str, location: Location) -> str:
    """``path`` extended by a pydantic location: ``a.b[0].c``."""
    for part in location:
        path = f"{path}[{part}]" if isinstance(part, int) else f"{path}.{part}" if path else str(part)
    return path


class Model(BaseModel):
    """A frozen model that rejects unknown keys, and booleans for numbers: for Python, ``true`` is 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if _holds_boolean(value) and _takes(annotation, int, float) and not _takes(annotation, bool):
            raise ValueError("should be a number, not true or false")
        return value


def _holds_boolean(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_boolean, value)))


def _takes(annotation: Any, *kinds: type) -> bool:
    """Whether an annotation names one of ``kinds``."""
    if get_origin(annotation) is Literal:
        return any(type(value) in kinds for value in get_args(annotation))
    return annotation in kinds or any(_takes(part, *kinds) for part in get_args(annotation))
