"""Strict pydantic models, names, and their errors as one message."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationInfo

from coupling.errors import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]*"


def checked(value: object) -> str:
    """A name that can be part of a path, a key and a command; raises ``ValueError`` saying what one consists of."""
    if not isinstance(value, str) or not re.fullmatch(PATTERN, value):
        raise ValueError("a name consists of letters (a to z), digits, - and _, and begins with a letter or digit")
    return value


Location = Sequence[int | str]


_SHOWN = 100
"""Characters of a value in a message, at most."""


def describe(
    error: pydantic.ValidationError,
    model: type[pydantic.BaseModel],
    values: object,
    path: str = "",
    of: str = "",
    common: Iterable[str] = (),
) -> str:
    """Every problem of a validation, one a line: path, value, mend.

    ``values`` is what ``model`` was validated from; ``of`` names whose options they are; ``common``
    are keys that are taken beside the model's own.
    """
    problems: dict[str, dict[str, None]] = {}
    for problem in error.errors():
        location = _within(values, problem["loc"], missing=problem["type"] == "missing")
        text = _explain(problem, location, model, f" of {of}" if of else "", common)
        problems.setdefault(join(path, location), {})[text] = None
    return "\n".join(
        f"{place}: {'; or '.join(texts)}" if place else "; or ".join(texts) for place, texts in problems.items()
    )


def _explain(
    problem: ErrorDetails, location: Location, model: type[pydantic.BaseModel], of: str, common: Iterable[str]
) -> str:
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        key = str(location[-1])
        known = [*_keys(model, location[:-1]), *(common if len(location) == 1 else ())]
        return f"unknown {'option' if of else 'key'} '{key}'{of}; {nearest(key, known)}"
    if kind == "missing":
        return f"is required{of} and not given"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if kind in ("model_type", "dict_type"):
        message = "should be a mapping of keys to values"
    elif kind == "list_type":
        message = f"should be a list, such as [{value}]" if isinstance(value, str | int | float) else "should be a list"
    elif kind == "too_short":
        least = problem["ctx"]["min_length"]
        message = "is empty" if least == 1 else f"should have at least {least} items"
    if not location:
        return message  # of several keys together: it names them
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "..."
    mend = "; give a value, or leave the key out if it has a default" if value is None and kind != "value_error" else ""
    return f"{shown} is not valid: {message}{mend}"


def _within(values: Any, location: Location, *, missing: bool) -> Location:
    """``location`` without the labels that pydantic adds to it (members of unions, validators)."""
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
    """Keys that a model, or an annotation with models in it, knows at ``location``."""
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
    """Frozen, and strict about keys; ``steps: true`` is no number, though for Python it is 1."""

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
    """Whether one of ``kinds`` is among the types that an annotation names."""
    if get_origin(annotation) is Literal:
        return any(type(value) in kinds for value in get_args(annotation))
    return annotation in kinds or any(_takes(part, *kinds) for part in get_args(annotation))
