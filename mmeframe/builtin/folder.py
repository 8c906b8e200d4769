"""``kind: folder``: model folders and bare estimator files below a directory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmeframe.plugin import MISSING, MissingError, ModelSource, PathPattern, SourceConf, SubModelEntry

__all__ = ["FolderConf", "FolderSource"]


@dataclass
class FolderConf(SourceConf):
    """Options of ``kind: folder``."""

    # The directory. Links to models are followed, wherever they lead; those in a model's own folder must stay in there.
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
        pattern = PathPattern(self.conf.pattern, self.context.parts, f"{where}.pattern")
        found = list(_walk(os.fspath(root), "", 0, pattern, {}))
        keys = {path: key for path, key, _ in found}
        files = [path for path, _, is_file in found if is_file]
        return [
            SubModelEntry(id_, os.path.join(root, path), key, origin=where)
            for id_, path, key in pattern.models(keys, files, str(root.absolute()), where)
        ]


def _walk(
    root: str, inner: str, depth: int, pattern: PathPattern, key: dict[str, str]
) -> Iterator[tuple[str, dict[str, str], bool]]:
    """Relative path and key of everything that matches below a folder, and whether it is a file."""
    last = depth == pattern.depth - 1
    with os.scandir(os.path.join(root, inner)) as entries:
        for entry in entries:
            path = inner + entry.name
            found = pattern.read(path, depth)
            if found is None:
                continue
            full = {**key, **found}
            if entry.is_dir():
                if not last:
                    yield from _walk(root, f"{path}/", depth + 1, pattern, full)
                elif os.path.isfile(os.path.join(entry.path, "MLmodel")):
                    yield path, full, False
            elif last and pattern.of_files and entry.is_file():
                yield path, full, True
            elif entry.is_symlink() and not os.path.exists(entry.path):
                pattern.fault("these links lead nowhere", path)
