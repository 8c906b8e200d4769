"""``kind: folder``: model folders and bare estimator files below a directory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmeframe.builtin._pattern import NamePattern
from mmeframe.builtin._rows import listed
from mmeframe.plugin import (
    MISSING,
    ConfigError,
    MissingError,
    ModelSource,
    Problem,
    ProblemsError,
    SourceConf,
    SubModelEntry,
)

__all__ = ["FolderConf", "FolderSource"]


@dataclass
class FolderConf(SourceConf):
    """Options of ``kind: folder``."""

    # The directory. Links in it are followed, wherever they lead.
    path: str = MISSING
    # Where the models lie in it, as in {region}/{store}.pkl: {part} reads a key part from a name, * is anything.
    pattern: str = MISSING


class FolderSource(ModelSource[FolderConf]):
    """One sub-model per file, or MLflow model folder, that matches; its id is the name without its suffix.

    Files are matched by a pattern whose last name has a dot, as ``{store}.pkl`` or ``{store}.*``; any pattern matches
    folders that hold a file ``MLmodel``. Names that begin with a dot are left out. Where several have one name, in
    different folders, their ids are their paths.
    """

    def expand(self) -> Iterable[SubModelEntry]:
        where = f"sources.{self.context.name}"
        root = Path(self.conf.path)
        if not root.is_dir():
            what = "is no folder" if root.exists() else "does not exist"
            raise MissingError(f"{root.absolute()} {what}.", where=f"{where}.path")
        names = self._patterns(f"{where}.pattern")
        faults: dict[str, list[str]] = {}
        found = sorted(_walk(os.fspath(root), "", names, {}, faults))
        problems = [Problem(where, f"{why}: {listed(paths)}.") for why, paths in faults.items()]
        stems = Counter(stem.rpartition("/")[2] for stem, _, _ in found)
        entries, owner = [], dict[str, str]()
        for stem, path, key in found:
            name = stem.rpartition("/")[2]
            id_ = name if stems[name] == 1 else stem
            if owner.setdefault(id_, path) != path:
                what = f"{owner[id_]} and {path} have one id, {id_!r}."
                problems.append(Problem(where, what, "Narrow the pattern, as in {part}.pkl."))
            entries.append(SubModelEntry(id_, os.path.join(root, path), dict(key), origin=where))
        if problems:
            raise ProblemsError(problems)
        if not entries:
            raise MissingError(
                f"nothing in {root.absolute()} matches {self.conf.pattern!r}.",
                where=where,
                hint="A pattern such as {store}.pkl matches files, {store} folders with a file MLmodel.",
            )
        return entries

    def _patterns(self, where: str) -> list[NamePattern]:
        """One pattern for each name of a path."""
        pieces = self.conf.pattern.split("/")
        if not all(pieces) or {".", ".."} & set(pieces):
            what = f"{self.conf.pattern!r} is no path below a folder."
            raise ConfigError(what, where=where, hint="Write {region}/{store}.pkl, and the folder itself as path.")
        NamePattern(self.conf.pattern, self.context.parts, where)
        return [NamePattern(piece, self.context.parts, where) for piece in pieces]


Found = tuple[str, str, tuple[tuple[str, str], ...]]


def _walk(
    root: str, inner: str, patterns: list[NamePattern], key: dict[str, str], faults: dict[str, list[str]]
) -> Iterator[Found]:
    """Relative path without suffix, relative path, and key, of everything that matches below a folder."""
    pattern, *rest = patterns
    files = not rest and "." in pattern.literal
    with os.scandir(os.path.join(root, inner)) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            try:
                found = pattern.read(name)
            except ValueError:
                faults.setdefault(f"these can be read in two ways by {pattern.pattern!r}", []).append(inner + name)
                continue
            if found is None:
                continue
            path, full = inner + name, {**key, **found}
            if entry.is_dir():
                if rest:
                    yield from _walk(root, f"{path}/", rest, full, faults)
                elif os.path.isfile(os.path.join(entry.path, "MLmodel")):
                    yield path, path, tuple(full.items())
            elif files and entry.is_file():
                yield inner + os.path.splitext(name)[0], path, tuple(full.items())
            elif entry.is_symlink() and not os.path.exists(entry.path):
                faults.setdefault("these links lead nowhere", []).append(path)
