"""A check of a component, and the checks that all kinds have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coupling.config.registry import Component
from coupling.config.yaml_text import dump_yaml, parse_yaml
from coupling.errors import ConfigError, PluginError
from coupling.plugins import Plugins

Options = Mapping[str, Any]


SHAPES = ((1, 28, 28), (3, 32, 32), (1, 16, 16), (3, 16, 16), (1, 64, 64), (3, 64, 64), (3, 128, 128), (1, 128, 128))
"""Shapes of samples that architectures and transforms are checked with: each must accept one of them."""


RANGES = ((0.0, 1.0), (-1.0, 1.0))


DOMAINS: Mapping[str, Any] = {
    "one": {"dataset": {"name": "conformance", "half": 1}},
    "two": {"dataset": {"name": "conformance", "half": 2, "transform": "negative"}},
}
"""Domains that losses and metrics are checked with: blurred noise, (1, 16, 16) in [0, 1], three classes."""


@dataclass(frozen=True)
class Check:
    """One property of a component with these options; calling it raises an AssertionError if it does not hold."""

    component: Component
    """The component as it is registered."""
    options: Options
    """The options that it is checked with."""
    what: str
    """The property, in words."""
    test: Callable[[Check], None] = field(repr=False)
    """The function that checks it."""
    plugins: Plugins = field(repr=False)
    """The plugins that are loaded."""
    shapes: Sequence[tuple[int, ...]] = field(repr=False)
    """Shapes of samples for architectures and transforms."""
    domains: Mapping[str, Any] = field(repr=False)
    """Domains for losses and metrics, as in a configuration."""
    losses: Sequence[Any] = field(repr=False)
    """Losses beside the component, as in a configuration."""

    def __str__(self) -> str:
        given = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        return f"{self.component.kind} {self.component.name}{f' ({given})' if given else ''}: {self.what}"

    def __call__(self) -> None:
        """Check the property."""
        try:
            self.test(self)
        except (AssertionError, PluginError) as error:
            raise AssertionError(f"{self}: {error}") from error

    def make(self) -> Any:
        """Make the component as the framework does."""
        try:
            return self.plugins.registry.build(
                self.component.kind, self.component.name, copy.deepcopy(dict(self.options)), "its options"
            )
        except ConfigError as error:
            raise AssertionError(
                f"cannot be made: {error}\nGive options that it can be checked with: "
                f"checks(..., {{'{self.component.name}': {{...}}}})"
            ) from error


Tests = Mapping[str, Callable[[Check], None]]
"""The checks of a kind of component: {the property in words: function that checks it}."""


def require(condition: bool, message: str) -> None:
    """Raise AssertionError, under ``python -O`` too."""
    if not condition:
        raise AssertionError(message)


def described(check: Check) -> None:
    """The component and its options have descriptions."""
    component = check.component
    require(bool(component.make.__doc__), "has no docstring, which is its description")
    for option, about in component.options.model_fields.items():
        require(
            bool(about.description), f"option '{option}' has no description: Annotated[..., Field(description=...)]"
        )


def written(check: Check) -> None:
    """Options survive being written to a run's configuration and read again."""
    registry, component = check.plugins.registry, check.component
    complete = registry.completed(component.kind, component.name, check.options, "its options")
    read = parse_yaml(dump_yaml({"options": complete}))["options"]
    again = registry.completed(component.kind, component.name, read, "its options")
    require(again == complete, f"options are not the same after they were written and read: {complete} -> {again}")
