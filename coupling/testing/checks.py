"""Conformance tests that a plugin author runs on a plugin.

Each check is one thing that the framework, or a user, relies on in every component of a kind::

    import pytest
    from coupling.testing import checks

    CHECKS = checks("coupling_shapes.plugin", {"shapes": [{"kind": "disc", "count": 30}]})

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_conformance(check, tmp_path, monkeypatch):
        monkeypatch.setenv("COUPLING_DATA", str(tmp_path))  # data sets write there
        check()

What a check finds is an AssertionError that names the component, the options, and what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from coupling.config.registry import KINDS, Component
from coupling.errors import PluginError, nearest
from coupling.plugins import Plugins
from coupling.testing import architectures, datasets, losses, metrics, transforms
from coupling.testing.check import DOMAINS, SHAPES, Check, Options, Tests, described, written
from coupling.testing.noise import Noise

__all__ = ["DOMAINS", "SHAPES", "Check", "checks"]


_TESTS: dict[str, Tests] = {
    "dataset": datasets.TESTS,
    "transform": transforms.TESTS,
    "architecture": architectures.TESTS,
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
    """Every check of every component that a plugin registers.

    Args:
        plugin: its module, or the module's name or path, as for ``--plugin``.
        options: {component: options, or several of them} that it is tried with, those that it
            requires at least; data sets are best made small. By default none; None: this component is
            not tried, only its options are looked at.
        shapes: what architectures and transforms are tried with.
        domains: what losses and metrics are tried with, as in a configuration; default:
            :data:`DOMAINS`, which are called "one" and "two".
        losses: what is there beside the loss or metric tried, as in a configuration; a loss that
            trains both teams is tried alone.

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
    """Those that the module ``name`` registers; coupling's own rooms, which are loaded in any case, too."""
    components = plugins.registry.components.values()
    if any(component.owner == name for component in components):
        return [component for component in components if component.owner == name]
    registered: list[Callable[..., Any]] = []
    for caller in (getattr(plugins.manager.hook, f"register_{_PLURAL.get(kind, kind + 's')}") for kind in KINDS):
        for implementation in caller.get_hookimpls():
            if getattr(implementation.plugin, "__name__", "") == name:
                implementation.function(lambda _, make: registered.append(make))
    return [component for component in components if component.make in registered]
