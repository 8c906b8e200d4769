"""Find plugins, keep the broken ones with their reason, and collect what the others register.

Our own entry-point loader: pluggy's drops a second plugin of the same name silently and dies of one broken plugin.
Runs only in processes that compose a config.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

from mmeframe._version import __version__
from mmeframe.errors import PluginError, UsageError, suggest
from mmeframe.imports import from_router
from mmeframe.plugin import hookspecs
from mmeframe.plugin.faults import hides, hook_fault, path_fault, records_fault, version_fault
from mmeframe.plugin.kinds import KINDS
from mmeframe.plugin.records import ComponentPlugin
from mmeframe.plugin.registered import PluginInfo, Plugins, Registered, of_plugin

__all__ = ["ENTRY_POINTS", "PluginInfo", "Plugins", "Registered", "isolated_plugins", "load_plugins"]

ENTRY_POINTS = "mmeframe"
# Named as strings, exactly as a bundle records plugins: this layer does not import the one above it.
BUILTIN = "mmeframe.builtin.plugin"

_DISABLED = "disabled by -p no: or MMEFRAME_DISABLE_PLUGINS"


def split_switches(switches: Iterable[str]) -> tuple[list[str], list[str]]:
    """``-p`` values and the two variables: modules to enable, names to disable."""
    enable = [name for name in os.environ.get("MMEFRAME_PLUGINS", "").split(",") if name.strip()]
    disable = [name for name in os.environ.get("MMEFRAME_DISABLE_PLUGINS", "").split(",") if name.strip()]
    for switch in switches:
        if switch.startswith("no:"):
            disable.append(switch[3:])
        else:
            enable.append(switch)
    return [name.strip() for name in enable], [name.strip() for name in disable]


def load_plugins(switches: Iterable[str] = ()) -> Plugins:
    """Load the built-ins, the installed plugins and the modules named by ``-p`` and ``MMEFRAME_PLUGINS``.

    switches: values of ``-p``: a module to add, or ``no:NAME`` with the name of a plugin or a distribution, or the full
    name of a component. Raises PluginError for a module named on purpose that cannot be used.
    """
    switches = list(switches)
    enable, disable = split_switches(switches)
    loader = _Loader(disable, switches)
    # What a plugin prints would be part of an answer: of --json, or to a shell that completes.
    with redirect_stdout(sys.stderr):
        loader.add_module("builtin", BUILTIN, "mmeframe", __version__)
        loader.add_installed()
        for name in dict.fromkeys(enable):
            loader.add_named(name)
        plugins = loader.collect()
    for info in plugins.plugins:
        if info.module in enable and info.status == "broken":
            raise PluginError(info.reason, where=f"-p {info.module}") from info.error
    known = {name for info in plugins.plugins[1:] for name in (info.name, info.distribution) if name}
    known |= loader.full_names
    for switch in switches:
        if switch.startswith("no:") and switch[3:] not in known:
            raise UsageError(
                f"there is no plugin {switch[3:]!r}.", where=f"-p {switch}", hint=suggest(switch[3:], known)
            )
    return plugins


def isolated_plugins(*plugins: Any) -> Plugins:
    """The built-ins and these plugins, whatever is installed or switched on: for tests.

    plugins: names of modules, modules, or objects with hooks as methods.
    Raises PluginError for one that cannot be used, and for a name registered twice.
    """
    loader = _Loader((), ())
    loader.add_module("builtin", BUILTIN, "mmeframe", __version__)
    for plugin in plugins:
        loader.add_object(plugin)
    found = loader.collect()
    for info in found.plugins:
        if info.status == "broken":
            raise PluginError(info.reason, where=info.name) from info.error
    for clash in found.clashes():
        raise clash
    return found


class _Loader:
    """One pass over plugins; not reused."""

    def __init__(self, disable: Sequence[str], switches: Sequence[str]) -> None:
        self._disable, self._switched = set(disable), switches
        self._manager = pluggy.PluginManager("mmeframe")
        self._manager.add_hookspecs(hookspecs)
        self._infos: list[PluginInfo] = []
        self._modules: dict[str, PluginInfo] = {}
        # Of all components that plugins have, disabled ones too.
        self.full_names: set[str] = set()

    def add_installed(self) -> None:
        """Plugins by entry point, in a stable order, each with its own fate."""
        # A distribution reads its metadata anew at each question.
        read = [(dist.metadata, dist.entry_points) for dist in _distributions()]
        found = [(entry, facts["Name"], facts) for facts, entries in read for entry in entries]
        found = [it for it in found if it[0].group == ENTRY_POINTS]
        for entry, name, facts in sorted(found, key=lambda it: (it[0].name, it[1])):
            info = PluginInfo(entry.name, entry.value, name, facts["Version"])
            self._infos.append(info)
            rival = next((o for o in self._infos[:-1] if o.name == entry.name and o.status != "disabled"), None)
            if self._disable & {entry.name, name}:
                info.status, info.reason = "disabled", _DISABLED
            elif rival:
                info.status = "broken"
                info.reason = f"{rival.title} has a plugin of the same name. Disable one with -p no:{name}."
            else:
                requires = facts.get_all("Requires-Dist") or ()
                info.reason = version_fault(info, requires) or self._import(info, entry.load)
                info.status = "broken" if info.reason else "ok"

    def add_named(self, module: str) -> None:
        """A module named on the command line: here every fault stops the command."""
        if module in [info.module for info in self._infos]:
            return
        if module in self._disable:
            self._infos.append(PluginInfo(module, module, status="disabled", reason=_DISABLED))
            return
        where = f"-p {module}" if module in self._switched else "MMEFRAME_PLUGINS"
        if module.endswith(".py") or not all(part.isidentifier() for part in module.split(".")):
            raise UsageError(
                f"{module!r} is no name of a module.", where=where, hint="Write package.module, without .py or a path."
            )
        # Like ``python -m``; at the end, so that a file here never stands in for an installed package.
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)
        self.add_module(module, module, None, None)
        info = self._infos[-1]
        if info.reason == f"No module named {module!r}":
            hint = "It must be installed, or lie in the working directory."
            raise UsageError(f"there is no module {module!r}.", where=where, hint=hint)
        if info.status == "broken":
            raise PluginError(info.reason, where=where) from info.error
        if not self._manager.get_hookcallers(sys.modules[module]):
            hint = f"A hook is a function such as {KINDS[0].hook}, marked with @hookimpl."
            raise PluginError(f"module {module} has no hook, so it is no plugin.", where=where, hint=hint)

    def add_module(self, name: str, module: str, dist: str | None, version: str | None) -> None:
        info = PluginInfo(name, module, dist, version)
        self._infos.append(info)
        info.reason = self._import(info, lambda: importlib.import_module(module))
        info.status = "broken" if info.reason else "ok"

    def add_object(self, plugin: Any) -> None:
        """A module, or its name, or an object whose methods are hooks."""
        if isinstance(plugin, str):
            self.add_module(plugin, plugin, None, None)
        else:
            name = getattr(plugin, "__name__", type(plugin).__qualname__)
            self._infos.append(PluginInfo(name, name))
            self._infos[-1].reason = self._import(self._infos[-1], lambda: plugin)
        info = self._infos[-1]
        if not info.reason and not info.hooks:
            info.reason = f"{info.name} has no hook, so it is no plugin."
        info.status = "broken" if info.reason else "ok"

    def _import(self, info: PluginInfo, load: Any) -> str:
        """Import and register; returns why that failed, or an empty text."""
        start = time.perf_counter()
        try:
            module = load()
        except BaseException as error:  # noqa: BLE001 - a plugin may fail in any way, and must not take us down
            info.error = of_plugin(error)
            # What is not installed says enough by its name.
            place = "" if isinstance(error, ModuleNotFoundError) else _place(error, info.module)
            said = (
                str(error) if isinstance(error, Exception) and str(error) else f"{type(error).__name__} {error}".strip()
            )
            return f"{said}{place}"
        finally:
            info.seconds = time.perf_counter() - start
        if from_router(info.module):
            what = info.module.partition(".")[0]
            return f"this process has imported the {what} that a router carries. Begin a new process."
        if name := self._manager.get_name(module):
            return f"Plugin {info.name!r} is registered already, as {name!r}."
        if rival := self._modules.get(info.name):
            return f"{rival.title} has a plugin of the same name."
        fault = hook_fault(info.name, module, self._manager)
        if fault:
            return fault
        try:
            self._manager.register(module, name=info.name)
            self._manager.check_pending()
            info.hooks = sorted(caller.name for caller in self._manager.get_hookcallers(module) or ())
        except (ValueError, pluggy.PluginValidationError) as error:
            self._manager.unregister(name=info.name)
            return f"Plugin {info.name!r}: {error}"
        self._modules[info.name] = info
        return ""

    def collect(self) -> Plugins:
        offered: dict[str, list[Registered]] = {kind.noun: [] for kind in KINDS}
        for kind in KINDS:
            for impl in getattr(self._manager.hook, kind.hook).get_hookimpls():
                info = self._modules[impl.plugin_name]
                try:
                    given = impl.function()
                    records = [] if isinstance(given, ComponentPlugin) else list(given)
                    fault = records_fault(kind, given, records)
                except BaseException as error:  # noqa: BLE001 - attributed to its plugin, whatever it is
                    records, fault = [], f"{kind.hook}() raised {type(error).__name__}: {error}"
                    info.error = of_plugin(error)
                if fault:
                    info.status, info.reason = "broken", f"Plugin {info.name!r}: {fault}"
                    continue
                for record in records:
                    self._offer(Registered(record, info, kind), offered[kind.noun])
        paths = self._config_paths(offered)
        calls = {name: list(self._calls(name)) for name in ("mmeframe_check_spec", "mmeframe_router_logged")}
        return Plugins(self._infos, offered, paths, calls)

    def _offer(self, entry: Registered, offered: list[Registered]) -> None:
        self.full_names.update(entry.full_names)
        if self._disable.isdisjoint(entry.full_names):
            offered.append(entry)
            entry.plugin.provides.setdefault(entry.kind.noun, []).append(entry.record.name)
        else:
            entry.plugin.off.append(entry.record.name)

    def _calls(self, hook: str) -> Iterator[tuple[PluginInfo, Callable[[Mapping[str, Any]], Any]]]:
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            info = self._modules[impl.plugin_name]
            # What is broken in one way is not asked in another.
            if info.status == "ok":
                yield info, partial(_called, impl)

    def _config_paths(self, offered: Mapping[str, Sequence[Registered]]) -> list[str]:
        found: list[str] = []
        for info, call in self._calls("mmeframe_config_paths"):
            try:
                paths = list(call({}))
                fault = next((it for path in paths if (it := path_fault(path) or hides(path, offered))), "")
            except BaseException as error:  # noqa: BLE001 - attributed to its plugin, whatever it is
                paths, fault = [], f"raised {type(error).__name__}: {error}"
                info.error = of_plugin(error)
            if fault:
                info.status, info.reason = "broken", f"Plugin {info.name!r}: mmeframe_config_paths() {fault}"
                continue
            found += paths
            if paths:
                info.provides["config path"] = [str(path) for path in paths]
        return found


def _place(error: BaseException, module: str) -> str:
    """`` (plugin.py, line 7)``: the last line of the plugin's own package that was running; empty if none was."""
    package, place = module.partition(":")[0].partition(".")[0], ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            place = f" ({Path(frame.f_code.co_filename).name}, line {line})"
    return place


def _called(impl: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
    """An implementation may take fewer arguments than its hook has."""
    return impl.function(*[arguments[name] for name in impl.argnames])


def _distributions() -> Iterable[metadata.Distribution]:
    """Installed distributions with plugins, the first of each name, as imports would find them.

    ``entry_points`` tells names by folders: the metadata of every installed distribution would take long to read.
    """
    found: dict[str, metadata.Distribution] = {}
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        if entry.dist is not None and (name := entry.dist.name):
            found.setdefault(name, entry.dist)
    return found.values()
