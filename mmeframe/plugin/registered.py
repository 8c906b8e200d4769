"""What plugins register, and what a config finds there by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmeframe.errors import PluginError, Problem, UnknownNameError
from mmeframe.plugin.kinds import LOADER, Kind, of_group
from mmeframe.plugin.records import ComponentPlugin, ModelLoaderPlugin
from mmeframe.sections import RouterSpec
from mmeframe.spec import ComponentSpec, Logged

__all__ = ["PACKAGE", "Calls", "PluginInfo", "Plugins", "Registered", "folders_of", "of_plugin"]

# What config paths are written as: Hydra's scheme for folders of packages.
PACKAGE = "pkg://"


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

    def component(self, options: Mapping[str, Any]) -> ComponentSpec:
        """The component as a spec or a bundle records it."""
        conf = self.record.config
        return ComponentSpec(
            self.record.name, self.record.target, f"{conf.__module__}:{conf.__qualname__}", dict(options)
        )


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
                info.error = of_plugin(error)
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
                info.error = of_plugin(error)
                lines.append(f"{info.title}: mmeframe_router_logged() raised {said}; the router is not affected.")
        return lines

    def presets(self, group: str) -> list[str]:
        """Names of the YAML files that plugins ship for a config group."""
        return sorted({file.stem for folder in self.config_folders() for file in (folder / group).glob("*.yaml")})

    def config_folders(self) -> list[Path]:
        """Folders of YAML files that plugins ship, in the order in which they are searched."""
        return [Path(folder) for path in self.config_paths for folder in folders_of(path)]

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

    def form(self, suffix: str, loader: ComponentSpec | None, where: str = "") -> tuple[str, Mapping[str, str]]:
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


def of_plugin(error: BaseException) -> BaseException:
    """What a plugin's code raised, an exit or a panic of its library, too; but Ctrl-C is the user's."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    return error


def folders_of(path: str) -> list[str]:
    """The folders behind a ``pkg://`` address."""
    try:
        spec = importlib.util.find_spec(path.removeprefix(PACKAGE).strip("/").replace("/", "."))
    except (ModuleNotFoundError, ValueError):
        return []
    return list(spec.submodule_search_locations or ()) if spec else []
