"""Models of what a configuration says: no unknown keys, and no boolean where a number is meant."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationInfo


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
