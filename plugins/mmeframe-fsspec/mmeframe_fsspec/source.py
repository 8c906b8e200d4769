"""``kind: fsspec``: model folders and bare estimator files below a folder of any fsspec file system."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmeframe.plugin import (
    MISSING,
    ConfigError,
    MissingError,
    ModelSource,
    PathPattern,
    SourceConf,
    SubModelEntry,
)

__all__ = ["FsspecConf", "FsspecSource"]

# What a file system says of a file that changes with its content, and else with every write; the first that is there.
_CONTENT = ("ETag", "etag", "md5Hash", "content_md5", "sha", "CRC")
_WRITTEN = ("mtime", "LastModified", "last_modified", "modified", "modify", "updated", "created")
# What ends the path of a URI, or has no place in one.
_NO_URI = re.compile(r"[?#\x00-\x1f\x7f]")
_ENVIRONMENT = (
    "What it needs comes from the environment: the variables of its library, such as AWS_ACCESS_KEY_ID, or FSSPEC_*."
)

Listing = Mapping[str, Mapping[str, Any]]


@dataclass
class FsspecConf(SourceConf):
    """Options of ``kind: fsspec``."""

    # The folder, as in s3://bucket/models. What the file system needs beside it, such as a key, is not for a config:
    # it comes from the environment of whoever builds.
    path: str = MISSING
    # Where the models lie in it, as in {region}/{store}.pkl: {part} reads a key part from a name, * is anything.
    pattern: str = MISSING


class FsspecSource(ModelSource[FsspecConf]):
    """One sub-model per file, or MLflow model folder, that matches, as the source ``folder`` has them.

    The folder is listed once. What the listing says of a file's content is its version: what did not change is not
    downloaded again.
    """

    def expand(self) -> Iterable[SubModelEntry]:
        where = f"sources.{self.context.name}"
        pattern = PathPattern(self.conf.pattern, self.context.parts, f"{where}.pattern")
        place = _Place(self.conf.path, f"{where}.path")
        listing = place.listing()
        keys, files = _matching(pattern, listing, place.is_local)
        found = pattern.models(keys, files, place.path, where)
        versions = _versions(listing, keys) if not place.is_local else {}
        return [
            SubModelEntry(id_, place.uri(path), key, name=name, version=versions.get(path), origin=where)
            for id_, path, key in found
            # The host knows local files by size and time of change already.
            if (name := None if place.is_local else f"{place.path}/{path}") not in self.context.taken
        ]


class _Place:
    """A folder in a file system. Raises ConfigError or MissingError, at ``where``, for what cannot be one."""

    def __init__(self, path: str, where: str) -> None:
        self.path, self._where = path.rstrip("/"), where
        protocol, separator, rest = self.path.partition("://")
        user = rest.split("/")[0].rpartition("@")[0]
        if ":" in user:
            raise ConfigError("it holds a password.", where=where, hint=_ENVIRONMENT)
        if _NO_URI.search(path) or "::" in path:
            raise ConfigError(
                f"{path.split('?')[0]} is no address of a folder: it has a query, a fragment, or several addresses.",
                where=where,
                hint="Write it as s3://bucket/models. " + _ENVIRONMENT,
            )
        import fsspec

        try:
            self._files, self._root = fsspec.core.url_to_fs(path)
        except (ImportError, ValueError) as error:
            raise MissingError(f"{protocol}:// cannot be used: {_said(error)}.", where=where) from error
        self.is_local = not separator or protocol in ("file", "local")
        here = rest if separator else os.path.expanduser(self.path)
        self._address = here if self.is_local else f"fsspec://{protocol}/{rest}"

    def uri(self, path: str) -> str:
        """Where a file or folder below this one is fetched from: the path itself, if that is on this machine."""
        return f"{self._address}/{path}"

    def listing(self) -> Listing:
        """Every file below: relative path -> what the file system says of it."""
        from mmeframe_fsspec.artifacts import register

        register()
        # Another build of this process may have listed it before the files were changed.
        self._files.invalidate_cache()
        try:
            found = self._files.find(self._root, detail=True)
            exists = bool(found) or self._files.exists(self._root)
        except FileNotFoundError:
            found, exists = {}, False
        except Exception as error:
            raise MissingError(
                f"{self.path} cannot be listed: {type(error).__name__}: {_said(error)}.",
                where=self._where,
                hint=_ENVIRONMENT,
            ) from error
        if not exists:
            raise MissingError(f"{self.path} does not exist.", where=self._where)
        root = self._root.rstrip("/")
        if root in found:
            raise MissingError(f"{self.path} is no folder.", where=self._where)
        return {
            path[len(root) + 1 :]: info
            for path, info in found.items()
            # Some stores have empty objects in place of folders.
            if info.get("type") != "directory" and not path.endswith("/")
        }


def _matching(pattern: PathPattern, listing: Listing, is_local: bool) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Paths that match -> their keys; and which of them are files, and no folders with a file ``MLmodel``."""
    keys: dict[str, dict[str, str]] = {}
    files = []
    for file in listing:
        folder, _, name = file.rpartition("/")
        for path in ([folder] if name == "MLmodel" else []) + ([file] if pattern.of_files else []):
            key = _key(pattern, path)
            if key is None:
                continue
            if _NO_URI.search(path) and not is_local:
                pattern.fault("these have characters that end a URI", path)
                continue
            keys[path] = key
            files += [file] if path == file else []
    return keys, files


def _key(pattern: PathPattern, path: str) -> dict[str, str] | None:
    """The key parts of a whole path, None if it does not match."""
    names = path.split("/")
    if len(names) != pattern.depth:
        return None
    key: dict[str, str] = {}
    for depth in range(len(names)):
        found = pattern.read("/".join(names[: depth + 1]), depth)
        if found is None:
            return None
        key |= found
    return key


def _versions(listing: Listing, paths: Iterable[str]) -> dict[str, str]:
    """The version of each file, and of each folder by all files in it; none for what tells nothing of its content."""
    wanted = set(paths)
    inside: dict[str, list[tuple[str, str | None]]] = {path: [] for path in wanted}
    for file, info in listing.items():
        names = file.split("/")
        for depth in range(1, len(names) + 1):
            if (path := "/".join(names[:depth])) in wanted:
                inside[path].append((file, _version(info)))
    found = {}
    for path, files in inside.items():
        versions = [version for _, version in files]
        if None not in versions:
            found[path] = versions[0] or "" if files[0][0] == path else _digest(sorted(files))
    return found


def _version(info: Mapping[str, Any]) -> str | None:
    for name in _CONTENT:
        if info.get(name):
            return str(info[name]).strip('"')
    for name in _WRITTEN:
        if info.get(name):
            return _digest([info.get("size"), info[name]])
    return None


def _digest(facts: Iterable[Any]) -> str:
    return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()[:32]


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".")
