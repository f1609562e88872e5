"""Components by name: who owns them, and which options they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import pydantic

from coupling.errors import ConfigError, PluginError, nearest

KINDS = ("architecture", "dataset", "transform", "loss", "metric")


@dataclass(frozen=True)
class Component:
    """A registered component: what makes it, whose it is, and the model of its options."""

    kind: str
    name: str
    make: Callable[..., Any]
    owner: str
    options: type[pydantic.BaseModel]

    @property
    def description(self) -> str:
        """First paragraph of the component's docstring."""
        text = inspect.getdoc(self.make) or ""
        return " ".join(text.split("\n\n")[0].split())


def options_model(name: str, make: Callable[..., Any]) -> type[pydantic.BaseModel]:
    """The pydantic model of a component's options, read from its signature.

    A parameter ``from_`` stands for the option ``from``: Python reserves the word.
    """
    # A class says its options in __init__; get_type_hints resolves `from __future__` annotations.
    signature = inspect.signature(make)
    try:
        hints = get_type_hints(make.__init__ if inspect.isclass(make) else make, include_extras=True)
    except NameError as error:
        raise PluginError(f"component '{name}': an option's type cannot be resolved: {error}") from None
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise PluginError(
                f"component '{name}': option '{parameter}' must be a named parameter, not *args, **kwargs or /"
            )
        if parameter.name not in hints:
            raise PluginError(f"component '{name}': option '{parameter.name}' has no type annotation")
        default = ... if parameter.default is parameter.empty else parameter.default
        key = parameter.name.removesuffix("_")
        if key == "name":
            raise PluginError(f"component '{name}': an option may not be called 'name'")
        fields[parameter.name] = (
            (hints[parameter.name], default)
            if key == parameter.name
            else (hints[parameter.name], pydantic.Field(default, alias=key))
        )
    settings = pydantic.ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=())
    return pydantic.create_model(f"{name} options", __config__=settings, **fields)


@dataclass
class Registry:
    """All components of all plugins."""

    components: dict[tuple[str, str], Component] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Plugins that were left out, and why: a name that is missing may be theirs."""

    def add(self, kind: str, name: str, make: Callable[..., Any], owner: str) -> None:
        """Register a component; a name that is taken is an error naming both owners."""
        if not callable(make):
            raise PluginError(f"plugin '{owner}' registers {kind} '{name}', which is not a class or function")
        taken = self.components.get((kind, name))
        if taken is not None:
            raise PluginError(
                f"{kind} '{name}' is registered twice: by '{taken.owner}' and by '{owner}'; "
                "uninstall or rename one of them"
            )
        self.components[kind, name] = Component(kind, name, make, owner, options_model(name, make))

    def drop(self, owner: str) -> None:
        """Forget everything that ``owner`` registered."""
        self.components = {k: c for k, c in self.components.items() if c.owner != owner}

    def names(self, kind: str) -> list[str]:
        """Names registered for ``kind``, sorted."""
        return sorted(name for k, name in self.components if k == kind)

    def get(self, kind: str, name: str, path: str) -> Component:
        """The component, or a :class:`ConfigError` that names ``path`` and the nearest known name."""
        component = self.components.get((kind, name))
        if component is not None:
            return component
        message = f"{path}: no {kind} is called '{name}'; {nearest(name, self.names(kind))}"
        for plugin, reason in self.broken.items():
            message += f"\n  (plugin '{plugin}', which was left out, may have it: {reason})"
        raise ConfigError(message)

    def validate(self, kind: str, name: str, options: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Checked options of a component, ready to be passed as keyword arguments."""
        component = self.get(kind, name, path)
        try:
            checked = component.options.model_validate(dict(options))
        except pydantic.ValidationError as error:
            known = [f.alias or key for key, f in component.options.model_fields.items()]
            raise ConfigError(describe(error, path, known=known, of=f"{kind} '{name}'")) from None
        return {key: getattr(checked, key) for key in component.options.model_fields}

    def build(self, kind: str, name: str, options: Mapping[str, Any], path: str) -> Any:
        """Make the component from its options."""
        checked = self.validate(kind, name, options, path)
        try:
            return self.get(kind, name, path).make(**checked)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


def describe(error: pydantic.ValidationError, path: str, *, known: list[str], of: str) -> str:
    """Every problem of a validation, one a line: path, value, mend."""
    lines = []
    for problem in error.errors():
        place = join(path, problem["loc"])
        kind = problem["type"]
        if kind == "extra_forbidden":
            key = str(problem["loc"][-1])
            lines.append(f"{place}: unknown option '{key}' of {of}; {nearest(key, known)}")
        elif kind == "missing":
            lines.append(f"{place}: is required by {of} and not given")
        else:
            lines.append(f"{place}: {problem['input']!r} is not valid: {problem['msg']}")
    return "\n".join(lines)


def join(path: str, location: tuple[int | str, ...]) -> str:
    """``path`` extended by a pydantic location: ``a.b[0].c``."""
    for part in location:
        path = f"{path}[{part}]" if isinstance(part, int) else f"{path}.{part}" if path else str(part)
    return path
