"""Which kinds a command line chooses, read from its files without Hydra: for completion and ``--help``.

It follows ``defaults`` and group choices as Hydra does, and is forgiving: what it cannot read is left out. Whether a
config is right is for ``compose`` to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmeframe.config.files import text_of
from mmeframe.config.hydra_api import conf_dir
from mmeframe.plugin.kinds import CHOSEN, Kind, of_group
from mmeframe.plugin.manager import Plugins
from mmeframe.sections import SECTIONS

__all__ = [
    "CHOICE",
    "WITH_KINDS",
    "Layout",
    "config_dirs",
    "group_names",
    "groups",
    "kind_of",
    "layout",
    "located",
    "places",
    "said",
]

# Groups that choose the kind of a section or of an entry: one that plugins register, or, where None, a shipped file.
WITH_KINDS: Mapping[str, Kind | None] = {
    **{kind.group: kind for kind in CHOSEN},
    **{it.name: None for it in SECTIONS.values() if it.group},
}

# An override that chooses a kind or a file: routing=bins, +source@sources.days=registry.
CHOICE = re.compile(r"(?P<sign>\+{0,2})(?P<group>[\w/]+)(?:@(?P<place>[\w.]+))?=(?P<name>[\w./-]+)")
# Files that are looked at before something is guessed; Hydra tells whoever has more.
_FILES = 1_000
_PACKAGE = re.compile(r"# *@package +(\S+)")


@dataclass
class Layout:
    """What is known of a config before it is composed.

    kinds: place -> (group, kind), such as routing.keys.dow -> (routing, datepart). tree: what the files say themselves.
    """

    kinds: dict[str, tuple[str, str]] = field(default_factory=dict)
    tree: dict[str, Any] = field(default_factory=dict)

    def names(self, path: str) -> list[str]:
        """Names in a map of the files, such as the ids in ``models``."""
        node: Any = self.tree
        for step in path.split("."):
            node = node.get(step) if isinstance(node, Mapping) else None
        return [str(name) for name in node] if isinstance(node, Mapping) else []


def config_dirs(named: Iterable[str]) -> list[str]:
    """The user's config folders: those of ``--config-dir``, then those of MMEFRAME_CONFIG_DIR."""
    more = os.environ.get("MMEFRAME_CONFIG_DIR", "").split(os.pathsep)
    return [*named, *(folder for folder in more if folder)]


def located(config_name: str, folders: Sequence[str | Path]) -> tuple[str, Sequence[str | Path]]:
    """A primary config and the folders of its own: one in a folder of a folder is as if that were named, too.

    Hydra would put all that it says below the folder's name, unless its header says otherwise. So is one that is named
    by its path.
    """
    config_name = config_name.removesuffix(".yaml")
    home, _, name = config_name.rpartition("/")
    for folder in folders if home else ():
        file = Path(folder) / f"{config_name}.yaml"
        if file.is_file() and _PACKAGE.match(_beginning(file)):
            return config_name, folders
        if file.is_file():
            return name, [file.parent, *folders]
    if home and Path(f"{config_name}.yaml").is_file():
        return name, [home, *folders]
    return config_name, folders


def _beginning(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as text:
        return text.read(512)


def places(folders: Iterable[str], plugins: Plugins) -> list[Path]:
    """Where configs are looked for, in this order: the user's folders, the shipped one, those of plugins."""
    return [*(Path(folder).expanduser() for folder in folders), conf_dir(), *plugins.config_folders()]


def groups(folders: Iterable[Path]) -> list[str]:
    """Config groups: of plugins' options, and folders of files."""
    found = {kind.group for kind in CHOSEN}
    for folder in folders:
        found |= {path.name for path in _listed(folder) if path.is_dir() and any(path.glob("*.yaml"))}
    return sorted(found)


def group_names(group: str, folders: Iterable[Path], plugins: Plugins) -> list[str]:
    """What may be chosen of a group: kinds that plugins register, and files. ``""``: primary configs."""
    kind = of_group(group)
    kinds = plugins.names(kind.noun) if kind else ()
    files = [path.stem for folder in folders for path in _listed(folder / group) if path.suffix == ".yaml"]
    return sorted({*kinds, *(name for name in files if name[0] != "_")})


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def layout(config_name: str, overrides: Sequence[str], folders: Sequence[Path], plugins: Plugins) -> Layout:
    """Read a primary config and what it and the overrides choose."""
    reader = _read(config_name, overrides, folders)
    known = {
        place: (group, kind)
        for place, (group, name) in reader.choices.items()
        if (kind := kind_of(group, name, folders, plugins))
    }
    return Layout(known, reader.tree)


def said(config_name: str, overrides: Sequence[str], folders: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """What each file of a config says, at its place of the config."""
    return _read(config_name, overrides, folders).said


def kind_of(group: str, name: str, folders: Sequence[Path], plugins: Plugins) -> str | None:
    """The kind behind a choice: itself, or the one that a file of that name has; None where there is none."""
    reader = _Reader(folders)
    reader.read(f"{group}/{name}", group)
    inner = [option for place, (_, option) in reader.choices.items() if place == group and option != name]
    for kind in (_at(reader.tree, group).get("kind"), *inner, name):
        if plugins.chosen(group, str(kind)):
            return str(kind)
    return None


def _at(tree: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    node: Any = tree
    for step in path.split(".") if path else ():
        node = node.get(step) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def _read(config_name: str, overrides: Sequence[str], folders: Sequence[Path]) -> _Reader:
    reader = _Reader(folders)
    choices = [match for text in overrides if (match := CHOICE.fullmatch(text))]
    reader.chosen = {match["place"] or match["group"]: match["name"] for match in choices}
    reader.read(config_name, "")
    for match in choices:
        reader.choose(match["group"], match["place"] or match["group"], match["name"])
    return reader


class _Reader:
    """One pass over the files of one config. The command line's choices win over those of files."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._seen: set[tuple[str, str]] = set()
        self.chosen: dict[str, str] = {}
        self.choices: dict[str, tuple[str, str]] = {}
        self.tree: dict[str, Any] = {}
        self.said: dict[Path, dict[str, Any]] = {}

    def read(self, path: str, package: str) -> None:
        """Read ``<path>.yaml`` to a place of the config, after what its defaults name."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        file = next((it for folder in self._folders if (it := folder / f"{path}.yaml").is_file()), None)
        if file is None or (path, package) in self._seen or len(self._seen) == _FILES:
            return
        self._seen.add((path, package))
        try:
            text = text_of(file)
            content = yaml.load(text, loader)  # noqa: S506 - a safe loader, in C where there is one
        except (OSError, ValueError, yaml.YAMLError):
            return
        header = _PACKAGE.match(text)
        if header:
            package = {"_global_": "", "_group_": path.rpartition("/")[0].replace("/", ".")}.get(header[1], header[1])
        if not isinstance(content, dict):
            return
        own = {str(name): value for name, value in content.items() if name != "defaults"}
        for group, place, name in _defaults(content.get("defaults"), path.rpartition("/")[0], package):
            if group is None:
                self.read(name, place)
            else:
                self.choose(group, place, self.chosen.get(place, name))
        for step in reversed(package.split(".") if package else ()):
            own = {step: own}
        self.said[file] = own
        self.tree = _merged(self.tree, own)

    def choose(self, group: str, place: str, name: str) -> None:
        """A choice of a group for a place, with what its file says."""
        self.choices[place] = (group, name)
        self.read(f"{group}/{name}", place)


def _defaults(entries: Any, home: str, package: str) -> Iterator[tuple[str | None, str, str]]:
    """(group, place, name) of each choice in a ``defaults`` list; without a group where it names a file."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, str) and entry != "_self_":
            name, _, place = entry.partition("@")
            group, _, option = _absolute(name, home).rpartition("/")
            if group:
                yield group, _place(place, package, group), option
            else:
                yield None, _place(place, package, ""), option
        elif isinstance(entry, dict):
            for key, option in entry.items():
                name, _, place = str(key).split(" ")[-1].partition("@")
                group = _absolute(name, home)
                for chosen in option if isinstance(option, list) else [option]:
                    if isinstance(chosen, str):
                        yield group, _place(place, package, group), chosen


def _absolute(name: str, home: str) -> str:
    return name.lstrip("/") if name.startswith("/") or not home else f"{home}/{name}"


def _place(written: str, package: str, group: str) -> str:
    """Where a choice goes: as written, seen from the file's own place; else to the group's."""
    if written in ("_here_", "_global_"):
        return package if written == "_here_" else ""
    if written.startswith("_global_."):
        return written.removeprefix("_global_.")
    own = written or group.replace("/", ".")
    return f"{package}.{own}" if package and own and package != own else own or package


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(under)
    for name, value in over.items():
        before = found.get(name)
        found[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return found
