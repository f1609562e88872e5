"""The plugin manager, which loads built-in components, installed plugins and ``--plugin`` in the same way."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import click
import pluggy

from coupling import hookspecs
from coupling.config.registry import KINDS, Registry
from coupling.errors import PluginError, cause, nearest
from coupling.system.terminal import show_origin, warn
from coupling.version import __version__

BUILTIN = ("coupling.builtin",)


_HOOK_OF_KIND = {
    "architecture": "register_architectures",
    "dataset": "register_datasets",
    "transform": "register_transforms",
    "augmentation": "register_augmentations",
    "loss": "register_losses",
    "metric": "register_metrics",
}


class Plugins:
    """The plugins that could be loaded, what they registered, and which could not be loaded."""

    def __init__(self, modules: Iterable[str] = (), *, entry_points: bool = True) -> None:
        """Load the built-in components, then the installed plugins, then ``modules``.

        An installed plugin that fails is left out and noted in ``registry.broken``.

        Args:
            modules: names of modules, or paths to .py files.
            entry_points: whether to load the installed plugins.

        Raises:
            PluginError: one of ``modules`` cannot be imported or used.
        """
        self.registry = Registry()
        self._owners: dict[str, str] = {}
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        for name in BUILTIN:
            self._add(importlib.import_module(name), "coupling", name)
        if entry_points:
            for point in importlib.metadata.entry_points(group=hookspecs.PROJECT):
                distribution = point.dist.name if point.dist else point.name
                self._add_installed(point.load, owner=distribution, unique=f"{distribution}:{point.name}")
        for module in modules:
            self._add_named(module)

    def _add_installed(self, load: Callable[[], ModuleType], owner: str, unique: str) -> None:
        """Load an installed plugin; note it as broken if that fails for any reason."""
        try:
            self._add(load(), owner, unique)
        except (Exception, SystemExit) as error:
            show_origin(error)
            self.registry.broken[owner] = cause(error)

    def _add_named(self, module: str) -> None:
        """Load a plugin that the user named; raises :class:`PluginError` if that fails."""
        try:
            loaded = _import(module)
        except PluginError as error:
            raise PluginError(f"--plugin {module}: {error}") from None
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"--plugin {module}: cannot be imported: {cause(error)}; "
                "give a module that Python can import from here, or a path to a .py file"
            ) from error
        if self.manager.is_registered(loaded):  # it is installed, or was named twice
            return
        try:
            self._add(loaded, owner=module, unique=module)
        except PluginError as error:
            raise PluginError(f"--plugin {module}: {error}") from None
        except Exception as error:
            raise PluginError(f"--plugin {module}: cannot be used: {cause(error)}") from error

    def _add(self, plugin: ModuleType, owner: str, unique: str) -> None:
        """Register a plugin's hooks and components; if that fails, remove all of them."""
        before = dict(self.registry.components)
        try:
            self._add_hooks(plugin, owner, unique)
            for kind in KINDS:
                hook = getattr(self.manager.hook, _HOOK_OF_KIND[kind])
                for implementation in hook.get_hookimpls():
                    if implementation.plugin is plugin:
                        implementation.function(self._register(kind, owner))
            self._owners[unique] = owner
        except BaseException:
            if self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            self.registry.components = before
            raise

    def _register(self, kind: str, owner: str) -> hookspecs.Register:
        """The function ``register`` that the hook for components of this kind receives."""
        return lambda name, make: self.registry.add(kind, name, make, owner)

    def _add_hooks(self, plugin: ModuleType, owner: str, unique: str) -> None:
        """Register a plugin's hooks; raises :class:`PluginError` if there are none, or one is misspelt."""
        try:
            self.manager.register(plugin, name=unique)
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            names = [name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), "coupling_spec")]
            marked = [name for name, value in vars(plugin).items() if hasattr(value, "coupling_impl")]
            for name in marked:
                if name not in names:
                    raise PluginError(f"plugin '{owner}': no hook is called '{name}'; {nearest(name, names)}") from None
            raise PluginError(f"plugin '{owner}': {' '.join(str(error).split())}") from None
        if not self.manager.get_hookcallers(plugin):
            raise PluginError(
                f"plugin '{owner}': module {plugin.__name__} has no hook of coupling's; define one, "
                "register_datasets(register) for example, and mark it with @coupling.hookimpl"
            )

    def commands(self, taken: Mapping[str, str]) -> dict[str, click.Command]:
        """The commands that plugins register by the hook, by name.

        A plugin whose commands cannot be made, or whose command has the name of somebody else's, is noted in
        ``registry.broken``, and its commands are left out.

        Args:
            taken: names of commands that are known already, with their owners. A plugin may register such a command
                of its own once more; it is left out.
        """
        commands: dict[str, click.Command] = {}
        owners = dict(taken)
        for implementation in self.manager.hook.register_commands.get_hookimpls():
            owner = self._owners[implementation.plugin_name]
            group = click.Group()
            try:
                implementation.function(group)
                for name in group.commands:
                    if owners.get(name, owner) != owner:
                        raise PluginError(
                            f"command '{name}' is registered twice: by '{owners[name]}' and by '{owner}'; "
                            "uninstall or rename one of them"
                        )
            except Exception as error:
                show_origin(error)
                self.registry.broken[owner] = f"its commands are left out: {cause(error)}"
                continue
            commands |= {name: command for name, command in group.commands.items() if name not in owners}
            owners |= dict.fromkeys(group.commands, owner)
        return commands

    def notify(self, hook: str, read: Callable[[Any], Any] | None = None, /, **values: Any) -> list[Any]:
        """Call a hook of all plugins; returns their answers.

        A hook that fails gives a warning and no answer, so that no plugin can end a long run.

        Args:
            hook: name of the hook.
            read: converts an answer; where it raises, the hook has failed.
            values: arguments of the hook by name.
        """
        answers = []
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            try:
                answer = implementation.function(*[values[name] for name in implementation.argnames])
                answers.append(answer if read is None else read(answer))
            except Exception as error:
                show_origin(error)
                warn(f"plugin '{self._owners[implementation.plugin_name]}': {hook} failed: {cause(error)}")
        return answers

    def versions(self) -> dict[str, str]:
        """The plugins in use with the versions of their distributions; empty for those without a distribution."""
        versions = {}
        for owner in self.owners:
            try:
                versions[owner] = __version__ if owner == "coupling" else importlib.metadata.version(owner)
            except importlib.metadata.PackageNotFoundError:
                versions[owner] = ""
        return versions

    @property
    def owners(self) -> list[str]:
        """Names of the plugins in use, in the order of loading."""
        return list(dict.fromkeys(self._owners.values()))


def _import(module: str) -> ModuleType:
    """Import the module of this name, or in this .py file, so that worker processes can import it too."""
    if not module.endswith(".py"):
        _search_in(Path.cwd())
        return importlib.import_module(module)
    path = Path(module).resolve()
    if not path.is_file():
        raise PluginError(f"there is no file {path}")
    if not path.stem.isidentifier():
        raise PluginError(f"'{path.stem}' cannot be a module's name: rename the file to letters, digits and _")
    _search_in(path.parent)
    loaded = importlib.import_module(path.stem)
    home = getattr(loaded, "__file__", None)
    if home is None or Path(home).resolve() != path:
        raise PluginError(f"there is another module called '{path.stem}' ({home or 'part of Python'}): rename the file")
    return loaded


def _search_in(folder: Path) -> None:
    """Let Python look for modules in ``folder`` too; last, so that they hide no others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()


@lru_cache(maxsize=8)
def installed(modules: tuple[str, ...] = ()) -> Plugins:
    """The plugins of this environment and ``modules``, loaded once."""
    return Plugins(modules)


GivenPlugins: TypeAlias = Plugins | str | Iterable[str] | None
"""Plugins, or what ``--plugin`` takes: names of modules or .py files, loaded besides the installed plugins."""


def plugins_of(given: GivenPlugins) -> Plugins:
    """The plugins that a caller gives; None: those of this environment.

    Raises:
        PluginError: a module cannot be loaded.
    """
    if isinstance(given, Plugins):
        return given
    return installed((given,) if isinstance(given, str) else tuple(given or ()))
