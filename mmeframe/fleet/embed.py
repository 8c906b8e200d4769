"""The archive of code inside a router: mmeframe's runtime and the plugins that it uses.

With it a clean environment that has only the recorded requirements loads the router: neither mmeframe nor its plugins
need an index that serves them. Deterministic: equal code gives equal bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from mmeframe._version import __version__
from mmeframe.bundle import Manifest
from mmeframe.bundle.manifest import PluginFacts
from mmeframe.errors import BuildError
from mmeframe.imports import code_digest, version_of
from mmeframe.plugin.kinds import LOADER
from mmeframe.plugin.manager import PluginInfo, Plugins
from mmeframe.spec import ComponentSpec

__all__ = [
    "ARCHIVE",
    "CodeChange",
    "Embedded",
    "code_changes",
    "code_digests",
    "embedded_files",
    "loader_code",
    "plugin_requirements",
    "recorded",
    "used_plugins",
    "write_archive",
]

ARCHIVE = "mmeframe.zip"
# What the layer contract keeps free of Hydra and pluggy is what serving needs.
_RUNTIME = (
    "__init__.py",
    "_version.py",
    "errors.py",
    "spec.py",
    "option_types.py",
    "sections.py",
    "graph.py",
    "route",
    "rows",
    "budget.py",
    "cache.py",
    "imports.py",
    "shipped.py",
    "redact.py",
    "versions.py",
    "worker",
    "bundle",
    "plugin",
    "builtin",
    "runtime",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def used_plugins(components: Iterable[ComponentSpec], plugins: Plugins) -> dict[str, PluginInfo]:
    """Top-level modules of third-party components -> the plugin that registered them."""
    found: dict[str, PluginInfo] = {}
    # Thousands of sub-models have the same loader.
    used = dict.fromkeys((component.kind, component.target, component.config) for component in components)
    for kind, *targets in used:
        for entry in (entry for names in plugins.registered.values() for entry in names.values()):
            if (entry.record.name, entry.record.target) == (kind, targets[0]):
                for target in targets:
                    module = target.split(":")[0].split(".")[0]
                    if module != "mmeframe":
                        found[module] = entry.plugin
    return found


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the archive holds; nothing if an index serves everything.

    files: names inside with their files, sorted. facts: top-level modules with distribution, version and digest.
    """

    files: list[tuple[str, Path]]
    facts: Mapping[str, Mapping[str, Any]]


def embedded_files(modules: Mapping[str, PluginInfo], indexed: Sequence[str]) -> Embedded:
    """Of mmeframe and of these plugins.

    Raises BuildError for a plugin with compiled modules, which no archive can hold.
    """
    embedded = {
        module: _module_files(module, info)
        for module, info in modules.items()
        if info.distribution is None or info.distribution not in indexed
    }
    facts = recorded({module: modules[module] for module in embedded})
    if "mmeframe" not in indexed:
        embedded["mmeframe"] = _files_of("mmeframe")
        facts["mmeframe"] = PluginFacts("mmeframe", __version__)
    said = {module: {**asdict(found), "sha256": code_here(module)} for module, found in facts.items()}
    return Embedded(sorted(found for files in embedded.values() for found in files), said)


def write_archive(path: Path, embedded: Embedded) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # What decides in a process that has some of these modules already.
        archive.comment = json.dumps(embedded.facts, sort_keys=True).encode()
        for name, file in embedded.files:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes(), zipfile.ZIP_DEFLATED)


def _python_files(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield name, path
        return
    for file in path.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield f"{name}/{file.relative_to(path).as_posix()}", file


def loader_code(plugins: Plugins) -> dict[str, str | None]:
    """mmeframe, and loaders of plugins -> a digest of their modules: others may keep, or measure, something else."""
    found = {"": code_here("mmeframe")}
    for name, entry in plugins.registered.get(LOADER.noun, {}).items():
        module = entry.record.target.split(":")[0].split(".")[0]
        if module != "mmeframe":
            found[name] = code_here(module)
    return found


def code_here(module: str) -> str | None:
    """A digest of what a top-level module is made of in this process, None if it is not made of files.

    Of mmeframe itself of what serving needs: that is what a router carries.
    """
    files = _files_of(module)
    return code_digest({name: hashlib.sha256(file.read_bytes()).digest() for name, file in files}) if files else None


def _files_of(module: str) -> list[tuple[str, Path]]:
    """What a top-level module is made of, none if it is not made of files."""
    spec = importlib.util.find_spec(module)
    # Nor is what this process took from the archive of a router.
    if spec is None or spec.origin is None or not (origin := Path(spec.origin)).is_file():
        return []
    if not spec.submodule_search_locations:
        return [(origin.name, origin)]
    inner = _RUNTIME if module == "mmeframe" else [path.name for path in origin.parent.iterdir()]
    return [found for name in inner for found in _python_files(origin.parent / name, f"{module}/{name}")]


def _module_files(module: str, info: PluginInfo) -> list[tuple[str, Path]]:
    files = _files_of(module)
    compiled = next((name for name, _ in files if name.endswith((".so", ".pyd", ".pyc"))), None)
    if compiled or not files:
        what = f"compiled modules ({compiled})" if compiled else f"no files of its module {module!r}, as in an archive"
        raise BuildError(
            f"{info.title} has {what}, which cannot be embedded.",
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
        wanted.append(("mmeframe", [f"mmeframe=={__version__}"]))
    return wanted


def recorded(modules: Mapping[str, PluginInfo]) -> dict[str, PluginFacts]:
    """What the manifest says about plugins, by module."""
    return {module: PluginFacts(info.distribution, info.version) for module, info in sorted(modules.items())}


def code_digests(modules: Iterable[str]) -> dict[str, str | None]:
    """What the manifest says about code: digests of mmeframe and of plugins' modules."""
    return {module: code_here(module) for module in sorted({"mmeframe", *modules})}


@dataclass(frozen=True)
class CodeChange:
    """Code of mmeframe or a plugin that differs: its version, None where it was or is not used."""

    name: str
    before: str | None
    after: str | None

    def to_json(self) -> dict[str, str | None]:
        return {"name": self.name, "from": self.before, "to": self.after}


def code_changes(manifest: Manifest, modules: Mapping[str, PluginInfo] | None = None) -> list[CodeChange]:
    """Whose code, of mmeframe and the plugins of a logged router, differs here.

    modules: the plugins that a build would use; without them those of the router are meant, as they are installed here.
    """
    plugins = _installed(manifest.plugins) if modules is None else recorded(modules)
    digests = code_digests(plugins)
    then = {**manifest.plugins, "mmeframe": PluginFacts("mmeframe", manifest.mmeframe)}
    now = {**plugins, "mmeframe": PluginFacts("mmeframe", __version__)}
    found = []
    for module in sorted(then.keys() | now.keys()):
        before, after = _said(then.get(module)), _said(now.get(module))
        if before == after and digests[module] != manifest.code[module]:
            after = f"{after} with other code"
        if before != after:
            facts = then.get(module) or now[module]
            found.append(CodeChange(facts.distribution or module, before, after))
    return found


def _said(facts: PluginFacts | None) -> str | None:
    return None if facts is None else facts.version or "a module"


def _installed(plugins: Mapping[str, PluginFacts]) -> dict[str, PluginFacts]:
    return {
        module: replace(facts, version=version_of(module, facts.distribution) if facts.distribution else None)
        for module, facts in plugins.items()
        if importlib.util.find_spec(module) is not None
    }
