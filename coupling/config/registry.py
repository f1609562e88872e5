"""Components by name: the plugin that registered each, and the options that it takes."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_type_hints

import pydantic
from pydantic.fields import FieldInfo

from coupling.config.schedules import or_schedule
from coupling.config.validation import Model, check_name, describe
from coupling.errors import ConfigError, CouplingError, PluginError, cause, nearest

KINDS = ("architecture", "dataset", "transform", "augmentation", "loss", "metric")


@dataclass(frozen=True)
class Component:
    """A registered component: the function or class that makes it, its plugin, and the model of its options."""

    kind: str
    name: str
    make: Callable[..., Any]
    owner: str
    options: type[pydantic.BaseModel]

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' of plugin '{self.owner}'"

    @property
    def description(self) -> str:
        """The first paragraph of the component's docstring, in one line."""
        text = inspect.getdoc(self.make) or ""
        return " ".join(text.split("\n\n")[0].split())


def options_model(
    name: str, make: Callable[..., Any], scheduled: Callable[[Any, str], Any] | None = None
) -> type[pydantic.BaseModel]:
    """The pydantic model of a component's options, read from its signature.

    ``make`` is a function, or a class whose ``__init__`` (its own, inherited, or made by ``dataclass`` or pydantic)
    takes the options. A parameter ``from_`` stands for the option ``from``, because Python reserves the word.
    ``scheduled(annotation, key)``: the annotation of an option that may follow a schedule.

    Raises:
        PluginError: an option has no type, or a type that a configuration cannot hold.
    """
    fields: dict[str, Any] = {}
    for parameter, annotation, default in _parameters(name, make):
        key = parameter.removesuffix("_")
        if key == "name" or key.startswith("_"):
            raise PluginError(f"component '{name}': an option may not be called '{key}'")
        if scheduled is not None:
            annotation = scheduled(annotation, key)
        fields[parameter] = (annotation, pydantic.Field(**default, alias=None if key == parameter else key))
    try:
        with warnings.catch_warnings():
            # An option called `copy` or `schema` hides that method of this model, which nobody calls.
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute", category=UserWarning)
            model = pydantic.create_model(f"{name} options", __base__=Model, **fields)
            model.model_json_schema()  # fails for types that a configuration cannot hold
            return model
    except (pydantic.errors.PydanticUserError, NameError, TypeError) as error:
        raise PluginError(f"component '{name}': its options cannot be described: {cause(error)}") from None


def _parameters(name: str, make: Callable[..., Any]) -> list[tuple[str, Any, dict[str, Any]]]:
    """Name and type of each option, and its default as arguments of :func:`pydantic.Field`."""
    if inspect.isclass(make) and issubclass(make, pydantic.BaseModel):
        return [(key, *_redeclared(field)) for key, field in make.model_fields.items()]
    try:
        # The options of a class are in __init__; get_type_hints resolves `from __future__` annotations.
        hints = get_type_hints(make.__init__ if inspect.isclass(make) else make, include_extras=True)
        signature = inspect.signature(make)
    except (NameError, TypeError, ValueError) as error:
        raise PluginError(f"component '{name}': the types of its options cannot be read: {cause(error)}") from None
    fields = dataclasses.fields(make) if inspect.isclass(make) and dataclasses.is_dataclass(make) else ()
    factories = {f.name: f.default_factory for f in fields if f.default_factory is not dataclasses.MISSING}
    found: list[tuple[str, Any, dict[str, Any]]] = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise PluginError(
                f"component '{name}': option '{parameter}' must be a named parameter, not *args, **kwargs or /"
            )
        if parameter.name not in hints:
            raise PluginError(f"component '{name}': option '{parameter.name}' has no type annotation")
        default = {} if parameter.default is parameter.empty else {"default": parameter.default}
        if parameter.name in factories:
            default = {"default_factory": factories[parameter.name]}
        found.append((parameter.name, hints[parameter.name], default))
    return found


def _redeclared(field: FieldInfo) -> tuple[Any, dict[str, Any]]:
    """Type of a pydantic model's field, and its default as arguments of :func:`pydantic.Field`."""
    annotation: Any = Annotated[field.annotation, pydantic.Field(description=field.description), *field.metadata]
    if field.default_factory is not None:
        return annotation, {"default_factory": field.default_factory}
    return annotation, {} if field.is_required() else {"default": field.default}


@dataclass
class Registry:
    """All components of all plugins."""

    components: dict[tuple[str, str], Component] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Plugins that could not be loaded, and the reasons; a component that is missing may be in one of them."""

    def add(self, kind: str, name: str, make: Callable[..., Any], owner: str) -> None:
        """Register a component of the plugin ``owner``.

        Raises:
            PluginError: the name is not valid, or taken by a component of this kind; names the plugins.
        """
        if not callable(make):
            raise PluginError(f"plugin '{owner}' registers {kind} '{name}', which is not a class or function")
        try:
            check_name(name)
        except ValueError as error:
            raise PluginError(f"plugin '{owner}' registers {kind} {name!r}: {error}") from None
        taken = self.components.get((kind, name))
        if taken is not None:
            raise PluginError(
                f"{kind} '{name}' is registered twice: by '{taken.owner}' and by '{owner}'; "
                "uninstall or rename one of them"
            )
        scheduled = or_schedule if kind == "loss" else None
        self.components[kind, name] = Component(kind, name, make, owner, options_model(name, make, scheduled))

    def names(self, kind: str) -> list[str]:
        """The names that are registered for ``kind``, sorted."""
        return sorted(name for k, name in self.components if k == kind)

    def get(self, kind: str, name: str, path: str) -> Component:
        """The component called ``name``.

        Raises:
            ConfigError: there is none; names ``path``, where the configuration names it, and the nearest name.
        """
        component = self.components.get((kind, name))
        if component is not None:
            return component
        hint = nearest(name, self.names(kind))
        if not hint.startswith("did you mean"):
            hint += "; for a component of your own module, give --plugin MODULE"
        message = f"{path}: no {kind} is called '{name}'; {hint}"
        for plugin, reason in self.broken.items():
            message += f"\n  (plugin '{plugin}', which was left out, may have it: {reason})"
        raise ConfigError(message)

    def validate(
        self, kind: str, name: str, options: Mapping[str, Any], path: str, common: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Check the options of a component; returns them as keyword arguments, with defaults.

        Args:
            kind: kind of the component.
            name: its name.
            options: its options as a configuration has them.
            path: the component's place in the configuration, for messages.
            common: further options that every component of the kind takes, for the hint on an unknown one.

        Raises:
            ConfigError: names the path, the value and the fix.
        """
        component = self.get(kind, name, path)
        try:
            model = component.options.model_validate(dict(options))
        except pydantic.ValidationError as error:
            raise ConfigError(describe(error, component.options, options, path, f"{kind} '{name}'", common)) from None
        return {key: getattr(model, key) for key in component.options.model_fields}

    def completed(self, kind: str, name: str, options: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The options of a component with the defaults of those not given, as a configuration has them."""
        component = self.get(kind, name, path)
        given = self.validate(kind, name, options, path)
        return component.options.model_construct(**given).model_dump(mode="json", by_alias=True)

    def build(self, kind: str, name: str, options: Mapping[str, Any], path: str) -> Any:
        """Make the component from its options.

        Raises:
            CouplingError: the options are not valid, or the component raises such an error; begins with ``path``.
            PluginError: the component raises another exception; names plugin, component and exception.
        """
        component = self.get(kind, name, path)
        arguments = self.validate(kind, name, options, path)
        try:
            return component.make(**arguments)
        except CouplingError as error:
            raise type(error)(f"{path}: {error}") from None
        except pydantic.ValidationError as error:  # from a component that is a pydantic model with its own checks
            raise ConfigError(describe(error, component.options, options, path, f"{kind} '{name}'")) from None
        except (Exception, SystemExit) as error:
            raise PluginError(f"{path}: {component} failed: {cause(error)}") from error
