"""The plugin manager: built-ins, entry points and ``--plugin``, all through one door."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from coupling import __version__, hookspecs
from coupling.errors import PluginError
from coupling.registry import KINDS, Registry

BUILTIN = tuple(f"coupling.builtin.{room}" for room in ("architectures", "datasets", "transforms", "losses", "metrics"))
_HOOK_OF_KIND = {
    "architecture": "register_architectures",
    "dataset": "register_datasets",
    "transform": "register_transforms",
    "loss": "register_losses",
    "metric": "register_metrics",
}


class Plugins:
    """Every plugin that could be loaded, what they registered, and those left out."""

    def __init__(self, modules: Iterable[str] = (), *, entry_points: bool = True) -> None:
        """Load the built-ins, then installed plugins, then ``modules`` (names or .py files).

        An installed plugin that fails is left out and noted in ``registry.broken``; one of
        ``modules`` that fails was asked for by name and raises :class:`PluginError`.
        """
        self.registry = Registry()
        self._owners: dict[str, str] = {}
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        for name in BUILTIN:
            self._admit(importlib.import_module(name), "coupling", name)
        if entry_points:
            for point in importlib.metadata.entry_points(group=hookspecs.PROJECT):
                distribution = point.dist.name if point.dist else point.name
                self._isolate(point.load, owner=distribution, unique=f"{distribution}:{point.name}")
        for module in modules:
            self._admit_named(module)

    def _isolate(self, load: Callable[[], ModuleType], owner: str, unique: str) -> None:
        try:
            self._admit(load(), owner, unique)
        except Exception as error:  # whatever a stranger's plugin does, the command goes on without it
            self.registry.broken[owner] = f"{type(error).__name__}: {error}"

    def _admit_named(self, module: str) -> None:
        try:
            loaded = _import(module)
        except Exception as error:
            raise PluginError(
                f"--plugin {module}: cannot be imported: {type(error).__name__}: {error}; "
                "give a module that Python can import from here, or a path to a .py file"
            ) from None
        if not self.manager.is_registered(loaded):  # it may be installed as well as named
            self._admit(loaded, owner=module, unique=module)

    def _admit(self, plugin: ModuleType, owner: str, unique: str) -> None:
        """Register a plugin's hooks and components; on failure leave no trace of it."""
        self.manager.register(plugin, name=unique)
        try:
            self._check_pending(owner, plugin)
            for kind in KINDS:
                hook = getattr(self.manager.hook, _HOOK_OF_KIND[kind])
                for implementation in hook.get_hookimpls():
                    if implementation.plugin is plugin:
                        implementation.function(self._door(kind, owner))
            self._owners[unique] = owner
        except Exception:
            self.manager.unregister(plugin)
            if owner != "coupling":
                self.registry.drop(owner)
            raise

    def _door(self, kind: str, owner: str) -> Callable[[str, Callable[..., Any]], None]:
        return lambda name, make: self.registry.add(kind, name, make, owner)

    def _check_pending(self, owner: str, plugin: ModuleType) -> None:
        """A marked function that is no hook of ours is a misspelt one: say so."""
        try:
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"plugin '{owner}' ({plugin.__name__}): {error}") from None

    def versions(self) -> dict[str, str]:
        """Plugins in use, with the version of their distribution (empty where they have none)."""
        versions = {}
        for owner in self.owners:
            try:
                versions[owner] = __version__ if owner == "coupling" else importlib.metadata.version(owner)
            except importlib.metadata.PackageNotFoundError:
                versions[owner] = ""
        return versions

    @property
    def owners(self) -> list[str]:
        """Names of the plugins in use, in order of loading."""
        return list(dict.fromkeys(self._owners.values()))


def _import(module: str) -> ModuleType:
    path = Path(module)
    if path.suffix != ".py":
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.insert(0, here)
        return importlib.import_module(module)
    if not path.is_file():
        raise FileNotFoundError(f"no file '{path}'")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and inspect.getsourcefile(known) == str(path.resolve()):
        return known
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # so that classes in it can be pickled for worker processes
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[name]
        raise
    return loaded


@lru_cache(maxsize=8)
def installed(modules: tuple[str, ...] = ()) -> Plugins:
    """The plugins of this environment (loaded once), with ``modules`` besides."""
    return Plugins(modules)
