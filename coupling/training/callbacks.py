"""Callbacks of a training from Python: they are called like the hooks of a plugin, with the hooks' arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from coupling import hookspecs
from coupling.errors import InputError, cause, nearest
from coupling.system.terminal import show_origin, warn

HOOKS = {
    name: tuple(inspect.signature(getattr(hookspecs, name)).parameters) for name in ("after_step", "after_training")
}
"""The hooks that a callback may have, with the names of their arguments."""


class Callbacks:
    """The callbacks of one training, checked before it begins."""

    def __init__(self, given: Iterable[object] = ()) -> None:
        """Check the callbacks.

        Args:
            given: objects with the methods ``after_step`` or ``after_training``, or functions, which are called as
                ``after_step``. Each takes those of the hook's arguments that it names.

        Raises:
            InputError: something else, or an argument that the hook does not have.
        """
        if not isinstance(given, Iterable) or isinstance(given, str | bytes):
            raise InputError(f"callbacks: {given!r} is not a list; give [{_shown(given)}]")
        self._called: dict[str, list[tuple[str, Callable[..., object]]]] = {hook: [] for hook in HOOKS}
        for number, callback in enumerate(given):
            for hook, function in _functions(callback, f"callbacks[{number}]").items():
                place = f"callbacks[{number}]" + ("" if function is callback else f".{hook}")
                self._called[hook].append((place, _with_named_arguments(function, hook, place)))

    def notify(self, hook: str, /, **values: Any) -> None:
        """Call a hook of all callbacks; one that fails gives a warning, so that it cannot end a long run."""
        for place, function in self._called[hook]:
            try:
                function(**values)
            except Exception as error:
                show_origin(error)
                warn(f"{place} failed: {cause(error)}")


def _shown(callback: object) -> str:
    return getattr(callback, "__name__", type(callback).__name__)


def _functions(callback: object, place: str) -> dict[str, Callable[..., object]]:
    """The functions of a callback by hook."""
    if isinstance(callback, type):
        raise InputError(f"{place}: is the class {callback.__name__}; give an object of it: {callback.__name__}()")
    if inspect.isroutine(callback):
        return {"after_step": callback}
    for name in dir(callback):
        if name.startswith("after_") and name not in HOOKS:
            raise InputError(f"{place}: no hook is called '{name}'; {nearest(name, HOOKS)}")
    found = {hook: getattr(callback, hook) for hook in HOOKS if callable(getattr(callback, hook, None))}
    if not found and callable(callback):
        return {"after_step": callback}
    if not found:
        raise InputError(f"{place}: {_shown(callback)} is neither a function nor has the method {' or '.join(HOOKS)}")
    return found


def _with_named_arguments(function: Callable[..., object], hook: str, place: str) -> Callable[..., object]:
    """The same function, which takes all arguments of the hook by name and passes on those that it names."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:  # some functions that are written in C
        raise InputError(f"{place}: has no signature that Python can read; wrap it in a function") from error
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return function
    for p in parameters:
        required = p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if required and (p.name not in HOOKS[hook] or p.kind is p.POSITIONAL_ONLY):
            raise InputError(f"{place}: takes '{p.name}'; {hook} gives {', '.join(HOOKS[hook])}, by name")
    names = {p.name for p in parameters}
    return lambda **values: function(**{name: value for name, value in values.items() if name in names})
