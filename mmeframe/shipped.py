"""Modules that sub-models ship, imported from a folder as they are listed: verified file by file, without bytecode.

Python's own finder takes whatever lies in a folder: other files, and bytecode beside them that says something else.
Lowest layer: the standard library and errors only.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from mmeframe.errors import CorruptBundleError

__all__ = ["CODE", "STANDARD", "as_ever", "importable", "plain_path", "standard", "without_bytecode"]

# Where modules lie in a sub-model's folder.
CODE = "code/"
STANDARD = "which is the name of one of Python's standard library: everything in the process would get the wrong one."

# Folders -> the files that may be imported from there, by their whole paths, with their sha256.
_listed: dict[str, Mapping[str, bytes]] = {}


def importable(folder: Path, files: Mapping[str, bytes]) -> None:
    """From now on modules of this folder are imported as they are listed, and nothing else of it is.

    files: path in the folder -> sha256.
    """
    home = os.path.abspath(folder)
    _listed[home] = {os.path.join(home, path): sha256 for path, sha256 in files.items()}
    _look_again(home)


def as_ever(folder: Path) -> None:
    """From now on Python itself imports from this folder."""
    home = os.path.abspath(folder)
    _listed.pop(home, None)
    _look_again(home)


def _look_again(home: str) -> None:
    for place in list(sys.path_importer_cache):
        if f"{place}/".startswith(f"{home}/"):
            sys.path_importer_cache.pop(place, None)


def standard(modules: Iterable[str]) -> str | None:
    """The first of these modules that has the name of one of the standard library, and would hide it."""
    return next((module for module in modules if module in sys.stdlib_module_names), None)


def plain_path() -> list[str]:
    """The path of this process for another one, which would take what lies in these folders."""
    return [place for place in sys.path if _files_of(place) is None]


@contextmanager
def without_bytecode() -> Iterator[None]:
    """No bytecode is written beside sources, whoever imports them, as long as the block runs."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _files_of(place: str) -> Mapping[str, bytes] | None:
    """The files of the folder that a place is, or is in; None for all others, and for what is in an archive there."""
    inside = [place]
    while inside[-1] not in _listed:
        above = os.path.dirname(inside[-1])
        if above == inside[-1]:
            return None
        inside.append(above)
    files = _listed[inside[-1]]
    return None if any(it in files for it in inside) else files


class _Verified:
    """Reads files that are listed, if they are what they were."""

    files: Mapping[str, bytes]

    def get_data(self, path: str) -> bytes:
        """Raises FileNotFoundError for what is not listed, CorruptBundleError for other content.

        That is no ImportError: code that goes on without a module must not go on without this one.
        """
        if path not in self.files:
            raise FileNotFoundError(f"no sub-model ships {path}")
        data: bytes = super().get_data(path)  # type: ignore[misc]
        expected, actual = self.files[path], hashlib.sha256(data).digest()
        if actual != expected:
            hint = "It was changed after it was verified. Start a new process: it unpacks the folder again."
            raise CorruptBundleError(path, expected.hex(), actual.hex(), hint=hint)
        return data


class _Source(_Verified, SourceFileLoader):  # type: ignore[misc]  # typeshed: its bases disagree
    def path_stats(self, path: str) -> Any:
        # Where there are none importlib does without bytecode: it neither reads nor writes any.
        raise OSError(f"bytecode is not used: {path}")


class _Bytecode(_Verified, SourcelessFileLoader):
    """A module that is shipped as bytecode alone."""


class _Extension(_Verified, ExtensionFileLoader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.get_data(self.path)
        return super().create_module(spec)


# In Python's own order.
_LOADERS: list[tuple[str, Any]] = [
    *((suffix, _Extension) for suffix in EXTENSION_SUFFIXES),
    *((suffix, _Source) for suffix in SOURCE_SUFFIXES),
    *((suffix, _Bytecode) for suffix in BYTECODE_SUFFIXES),
]


class _Finder(FileFinder):
    """Finds what is listed, whatever lies there. Of Python's own kind, so that ``pkgutil`` can list packages."""

    def __init__(self, place: str, files: Mapping[str, bytes]) -> None:
        super().__init__(place, *((loader, [suffix]) for suffix, loader in _LOADERS))
        self._files = files

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        del target
        place = os.path.join(self.path, fullname.rpartition(".")[2])
        for inner, search in ((f"{os.sep}__init__", [place]), ("", None)):
            for suffix, kind in _LOADERS:
                path = f"{place}{inner}{suffix}"
                if path in self._files:
                    loader = kind(fullname, path)
                    loader.files = self._files
                    return spec_from_file_location(fullname, path, loader=loader, submodule_search_locations=search)
        if not any(path.startswith(place + os.sep) for path in self._files):
            return None
        # A part of a namespace package.
        part = ModuleSpec(fullname, None)
        part.submodule_search_locations = [place]
        return part


def _hook(place: str) -> _Finder:
    files = _files_of(place)
    if files is None:
        raise ImportError(f"no modules of a sub-model are in {place}")
    return _Finder(place, files)


sys.path_hooks.insert(0, _hook)
