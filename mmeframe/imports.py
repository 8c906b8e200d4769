"""Which code a process has imported under a name, and whether it is the code that a router brings.

A process has one module of a name. Lowest layer: the standard library only, and nothing of mmeframe, because a router's
entrypoint runs its archive's own copy of this file before mmeframe is imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import threading
import zipfile
import zipimport
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path
from typing import Any

__all__ = [
    "bring",
    "carried",
    "code_digest",
    "from_router",
    "importing",
    "modules_of",
    "other_code",
    "rival_of",
    "same_here",
    "version_of",
]

_lock = threading.RLock()
# Where a module of this process keeps the digests of its files.
_FILES = "__mmeframe_files__"


def code_digest(files: Mapping[str, bytes]) -> str:
    """One digest of the files of a module. files: path from the folder that the module is in -> sha256."""
    whole = hashlib.sha256()
    for path, digest in sorted(files.items()):
        whole.update(path.encode() + b"\0" + digest)
    return whole.hexdigest()


# -- what an archive of code brings ----------------------------------------------------------------------------------


def carried(archive: Path) -> dict[str, dict[str, Any]]:
    """Top-level modules in a router's archive -> their ``distribution``, ``version`` and ``sha256``."""
    return _read(archive)[0]


def _read(archive: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    facts = archive.stat()
    return _parsed(archive, facts.st_size, facts.st_mtime_ns)


# Opening a router asks four times.
@lru_cache(maxsize=16)
def _parsed(archive: Path, size: int, changed_ns: int) -> tuple[dict[str, dict[str, Any]], list[str]]:
    del size, changed_ns
    with zipfile.ZipFile(archive) as opened:
        return json.loads(opened.comment), opened.namelist()


def same_here(archive: Path, module: str) -> bool:
    """Whether what this process has imported under the name, or would import, is the code in the archive."""
    facts, names = _read(archive)
    own = [name for name in names if name.split("/")[0] in (module, f"{module}.py")]
    spec = _spec(module)
    return spec is not None and _digest(module, spec, own) == facts[module]["sha256"]


def bring(archive: Path, modules: Sequence[str]) -> str | None:
    """Import top-level modules that an archive holds: from where they are installed if that is the same code.

    Returns the first of which this process has imported other code, None if there is none.
    """
    with _lock:
        theirs = {module for module in modules if not same_here(archive, module)}
        if rival := min(theirs & sys.modules.keys(), default=None):
            return rival
        for module in modules:
            if module not in theirs:
                importlib.import_module(module)
        # They may import one another, and whatever else imports them later gets what is imported already.
        with importing(archive):
            for module in sorted(theirs):
                importlib.import_module(module)
    return None


@contextmanager
def importing(place: Path) -> Iterator[None]:
    """This folder, or archive, is where modules are looked for first, as long as the block runs."""
    sys.path.insert(0, str(place))
    try:
        yield
    finally:
        sys.path.remove(str(place))


def other_code(archive: Path, module: str) -> tuple[str, str]:
    """What to say of a module of which this process has imported other code than the archive's, and the cure."""
    facts = carried(archive)[module]
    title = facts["distribution"] or module
    wanted, have = facts["version"], version_of(module, title)
    what = f"this router carries {title} {wanted or ''}".rstrip()
    other = f"{title} {have}" if have != wanted else "other code of that name" + (" and version" if wanted else "")
    cures = [f"Load it in a process that has not imported {module}"]
    if module == "mmeframe":
        cures.append("serve it: mmeframe serve, and mlflow models serve, use what it carries")
    elif facts["distribution"]:
        cures.append(f"add -p no:{title} to a command of mmeframe")
    cures += [f"pip install {title}=={wanted}"] if wanted and have != wanted else []
    cures.append("build the router again with what is installed")
    place = _place(sys.modules[module].__spec__)
    return f"{what}, and this process has imported {other} from {place}.", f"{'; or '.join(cures)}."


def version_of(module: str, distribution: str) -> str | None:
    """The version of a module, which this process may have taken from a router; None if nobody says."""
    if module == "mmeframe" and module in sys.modules:
        # It may lie in a folder of its own, beside another one that is installed.
        return str(sys.modules[module].__version__)
    facts = _brought(module, _spec(module))
    if facts is not None:
        found: str | None = facts["version"]
        return found
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


# -- what a process has ----------------------------------------------------------------------------------------------


def from_router(module: str) -> bool:
    """Whether this process took a module from the archive of a router that it has loaded."""
    top = module.partition(".")[0]
    return _brought(top, getattr(sys.modules.get(top), "__spec__", None)) is not None


def _brought(module: str, spec: ModuleSpec | None) -> dict[str, Any] | None:
    """What a router's archive says of a module that comes from it; None for others, those in wheels and eggs too."""
    loader = None if spec is None else spec.loader
    if not isinstance(loader, zipimport.zipimporter):
        return None
    try:
        facts = carried(Path(loader.archive))
    except ValueError:
        # Only a router's archive has facts for its comment.
        return None
    found: dict[str, Any] | None = facts.get(module) if isinstance(facts, dict) else None
    return found


def _spec(module: str) -> ModuleSpec | None:
    """Where a module was, or would be, imported from; None if that is nowhere, or not known."""
    try:
        return importlib.util.find_spec(module)
    except ValueError:
        # It was made by hand, as ``__main__`` is.
        return None


def _place(spec: ModuleSpec | None) -> str:
    return "an unknown place" if spec is None or spec.origin is None else spec.origin


def _digest(module: str, spec: ModuleSpec, names: Collection[str]) -> str | None:
    """The digest of files by these names, where a module is; None if one is not there."""
    read = getattr(spec.loader, "get_data", None)
    if spec.origin is None or read is None:
        return None
    # Of ``a.b`` in a/b/__init__.py the names begin two folders above that of the file.
    depth = module.count(".") + (spec.submodule_search_locations is not None)
    home = Path(spec.origin).parents[depth]
    # A file may change after it was imported: what it was first is what runs, or what is nearest to that.
    known = vars(sys.modules[module]).setdefault(_FILES, {}) if module in sys.modules else {}
    for name in names:
        if name not in known:
            try:
                known[name] = hashlib.sha256(read(os.path.join(home, name))).digest()
            except OSError:
                known[name] = None
    return None if None in map(known.get, names) else code_digest({name: known[name] for name in names})


# -- modules that sub-models ship ------------------------------------------------------------------------------------


def modules_of(files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Modules that can be imported from a folder -> their files, and the data beside them, which they may read.

    A package is one module; of a folder without ``__init__``, a namespace package, each module is one, as in ``ns.a``.
    files: path -> sha256.
    """
    modules: dict[str, dict[str, bytes]] = {}
    data: dict[str, bytes] = {}
    for path, digest in files.items():
        parts = path.split("/")
        if "__pycache__" in parts:
            continue
        name = _module(files, parts)
        (data if name is None else modules.setdefault(name, {}))[path] = digest
    return {name: own | data for name, own in modules.items()}


def _module(files: Mapping[str, bytes], parts: list[str]) -> str | None:
    """The module that a file is, or whose package it is part of; None for data outside a package."""
    for depth in range(1, len(parts)):
        package = "/".join(parts[:depth])
        if any(f"{package}/__init__{suffix}" in files for suffix in all_suffixes()):
            return ".".join(parts[:depth])
    suffix = next((it for it in sorted(all_suffixes(), key=len, reverse=True) if parts[-1].endswith(it)), None)
    return ".".join([*parts[:-1], parts[-1].removesuffix(suffix)]) if suffix else None


def rival_of(modules: Mapping[str, Mapping[str, bytes]]) -> tuple[str, str] | None:
    """The first of these modules of which this process has imported other code, and where that is; None if none is.

    modules: as ``modules_of`` gives them.
    """
    for module, files in modules.items():
        parts = module.split(".")
        # A package that is imported decides what is found in it; a namespace package does not.
        for depth in range(len(parts), 0, -1):
            name = ".".join(parts[:depth])
            if name not in sys.modules:
                continue
            spec = getattr(sys.modules[name], "__spec__", None)
            if depth < len(parts) and spec is not None and spec.origin is None:
                continue
            if spec is None or _digest(name, spec, files) != code_digest(files):
                return module, _place(spec)
            break
    return None
