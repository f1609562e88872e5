"""Components: options read from signatures, duplicates, what a plugin may and may not register."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pydantic
import pytest
from pydantic import Field

from coupling.config.registry import Registry, options_model
from coupling.errors import ConfigError, PluginError, nearest


class Plain:
    """Made from a class.

    With more to say.
    """

    def __init__(
        self,
        *,
        width: Annotated[float, Field(gt=0, description="of all layers")],
        kind: Literal["a", "b"] = "a",
        from_: str = "here",
    ) -> None:
        self.values = {"width": width, "kind": kind, "from": from_}


class Inheriting(Plain):
    """Has its parent's options."""


class Bare:
    """Has no options at all."""


def function(*, width: Annotated[float, Field(gt=0)], kind: Literal["a", "b"] = "a", from_: str = "here") -> Plain:
    """Made by a function."""
    return Plain(width=width, kind=kind, from_=from_)


@dataclass(kw_only=True)
class Data:
    """Made from a dataclass."""

    width: Annotated[float, Field(gt=0)]
    kind: Literal["a", "b"] = "a"
    from_: str = "here"
    sizes: list[int] = field(default_factory=lambda: [1, 2])

    @property
    def values(self) -> dict[str, Any]:
        return {"width": self.width, "kind": self.kind, "from": self.from_}


class Modelled(pydantic.BaseModel):
    """Made from a pydantic model."""

    width: float = Field(gt=0)
    kind: Literal["a", "b"] = "a"
    from_: str = "here"

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Modelled:
        if self.kind == "b" and self.width > 10:
            raise ValueError("kind b goes up to width 10")
        return self

    @property
    def values(self) -> dict[str, Any]:
        return {"width": self.width, "kind": self.kind, "from": self.from_}


MAKERS = [Plain, Inheriting, function, Data, Modelled]


def registry(make: Any, name: str = "x") -> Registry:
    made = Registry()
    made.add("loss", name, make, "mine")
    return made


@pytest.mark.parametrize("make", MAKERS)
def test_options_come_from_the_signature(make):
    built = registry(make).build("loss", "x", {"width": "2.5", "from": "there"}, "losses[0]")
    assert built.values == {"width": 2.5, "kind": "a", "from": "there"}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 1, "knid": "a"}, "losses[0].knid: unknown option 'knid' of loss 'x'; did you mean 'kind'?"),
        ({"width": 1, "from_": "a"}, "losses[0].from_: unknown option 'from_' of loss 'x'; did you mean 'from'?"),
        ({}, "losses[0].width: is required of loss 'x' and not given"),
        ({"width": 0}, "losses[0].width: 0 is not valid: should be greater than 0"),
        ({"width": float("inf")}, "losses[0].width: inf is not valid: should be a finite number"),
        ({"width": 1, "kind": "c"}, "losses[0].kind: 'c' is not valid: should be 'a' or 'b'"),
    ],
)
def test_wrong_options_are_named_with_their_path(make, options, message):
    with pytest.raises(ConfigError) as caught:
        registry(make).build("loss", "x", options, "losses[0]")
    assert str(caught.value) == message


def test_every_problem_is_in_one_message():
    with pytest.raises(ConfigError) as caught:
        registry(Plain).validate("loss", "x", {"width": -1, "kind": 3, "b": 0}, "losses[0]")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "losses[0].width",
        "losses[0].kind",
        "losses[0].b",
    ]


def test_members_of_a_union_are_one_problem():
    def make(*, size: int | tuple[int, int] | None = None) -> None: ...

    with pytest.raises(
        ConfigError, match=r"^losses\[0\]\.size: 'big' is not valid: .*; or 'big' is not valid: [^\n]*$"
    ):
        registry(make).validate("loss", "x", {"size": "big"}, "losses[0]")


def test_a_default_factory_is_a_default():
    first, second = (registry(Data).build("loss", "x", {"width": 1}, "") for _ in range(2))
    assert first.sizes == [1, 2]
    assert first.sizes is not second.sizes


def test_the_checks_of_a_pydantic_model_are_applied():
    with pytest.raises(ConfigError, match=r"^losses\[0\]: kind b goes up to width 10$"):
        registry(Modelled).build("loss", "x", {"width": 11, "kind": "b"}, "losses[0]")


def test_a_component_may_have_no_options():
    assert isinstance(registry(Bare).build("loss", "x", {}, ""), Bare)
    with pytest.raises(ConfigError, match="unknown option 'a' of loss 'x'; there are none"):
        registry(Bare).build("loss", "x", {"a": 1}, "")


def test_options_may_be_named_as_attributes_of_pydantic_models():
    def make(*, copy: int = 1, schema: int = 2, json: int = 3, model_kind: int = 4) -> list[int]:
        return [copy, schema, json, model_kind]

    assert registry(make).build("loss", "x", {"copy": 5}, "") == [5, 2, 3, 4]


def test_the_description_is_the_first_paragraph():
    assert registry(Plain).get("loss", "x", "").description == "Made from a class."


def test_a_taken_name_names_both_owners():
    made = registry(Plain)
    with pytest.raises(PluginError, match="loss 'x' is registered twice: by 'mine' and by 'theirs'"):
        made.add("loss", "x", Bare, "theirs")
    made.add("metric", "x", Bare, "theirs")  # another kind, another name


def untyped(*, a=1): ...
def starred(*args: int): ...
def named(*, name: str): ...
def unresolvable(*, a: Missing): ...  # type: ignore[name-defined]  # noqa: F821
def opaque(*, a: Registry): ...
def hidden(*, _a: int = 1): ...
def callback(*, a: Callable[[], int]): ...


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (untyped, "option 'a' has no type annotation"),
        (starred, r"option '\*args: .*int.*' must be a named parameter"),
        (named, "an option may not be called 'name'"),
        (unresolvable, "cannot be read: NameError: name 'Missing' is not defined"),
        (opaque, "its options cannot be described"),
        (hidden, "an option may not be called '_a'"),
        (callback, "its options cannot be described"),
        (3, "not a class or function"),
    ],
)
def test_a_component_with_wrong_options_is_an_error(make, reason):
    with pytest.raises(PluginError, match=reason):
        registry(make)


def test_an_unknown_name_gets_the_nearest_and_the_broken_plugins():
    made = registry(Plain, "hinge")
    made.broken["coupling-faces"] = "ImportError: no resvg"
    with pytest.raises(ConfigError) as caught:
        made.get("loss", "hing", "losses[0]")
    assert "losses[0]: no loss is called 'hing'; did you mean 'hinge'?" in str(caught.value)
    assert "plugin 'coupling-faces', which was left out, may have it: ImportError: no resvg" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smilng", "did you mean 'Smiling'?"),
        ("SMILING", "did you mean 'Smiling'?"),
        ("blond", "did you mean 'Blond_Hair'?"),
        ("eye", "did you mean 'Bags_Under_Eyes' or 'Eyeglasses'?"),
        ("ha", "known: Bags_Under_Eyes, Blond_Hair, Eyeglasses, Smiling"),
    ],
)
def test_the_nearest_name_is_proposed(name, hint):
    assert nearest(name, ["Smiling", "Blond_Hair", "Eyeglasses", "Bags_Under_Eyes"]) == hint


def test_an_exception_of_the_plugin_is_named():
    def make() -> None:
        raise KeyError("colour")

    with pytest.raises(PluginError) as caught:
        registry(make).build("loss", "x", {}, "losses[0]")
    assert str(caught.value).startswith(
        "losses[0]: loss 'x' of plugin 'mine' failed: KeyError: 'colour' (test_registry"
    )


def test_our_own_errors_keep_their_type_and_get_the_path():
    def make() -> None:
        raise ConfigError("width: too much")

    with pytest.raises(ConfigError, match=r"^losses\[0\]: width: too much$"):
        registry(make).build("loss", "x", {}, "losses[0]")


def test_aliases_are_the_keys_that_users_write():
    model = options_model("x", Plain)
    assert set(model.model_json_schema()["properties"]) == {"width", "kind", "from"}
