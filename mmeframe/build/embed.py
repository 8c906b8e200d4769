"""The archive of code inside a router: mmeframe's runtime and the plugins that it uses.

With it a clean environment that has only the recorded requirements loads the router: neither mmeframe nor its plugins
need an index that serves them. Deterministic: equal code gives equal bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import mmeframe
from mmeframe.errors import BuildError
from mmeframe.plugin.manager import PluginInfo, Plugins
from mmeframe.spec import Component

__all__ = ["ARCHIVE", "embedded_files", "loader_code", "plugin_requirements", "used_plugins", "write_archive"]

ARCHIVE = "mmeframe.zip"
# What the layer contract keeps free of Hydra and pluggy is what serving needs.
_RUNTIME = (
    "__init__.py",
    "errors.py",
    "spec.py",
    "keys.py",
    "shares.py",
    "graph.py",
    "routes.py",
    "budget.py",
    "cache.py",
    "redact.py",
    "versions.py",
    "worker",
    "bundle",
    "plugin",
    "builtin",
    "runtime",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def used_plugins(components: Iterable[Component], plugins: Plugins) -> dict[str, PluginInfo]:
    """Top-level modules of third-party components -> the plugin that registered them."""
    found: dict[str, PluginInfo] = {}
    for component in components:
        for names in plugins.registered.values():
            entry = names.get(component.kind)
            if entry is not None and entry.record.target == component.target:
                for target in (component.target, component.config):
                    module = target.split(":")[0].split(".")[0]
                    if module != "mmeframe":
                        found[module] = entry.plugin
    return found


def embedded_files(modules: Mapping[str, PluginInfo], indexed: Sequence[str]) -> list[tuple[str, Path]]:
    """What the archive holds: each name inside with its file, sorted; nothing if everything is indexed.

    Raises BuildError for a plugin with compiled modules, which no archive can hold.
    """
    home = Path(mmeframe.__file__).parent
    sources: list[tuple[str, Path]] = []
    if "mmeframe" not in indexed:
        for name in _RUNTIME:
            sources += _python_files(home / name, f"mmeframe/{name}")
    for module, info in modules.items():
        if info.distribution is None or info.distribution not in indexed:
            sources += _module_files(module, info)
    return sorted(sources)


def write_archive(path: Path, sources: Sequence[tuple[str, Path]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # Whoever has this version installed needs no copy.
        archive.comment = mmeframe.__version__.encode()
        for name, file in sources:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes(), zipfile.ZIP_DEFLATED)


def _python_files(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield name, path
        return
    for file in path.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield f"{name}/{file.relative_to(path).as_posix()}", file


def loader_code(plugins: Plugins) -> dict[str, str]:
    """Model loaders of plugins -> a digest of their modules: another one may keep, or measure, something else."""
    found = {}
    for name, entry in plugins.registered.get("model loader", {}).items():
        module = entry.record.target.split(":")[0].split(".")[0]
        if module != "mmeframe":
            digest = hashlib.sha256()
            for path, file in sorted(_files_of(module)):
                digest.update(f"{path}\0{file.stat().st_size}\0".encode() + file.read_bytes())
            found[name] = digest.hexdigest()
    return found


def _files_of(module: str) -> list[tuple[str, Path]]:
    """What a top-level module is made of, none if it is not made of files."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    return list(_python_files(origin.parent, module) if spec.submodule_search_locations else [(origin.name, origin)])


def _module_files(module: str, info: PluginInfo) -> list[tuple[str, Path]]:
    files = _files_of(module)
    if not files:
        raise BuildError(f"the plugin {info.title} has no module {module!r} that could be embedded.")
    compiled = next((name for name, _ in files if name.endswith((".so", ".pyd"))), None)
    if compiled:
        raise BuildError(
            f"{info.title} has compiled modules ({compiled}), which cannot be embedded.",
            where="environment.indexed",
            hint=f"Add {info.distribution or module} there, so that it is required by name.",
        )
    return files


def plugin_requirements(modules: Mapping[str, PluginInfo], indexed: Sequence[str]) -> list[tuple[str, list[str]]]:
    """What plugins need at run time: themselves where they are indexed, else what they require, less mmeframe."""
    from packaging.requirements import Requirement

    wanted: list[tuple[str, list[str]]] = []
    for info in dict.fromkeys((info.distribution, info.version) for info in modules.values()):
        name, version = info
        if name is None:
            continue
        if name in indexed:
            wanted.append((name, [f"{name}=={version}"]))
            continue
        lines = []
        for text in metadata.distribution(name).requires or ():
            need = Requirement(text)
            if need.name != "mmeframe" and (need.marker is None or need.marker.evaluate({"extra": ""})):
                need.marker = None
                lines.append(str(need))
        wanted.append((name, lines))
    if "mmeframe" in indexed:
        wanted.append(("mmeframe", [f"mmeframe=={mmeframe.__version__}"]))
    return wanted


def recorded(modules: Mapping[str, PluginInfo]) -> dict[str, Any]:
    """What the manifest says about plugins: module -> distribution and version."""
    return {
        module: {"distribution": info.distribution, "version": info.version} for module, info in sorted(modules.items())
    }
