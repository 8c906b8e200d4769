"""Make the components that a bundle records, from the places that it may name and no others."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mmeframe.errors import PluginError
from mmeframe.plugin.components import make_component
from mmeframe.spec import Component

__all__ = ["load_component"]

_BUILTIN = "mmeframe.builtin."


def load_component(component: Component, plugins: Mapping[str, Any], code: Path | None) -> Any:
    """A component whose class and options are built in, embedded in the artifact, or in a recorded plugin.

    plugins: top-level module -> ``{"distribution", "version"}``, from the manifest. code: the artifact's own archive.
    Raises PluginError for anything else: a bundle cannot name just any class of the process.
    """
    for target in (component.target, component.config):
        if not target.startswith(_BUILTIN):
            _allow(target.split(":")[0].split(".")[0], component.kind, plugins, code)
    return make_component(component)


def _allow(module: str, kind: str, plugins: Mapping[str, Any], code: Path | None) -> None:
    if module not in plugins:
        raise PluginError(f"the router names {module}, which no plugin of it ships.", where=kind)
    if code is not None and module in _top_level(code):
        return
    name, version = plugins[module]["distribution"], plugins[module]["version"]
    try:
        dist = metadata.distribution(name or "")
    except (metadata.PackageNotFoundError, ValueError):
        raise PluginError(
            f"This router was logged with {name or module} {version or ''}".rstrip() + ", which is not installed here.",
            where=kind,
            hint=f"pip install {name}=={version}" if name else "",
        ) from None
    if (have := _older(dist.version, version)) is not None:
        raise PluginError(
            f"This router was logged with {name} {version}; {have} is installed here, which is older.",
            where=kind,
            hint=f"pip install {name}=={version}",
        )
    ships = any(str(file).split("/")[0].removesuffix(".py") == module for file in dist.files or ())
    editable = any(entry.value.split(".")[0].split(":")[0] == module for entry in dist.entry_points)
    if not any(entry.group == "mmeframe" for entry in dist.entry_points) or not (ships or editable):
        raise PluginError(f"{module} is not part of an mmeframe plugin in {name}.", where=kind)


def _older(have: str, wanted: str | None) -> str | None:
    """The installed version if it is older than the one that a router was logged with."""
    from packaging.version import InvalidVersion, Version

    try:
        return have if wanted is not None and Version(have) < Version(wanted) else None
    except InvalidVersion:
        return None


def _top_level(code: Path) -> set[str]:
    with zipfile.ZipFile(code) as archive:
        return {name.split("/")[0].removesuffix(".py") for name in archive.namelist()}
