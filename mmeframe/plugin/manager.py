"""Find plugins, keep the broken ones with their reason, and collect what the others register.

Our own entry-point loader: pluggy's drops a second plugin of the same name silently and dies of one broken plugin.
Runs only in processes that compose a config.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

import mmeframe
from mmeframe.errors import PluginError, Problem, UnknownNameError, UsageError, nearest, suggest
from mmeframe.imports import from_router
from mmeframe.plugin import hookspecs
from mmeframe.plugin.kinds import CHOSEN, KINDS, LOADER, Kind, of_group
from mmeframe.plugin.records import ComponentPlugin, ModelLoaderPlugin
from mmeframe.spec import Component, Logged, RouterSpec

__all__ = ["API_VERSION", "ENTRY_POINTS", "PluginInfo", "Plugins", "Registered", "isolated_plugins", "load_plugins"]

ENTRY_POINTS = "mmeframe"
API_VERSION = 1
# Named as strings, exactly as a bundle records plugins: this layer does not import the one above it.
BUILTIN = "mmeframe.builtin.plugin"

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DISABLED = "disabled by -p no: or MMEFRAME_DISABLE_PLUGINS"
_RESERVED = {"keys", "levels", "on_unknown", "kind"}


# What config paths are written as: Hydra's scheme for folders of packages.
_PACKAGE = "pkg://"


@dataclass(slots=True)
class PluginInfo:
    """One plugin as ``mmeframe plugins`` shows it. ``reason``: why it is broken or disabled.

    provides: names by the noun of what they name. hooks: those that it implements. off: its components that are
    disabled. error: what it raised when it was imported or asked. seconds: how long its import took, with that of what
    nobody had imported before.
    """

    name: str
    module: str
    distribution: str | None = None
    version: str | None = None
    status: str = "ok"
    reason: str = ""
    provides: dict[str, list[str]] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    off: list[str] = field(default_factory=list)
    error: BaseException | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def title(self) -> str:
        """``mmeframe-geo 0.3.1``, or the module for a plugin that no distribution ships."""
        return f"{self.distribution} {self.version}" if self.distribution else self.module


@dataclass(frozen=True, slots=True)
class Registered:
    """A record, the plugin that registered it, and its kind."""

    record: ComponentPlugin[Any]
    plugin: PluginInfo
    kind: Kind

    @property
    def full_names(self) -> list[str]:
        """``mmeframe-geo.geohash``: its name with that of the distribution, and with that of the plugin."""
        owners = (self.plugin.distribution, self.plugin.name)
        return [f"{owner}.{self.record.name}" for owner in dict.fromkeys(owners) if owner]

    def component(self, options: Mapping[str, Any]) -> Component:
        """The component as a spec or a bundle records it."""
        conf = self.record.config
        return Component(self.record.name, self.record.target, f"{conf.__module__}:{conf.__qualname__}", dict(options))


# Implementations of one hook: whose, and what calls it with the arguments that it takes.
Calls = Sequence[tuple[PluginInfo, Callable[[Mapping[str, Any]], Any]]]


class Plugins:
    """Everything that the enabled plugins register, by noun and name.

    registered: by the names that choose them: where several have one name, by full names. offered: all of them, by
    noun. config_paths: folders of YAML files, as ``pkg://`` addresses. calls: of the hooks that are called later, by
    name.
    """

    def __init__(
        self,
        plugins: Sequence[PluginInfo],
        offered: Mapping[str, Sequence[Registered]],
        config_paths: Sequence[str] = (),
        calls: Mapping[str, Calls] | None = None,
    ) -> None:
        self.plugins = tuple(plugins)
        self._named = {noun: _by_name(entries) for noun, entries in offered.items()}
        self.registered = {
            noun: {self._shown(noun, entry): entry for entry in entries} for noun, entries in offered.items()
        }
        self.config_paths = tuple(config_paths)
        self._calls = dict(calls or {})

    def _shown(self, noun: str, entry: Registered) -> str:
        """The first of its names that no other component has."""
        names = [entry.record.name, *entry.full_names]
        return next((name for name in names if len(self._named[noun][name]) == 1), names[-1])

    def choices(self, noun: str) -> dict[str, Registered]:
        """All names that may be written in a config, full names too; of several of one name ``get`` chooses none."""
        return {name: entries[0] for name, entries in self._named[noun].items()}

    def chosen(self, group: str, name: str) -> Registered | None:
        """The component that ``group=name`` chooses, None where it is none."""
        kind = of_group(group)
        return self.choices(kind.noun).get(name) if kind else None

    def clashes(self) -> list[PluginError]:
        """Names that several components have: each breaks only what is chosen by it."""
        return [
            _clash_of(name, entries)
            for names in self._named.values()
            for name, entries in names.items()
            if len(entries) > 1
        ]

    def check_spec(self, spec: RouterSpec) -> list[Problem]:
        """What plugins have against a config. A plugin that cannot say is a problem, too."""
        found: list[Problem] = []
        for info, call in self._calls.get("mmeframe_check_spec", ()):
            try:
                problems = list(call({"spec": spec}) or ())
                strange = next((type(it).__name__ for it in problems if not isinstance(it, Problem)), None)
                said = f"must return Problem records, not {strange}" if strange else ""
            except BaseException as error:  # noqa: BLE001 - attributed to its plugin, whatever it is
                problems, said = [], f"raised {type(error).__name__}: {error}"
                info.error = _of_plugin(error)
            if said:
                hint = f"Disable it with -p no:{info.distribution or info.name}."
                problems = [Problem("plugins", f"{info.title}: mmeframe_check_spec() {said}.", hint, "plugin")]
            found += problems
        return found

    def router_logged(self, spec: RouterSpec, logged: Logged) -> list[str]:
        """Tell plugins of a router that was logged; returns a line for each that failed."""
        lines = []
        for info, call in self._calls.get("mmeframe_router_logged", ()):
            try:
                call({"spec": spec, "logged": logged})
            except BaseException as error:  # noqa: BLE001 - the router is logged, whatever a plugin does
                said = f"{type(error).__name__}: {error}"
                info.error = _of_plugin(error)
                lines.append(f"{info.title}: mmeframe_router_logged() raised {said}; the router is not affected.")
        return lines

    def presets(self, group: str) -> list[str]:
        """Names of the YAML files that plugins ship for a config group."""
        return sorted({file.stem for folder in self.config_folders() for file in (folder / group).glob("*.yaml")})

    def config_folders(self) -> list[Path]:
        """Folders of YAML files that plugins ship, in the order in which they are searched."""
        return [Path(folder) for path in self.config_paths for folder in _folders(path)]

    def names(self, noun: str) -> list[str]:
        """Sorted names of one kind of component, e.g. ``"model source"``."""
        return sorted(self.registered[noun])

    def get(self, noun: str, name: str, where: str) -> Registered:
        """Look up a named component.

        Raises UnknownNameError with the nearest name, and with the plugins that are broken or disabled.
        """
        found = self._named[noun].get(name, ())
        if len(found) == 1:
            return found[0]
        if found:
            raise _clash_of(name, found, where)
        raise UnknownNameError(where, noun, name, self.names(noun), also=self.absent())

    def absent(self) -> str:
        """What could have provided an unknown name, had it been loaded."""
        lines = []
        for plugin in self.plugins:
            if plugin.status == "broken":
                lines.append(f"{plugin.title} failed to import and may provide it: {plugin.reason.rstrip('.')}.")
            elif plugin.status == "disabled":
                lines.append(f"{plugin.title} is disabled and may provide it.")
            elif plugin.off:
                lines.append(f"{', '.join(plugin.off)} of {plugin.title} is disabled.")
        return " ".join(lines)

    @property
    def loaders(self) -> dict[str, ModelLoaderPlugin]:
        """The records of model loaders, by name."""
        found = self.registered[LOADER.noun].items()
        return {name: entry.record for name, entry in found if isinstance(entry.record, ModelLoaderPlugin)}

    def loaders_for(self, flavor: str) -> list[str]:
        """The loaders that claim a flavor."""
        return [name for name, record in self.loaders.items() if flavor in record.flavors]

    def loader_for(self, flavor: str, where: str = "") -> str | None:
        """The loader that claims a flavor, None if none does. Raises PluginError if several do."""
        names = self.loaders_for(flavor)
        if len(names) > 1:
            raise self._rivals(names, f"claim the flavor {flavor!r}", where)
        return names[0] if names else None

    def suffixes(self) -> list[str]:
        """The suffixes of the bare files that some loader reads."""
        return list(dict.fromkeys(suffix for record in self.loaders.values() for suffix in record.suffixes))

    def form(self, suffix: str, loader: Component | None, where: str = "") -> tuple[str, Mapping[str, str]]:
        """The flavor of bare files with a suffix, and what its section of an MLmodel file would say.

        loader: the one that is chosen for such a file; others may read it, too, or instead.
        Raises PluginError if several read it in different ways, and none of these is chosen.
        """
        records = {name: record for name, record in self.loaders.items() if suffix in record.suffixes}
        forms = {name: (record.flavors[0], record.suffixes[suffix]) for name, record in records.items()}
        wanted = (loader.kind, loader.target) if loader else None
        chosen = [name for name, record in records.items() if (record.name, record.target) == wanted]
        first, *others = chosen or forms
        if any(forms[other] != forms[first] for other in others):
            raise self._rivals([*forms], f"read {suffix} in different ways", where)
        return forms[first]

    def _rivals(self, names: Sequence[str], what: str, where: str) -> PluginError:
        """What to raise for something that several loaders do, with what to write instead."""
        loaders = [self.registered[LOADER.noun][name] for name in names]
        claims = [f"{name!r} of {entry.plugin.title}" for name, entry in zip(names, loaders, strict=True)]
        return PluginError(
            f"{_number(names)} model loaders {what}: {' and '.join(claims)}.",
            where=where,
            hint=f"Choose one with models.<id>.loader, or disable one with -p no:{loaders[-1].full_names[0]}.",
        )


def _by_name(entries: Iterable[Registered]) -> dict[str, list[Registered]]:
    """Names and full names -> the components that have them."""
    found: dict[str, list[Registered]] = {}
    for entry in entries:
        for name in (entry.record.name, *entry.full_names):
            found.setdefault(name, []).append(entry)
    return found


def _clash_of(name: str, entries: Sequence[Registered], where: str = "") -> PluginError:
    """What to raise for a name that several components have, with what to write instead."""
    full = [next((other for other in entry.full_names if other != name), name) for entry in entries]
    titles = " and ".join(entry.plugin.title for entry in entries)
    return PluginError(
        f"{_number(entries)} {entries[0].kind.plural} are named {name!r}: {titles}.",
        where=where,
        hint=f"Write {' or '.join(full)}, or disable one with -p no:{full[-1]}.",
    )


def _number(rivals: Sequence[Any]) -> str:
    return "two" if len(rivals) == 2 else str(len(rivals))


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
        loader.add_module("builtin", BUILTIN, "mmeframe", mmeframe.__version__)
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
    loader.add_module("builtin", BUILTIN, "mmeframe", mmeframe.__version__)
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
                info.reason = _clash(info, facts.get_all("Requires-Dist") or ()) or self._import(info, entry.load)
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
            info.error = _of_plugin(error)
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
        fault = _hook_faults(info.name, module, self._manager)
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
                    fault = _records_fault(kind, given, records)
                except BaseException as error:  # noqa: BLE001 - attributed to its plugin, whatever it is
                    records, fault = [], f"{kind.hook}() raised {type(error).__name__}: {error}"
                    info.error = _of_plugin(error)
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
                fault = next((it for path in paths if (it := _path_fault(path) or _hides(path, offered))), "")
            except BaseException as error:  # noqa: BLE001 - attributed to its plugin, whatever it is
                paths, fault = [], f"raised {type(error).__name__}: {error}"
                info.error = _of_plugin(error)
            if fault:
                info.status, info.reason = "broken", f"Plugin {info.name!r}: mmeframe_config_paths() {fault}"
                continue
            found += paths
            if paths:
                info.provides["config path"] = [str(path) for path in paths]
        return found


def _of_plugin(error: BaseException) -> BaseException:
    """What a plugin's code raised, an exit or a panic of its library, too; but Ctrl-C is the user's."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    return error


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


def _path_fault(path: Any) -> str:
    if not isinstance(path, str) or not path.startswith(_PACKAGE):
        return f"must return texts such as 'pkg://my_package.conf', not {path!r}."
    if not any(Path(folder).is_dir() for folder in _folders(path)):
        return f"names {path!r}, and there is no such folder in a package."
    return ""


def _hides(path: str, offered: Mapping[str, Sequence[Registered]]) -> str:
    """A file named like a kind would be what everybody gets who chooses that kind."""
    for kind in CHOSEN:
        for folder in _folders(path):
            for file in sorted((Path(folder) / kind.group).glob("*.yaml")):
                if (entry := next((it for it in offered[kind.noun] if it.record.name == file.stem), None)) is not None:
                    what = f"{kind.noun} {file.stem!r} of {entry.plugin.title}"
                    return f"brings {kind.group}/{file.name}, which would hide the {what}. Rename the file."
    return ""


def _folders(path: str) -> list[str]:
    """The folders behind a ``pkg://`` address."""
    try:
        spec = importlib.util.find_spec(path.removeprefix(_PACKAGE).strip("/").replace("/", "."))
    except (ModuleNotFoundError, ValueError):
        return []
    return list(spec.submodule_search_locations or ()) if spec else []


def _distributions() -> Iterable[metadata.Distribution]:
    """Installed distributions with plugins, the first of each name, as imports would find them.

    ``entry_points`` tells names by folders: the metadata of every installed distribution would take long to read.
    """
    found: dict[str, metadata.Distribution] = {}
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        if entry.dist is not None and (name := entry.dist.name):
            found.setdefault(name, entry.dist)
    return found.values()


def _clash(info: PluginInfo, requires: Iterable[str]) -> str:
    from packaging.requirements import InvalidRequirement

    try:
        return _version_clash(info, requires)
    except InvalidRequirement as error:
        return f"its metadata cannot be read: {str(error).splitlines()[0]}"


def _version_clash(info: PluginInfo, requires: Iterable[str]) -> str:
    """What STYLE asks for when a plugin's own requirement excludes this mmeframe."""
    from packaging.requirements import Requirement

    for text in requires:
        need = Requirement(text)
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if need.name == "mmeframe" and applies and not need.specifier.contains(mmeframe.__version__, prereleases=True):
            later = any(_after(it) for it in need.specifier)
            cure = f"a newer mmeframe, or an older {info.distribution}" if later else f"a newer {info.distribution}"
            return f"{info.title} needs mmeframe {need.specifier}; this is {mmeframe.__version__}. Install {cure}."
    return ""


def _after(wanted: Any) -> bool:
    """Whether one clause of a requirement asks for a later mmeframe than this."""
    from packaging.version import Version

    return wanted.operator in (">=", ">", "~=") and Version(wanted.version) >= Version(mmeframe.__version__)


def _hook_faults(name: str, module: Any, manager: pluggy.PluginManager) -> str:
    """A misspelt hook, or a hook function that nobody marked."""
    known = hookspecs.__all__
    for attribute in dir(module):
        value = getattr(module, attribute) if attribute.startswith("mmeframe_") else None
        if not callable(value) or isinstance(value, type):
            continue
        options = manager.parse_hookimpl_opts(module, attribute)
        if options is None:
            return f"Plugin {name!r}: {attribute}() is not marked. Add @hookimpl from mmeframe.plugin."
        if attribute not in known and not options.get("optionalhook") and not options.get("specname"):
            close = nearest(attribute, known)
            guess = f" Did you mean {close!r}?" if close else ""
            return f"Plugin {name!r}: there is no hook {attribute!r}.{guess}"
        if attribute in known:
            takes = inspect.signature(getattr(hookspecs, attribute)).parameters
            has = inspect.signature(value).parameters.values()
            needs = [it.name for it in has if it.kind is it.POSITIONAL_OR_KEYWORD and it.default is it.empty]
            if strange := [argument for argument in needs if argument not in takes]:
                its = f"It has {' and '.join(takes)}." if takes else "It has none."
                return f"Plugin {name!r}: the hook {attribute}() has no argument {strange[0]!r}. {its}"
    return ""


def _records_fault(kind: Kind, given: Any, records: Sequence[Any]) -> str:
    """What is wrong with what a hook returned, or an empty text."""
    if isinstance(given, ComponentPlugin):
        return f"{kind.hook}() must return a list of records: return [{type(given).__name__}(...)]."
    seen = set()
    for record in records:
        if fault := _record_fault(kind, record):
            return fault
        if record.name in seen:
            return f"it registers the {kind.noun} {record.name!r} twice."
        seen.add(record.name)
    return ""


def _record_fault(kind: Kind, record: Any) -> str:
    """What is wrong with one record, or an empty text."""
    if not isinstance(record, kind.record):
        return f"{kind.hook}() must return {kind.record.__name__} records, not {type(record).__name__}."
    label = f"{kind.noun} {record.name!r}"
    if not _NAME.fullmatch(str(record.name)):
        return f"{label}: a name is lower-case letters, digits and underscores."
    if not (
        isinstance(record.config, type)
        and issubclass(record.config, kind.conf)
        and "__dataclass_fields__" in vars(record.config)
    ):
        return f"{label}: its config must be a dataclass that extends {kind.conf.__name__}."
    if record.target.count(":") != 1:
        return f"{label}: its target must be written 'package.module:Class', not {record.target!r}."
    if record.api_version > API_VERSION:
        return f"{label} needs plugin API {record.api_version}; this mmeframe has {API_VERSION}."
    if isinstance(record, ModelLoaderPlugin) and (fault := _suffixes_fault(record)):
        return f"{label}: {fault}"
    taken = sorted(_RESERVED & {option.name for option in dataclasses.fields(record.config)})
    if taken:
        return f"{label}: the option name {taken[0]!r} is taken by mmeframe itself."
    return ""


def _suffixes_fault(record: ModelLoaderPlugin) -> str:
    """What is wrong with the bare files that a loader reads, or an empty text."""
    if record.suffixes and not record.flavors:
        return "the files of its suffixes need a flavor: flavors=(...)."
    for suffix, options in record.suffixes.items():
        if not re.fullmatch(r"\.[^./]+", suffix):
            return f"a suffix is written '.ext', not {suffix!r}."
        try:
            for value in options.values():
                value.format(name="")
        except (AttributeError, LookupError, ValueError):
            return f"the options of {suffix} are texts, with {{name}} for the name of the file."
    return ""
