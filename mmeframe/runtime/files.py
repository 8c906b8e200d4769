"""A sub-model's files: read from the bundle, or unpacked once to the cache folder."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmeframe.bundle import Bundle, FileRef, SubModelRecord
from mmeframe.bundle.format import ARRAY
from mmeframe.cache import cache_folder, digests_in, put, work_folder
from mmeframe.errors import MmeframeError, ModelError
from mmeframe.imports import modules_of, rival_of
from mmeframe.plugin import ModelLoader, SubModelFiles
from mmeframe.shipped import CODE, STANDARD, importable, standard
from mmeframe.spec import Column

__all__ = ["BundleFiles", "add_code", "load_record", "shipped_code", "unpack"]

_UNPACKING = ".unpacking-"
# What Python 3.11 may say in one of two threads that parse at once, though nothing is wrong: it keeps one depth for
# both. numpy parses the header of each array.
_MISMATCH = "recursion depth mismatch"
_TRIES = 5
_APART = (
    "One process can import only one of them. Build one of the routers with isolation=process, "
    "load them in processes of their own, or rename the module."
)
_lock = threading.Lock()
# Folders of code that were put on the path -> whose it is, and the modules there.
_added: dict[str, tuple[str, Mapping[str, Mapping[str, bytes]]]] = {}


def unpack(bundle: Bundle, kind: str, files: Iterable[FileRef]) -> Path:
    """A folder with exactly these files, named by their content: made once, by whichever process is first.

    Atomic: the folder appears whole or not at all. What somebody has cleaned or changed, or put files beside, is made
    anew. Raises MmeframeError if the cache folder does not take the files.
    """
    wanted = {ref.path: ref.sha256 for ref in sorted(files, key=lambda ref: ref.path)}
    name = hashlib.sha256("\n".join(f"{path} {sha256.hex()}" for path, sha256 in wanted.items()).encode()).hexdigest()
    home = cache_folder() / kind
    target = home / name[:32]

    def whole(folder: Path) -> bool:
        return digests_in(folder) == wanted

    if not whole(target):
        try:
            with work_folder(kind, _UNPACKING) as work:
                made = work / "new"
                for inner, sha256 in wanted.items():
                    path = made / inner
                    if made not in path.resolve().parents:
                        raise MmeframeError(f"the bundle names a file outside its folder: {inner!r}.")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(bundle.blob(sha256))
                put(made, target, whole)
        except OSError as error:
            raise MmeframeError(
                f"the cache folder does not take the sub-model's files: {error.strerror}.",
                where=str(home),
                hint="Free space there, or set MMEFRAME_CACHE_DIR to a folder on another disk.",
            ) from error
    importable(target, wanted)
    return target


def shipped_code(record: SubModelRecord) -> tuple[FileRef, ...]:
    """The modules that a sub-model ships, and files beside them; equal for sub-models that can share them."""
    return tuple(FileRef(ref.path[len(CODE) :], ref.sha256) for ref in record.files if ref.path.startswith(CODE))


def add_code(bundle: Bundle, record: SubModelRecord) -> None:
    """Make the modules that a sub-model ships importable; equal code of many sub-models is one folder.

    Raises ModelError if this process has imported other code under the name of one, or may: what plain MLflow does
    then is to run that; and for one that would hide a module of the standard library.
    """
    code = shipped_code(record)
    if not code:
        return
    modules = modules_of({ref.path: ref.sha256 for ref in code})
    if hidden := standard(modules):
        raise ModelError(f"it ships a module {hidden!r}, {STANDARD}", where=record.id, hint="Rename the module.")
    folder = str(unpack(bundle, "code", code))
    with _lock:
        if folder in sys.path:
            return
        owner = f"sub-model {record.id!r} of the router {bundle.manifest.name!r}"
        if clash := _clash(modules):
            module, place = clash
            raise ModelError(
                f"it ships a module {module!r}, and this process has other code of that name, from {place}.",
                where=record.id,
                hint=_APART if bundle.manifest.isolation != "process" else "Rename the module.",
            )
        sys.path.insert(0, folder)
        _added[folder] = (owner, modules)


def _clash(modules: Mapping[str, Mapping[str, bytes]]) -> tuple[str, str] | None:
    """The first of these modules of which this process has, or will find, other code, and whose that is."""
    here = {folder: added for folder, added in _added.items() if folder in sys.path}
    # Another router may not have imported yet what it will import when it predicts.
    for owner, theirs in here.values():
        if rivals := [module for module in modules if _meet(module, modules, theirs)]:
            return rivals[0], owner
    if (rival := rival_of(modules)) is None:
        return None
    module, place = rival
    return module, next((owner for folder, (owner, _) in here.items() if place.startswith(folder)), place)


def _meet(module: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether a module differs from the other's, or one is a package that hides what the other has in a namespace."""
    if module in theirs:
        return bool(mine[module] != theirs[module])
    others = [name for name in theirs if name not in mine]
    return any(f"{name}.".startswith(f"{module}.") or f"{module}.".startswith(f"{name}.") for name in others)


def load_record(bundle: Bundle, record: SubModelRecord, loader: ModelLoader[Any]) -> Any:
    """The live sub-model of a record, as its rows will be given to it."""
    add_code(bundle, record)
    model = _loaded(BundleFiles(bundle, record), loader)
    return loader.for_arrays(model) if record.form == ARRAY else model


def _loaded(files: SubModelFiles, loader: ModelLoader[Any]) -> Any:
    for _ in range(_TRIES - 1):
        try:
            return loader.load(files)
        except SystemError as error:
            if _MISMATCH not in str(error):
                raise
    return loader.load(files)


class BundleFiles:
    """The ``SubModelFiles`` of the plugin API over one record."""

    def __init__(self, bundle: Bundle, record: SubModelRecord) -> None:
        self._bundle, self._record = bundle, record
        self._refs = {ref.path: ref for ref in record.files}
        self.id = record.id
        self.flavor = record.flavor
        self.options: Mapping[str, Any] = record.flavor_options

    @property
    def columns(self) -> Sequence[Column]:
        return self._bundle.manifest.schemas[self._record.inputs]

    @property
    def names(self) -> Sequence[str]:
        return list(self._refs)

    def read(self, name: str) -> memoryview:
        if name not in self._refs:
            raise MmeframeError(f"the bundle keeps no file {name!r} of it.", where=self.id)
        return self._bundle.blob(self._refs[name].sha256)

    def folder(self) -> Path:
        return unpack(self._bundle, "models", self._record.files)
