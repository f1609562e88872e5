"""Conformance checks of all components of a plugin.

Each check is one property that the framework, or a user, relies on in every component of a kind::

    import pytest
    from coupling.testing import checks

    CHECKS = checks("coupling_shapes.plugin", {"shapes": [{"kind": "disc", "count": 30}]})

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_conformance(check, tmp_path, monkeypatch):
        monkeypatch.setenv("COUPLING_DATA", str(tmp_path))  # data sets write there
        check()

A check that fails raises an AssertionError that names the component, the options and the problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from coupling.config.registry import KINDS, Component
from coupling.errors import PluginError, nearest
from coupling.plugins import Plugins
from coupling.testing import architectures, augmentations, datasets, losses, metrics, transforms
from coupling.testing.check import DOMAINS, SHAPES, Check, Options, Tests, described, written
from coupling.testing.noise import Noise

__all__ = ["DOMAINS", "SHAPES", "Check", "checks"]


_TESTS: dict[str, Tests] = {
    "dataset": datasets.TESTS,
    "transform": transforms.TESTS,
    "architecture": architectures.TESTS,
    "augmentation": augmentations.TESTS,
    "loss": losses.TESTS,
    "metric": metrics.TESTS,
}


assert _TESTS.keys() == set(KINDS)


_PLURAL = {"loss": "losses"}


def checks(
    plugin: str | ModuleType,
    options: Mapping[str, Options | Sequence[Options] | None] | None = None,
    *,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    domains: Mapping[str, Any] | None = None,
    losses: Sequence[Any] = ("non-saturating",),
) -> list[Check]:
    """All checks of all components that a plugin registers.

    Args:
        plugin: the plugin's module, or the module's name or path, as for ``--plugin``.
        options: {component: options, or a list of options} that a component is checked with: at least
            those that it requires, and small numbers for data sets. By default no options; None: only
            the component's options are checked.
        shapes: shapes of samples that architectures and transforms are checked with.
        domains: domains that losses and metrics are checked with, as in a configuration; default:
            :data:`DOMAINS`, whose names are "one" and "two".
        losses: losses beside the checked loss or metric, as in a configuration; a loss that
            trains both teams is checked alone.

    Raises:
        PluginError: the plugin cannot be loaded, or has no component of a name in ``options``.
    """
    name = plugin if isinstance(plugin, str) else plugin.__name__
    plugins = Plugins((name,), entry_points=False)
    own = _components(plugins, name)
    plugins.registry.add("dataset", "conformance", Noise, "coupling.testing.checks")
    known = {component.name for component in own}
    for unknown in set(options or {}) - known:
        raise PluginError(f"checks: {name} registers nothing called '{unknown}'; {nearest(unknown, known)}")
    made: list[Check] = []
    for component in own:
        given = (options or {}).get(component.name, {})
        several = [given] if isinstance(given, Mapping) else list(given or [])
        rest = (plugins, shapes, domains or DOMAINS, losses)
        made.append(Check(component, {}, "its options are described", described, *rest))
        for chosen in several:
            for what, test in {"options can be written and read": written, **_TESTS[component.kind]}.items():
                made.append(Check(component, chosen, what, test, *rest))
    return made


def _components(plugins: Plugins, name: str) -> list[Component]:
    """The components that the module ``name`` registers; it may be one of the built-in modules."""
    components = plugins.registry.components.values()
    if any(component.owner == name for component in components):
        return [component for component in components if component.owner == name]
    registered: list[Callable[..., Any]] = []
    for caller in (getattr(plugins.manager.hook, f"register_{_PLURAL.get(kind, kind + 's')}") for kind in KINDS):
        for implementation in caller.get_hookimpls():
            if getattr(implementation.plugin, "__name__", "") == name:
                implementation.function(lambda _, make: registered.append(make))
    return [component for component in components if component.make in registered]
