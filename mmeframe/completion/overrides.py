"""Overrides that are being typed: groups and what they offer, paths of options, and their values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmeframe.completion.files import files
from mmeframe.completion.tree import tree
from mmeframe.config.quick_choices import config_dirs, group_names, groups, layout, places
from mmeframe.plugin.kinds import CHOSEN
from mmeframe.plugin.manager import load_plugins
from mmeframe.sections import open_maps

if TYPE_CHECKING:
    from mmeframe.commandline import Flags

__all__ = ["overrides"]

# Where the choices of a group go that need a place, up to the name that the user gives.
_PLACES = {kind.group: f"{kind.place}." for kind in CHOSEN}
# Groups that cannot be chosen without one.
_PLACED = [kind.group for kind in CHOSEN if not kind.alone]
# Options that name something on the user's disk end so.
_FILES = re.compile(r"(^|[._])(path|table|file|folder)$")


def overrides(flags: Flags, current: str, taken: Iterable[str]) -> Iterable[str]:
    """Whole words in place of ``current``. taken: other names that are written like an option, such as ``data``."""
    line = _Line(flags)
    written = current.lstrip("+~")
    sign = current[: len(current) - len(written)]
    path, equals, value = written.partition("=")
    if equals:
        # Values with a comma between them are several runs: routing=column,param
        done = value[: value.rfind(",") + 1]
        return [f"{sign}{path}={done}{found}" for found in line.values(path, value[len(done) :])]
    if "@" in path:
        return [f"{sign}{name}" for name in line.placed(path)]
    found = [f"{sign}{name}" for name in line.names(path, sign)]
    if not sign and "." not in path:
        found += [f"{name}=" for name in taken] + [f"+{name}" for name in line.names("", "+") if "@" in name]
    return found


class _Line:
    """What the words before the one that is typed have chosen."""

    def __init__(self, flags: Flags) -> None:
        self._plugins = load_plugins(flags.plugins)
        self._folders = places(config_dirs(flags.config_dirs), self._plugins)
        self._layout = layout(flags.config_name or flags.command, flags.overrides, self._folders, self._plugins)
        self._tree = tree(self._layout, self._plugins)

    def placed(self, path: str) -> list[str]:
        """``source@sources.`` and on, up to a name: one that has a kind already, or the user's own."""
        group = path.partition("@")[0]
        start = _PLACES.get(group, "")
        known = [place for place, (of, _) in self._layout.kinds.items() if of == group and place.startswith(start)]
        return [f"{group}@{start}", *(f"{group}@{place}=" for place in known)] if start else []

    def names(self, path: str, sign: str) -> list[str]:
        """The next step of paths; with a sign, also places and maps that take something new."""
        parent, dot, _ = path.rpartition(".")
        below = self._tree.at(parent.split(".") if parent else ()).below()
        found = [f"{parent}{dot}{name}{'=' if node.is_option else '.'}" for name, node in below.items()]
        if "~" in sign:
            return [name[:-1] for name in found]
        if not parent:
            found += [f"{group}=" for group in groups(self._folders) if group not in _PLACED]
        if sign and not parent:
            found += [f"{group}@{start}" for group, start in _PLACES.items()]
        return found + ([f"{name}." for name in ("models", *open_maps())] if sign else [])

    def values(self, path: str, typed: str) -> Iterable[str]:
        """Values of a group or an option."""
        group = path.partition("@")[0]
        if "@" in path or group in groups(self._folders):
            return group_names(group, self._folders, self._plugins)
        return [*self._tree.at(path.split(".")).values(), *(files(typed) if _FILES.search(path) else ())]
