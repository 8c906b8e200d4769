"""Make the components that a bundle records, from the places that it may name and no others."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

from mmeframe import imports
from mmeframe.bundle import Bundle, Manifest
from mmeframe.bundle.artifact import check_code
from mmeframe.bundle.manifest import PluginFacts
from mmeframe.errors import ConfigError, PluginError
from mmeframe.plugin import MISSING, ComponentContext, Conf, Observer, ObserverConf
from mmeframe.plugin.components import import_target, make_component
from mmeframe.plugin.conf import defaults_of
from mmeframe.spec import ComponentSpec

__all__ = ["bound_component", "bring_code", "load_component", "observer_of", "required"]

_BUILTIN = "mmeframe.builtin."


def bring_code(manifest: Manifest, code: Path | None) -> None:
    """Import the plugins that an artifact carries, whatever else is installed.

    Raises CorruptBundleError for another archive than the manifest says, before anything of it runs; PluginError if
    this process has imported other code under the name of a plugin, or of mmeframe: its entrypoint did not run where a
    router is a copy.
    """
    if code is None:
        return
    check_code(code, manifest)
    carried = [module for module in imports.carried(code) if module in {"mmeframe", *manifest.plugins}]
    try:
        rival = imports.bring(code, carried)
    except ImportError as error:
        raise PluginError(f"a plugin that this router carries cannot be imported: {error}.") from error
    if rival is not None:
        what, hint = imports.other_code(code, rival)
        raise PluginError(what, hint=hint)


def required(manifest: Manifest, code: Path | None) -> list[str]:
    """What a router needs here: what its sub-models require, and the versions of the plugins that it does not carry."""
    carried = {} if code is None else imports.carried(code)
    plugins = [facts for module, facts in manifest.plugins.items() if module not in carried]
    pins = {f"{facts.distribution}=={facts.version}" for facts in plugins if facts.distribution}
    return [*manifest.environment, *sorted(pins)]


def load_component(component: ComponentSpec, manifest: Manifest, code: Path | None) -> Any:
    """A component whose class and options are built in, embedded in the artifact, or in a recorded plugin.

    code: the artifact's own archive, which ``bring_code`` has read. Raises PluginError for anything else: a bundle
    cannot name just any class of the process; and for what another version of its plugin does not know.
    """
    from pydantic import ValidationError

    for target in (component.target, component.config):
        if not target.startswith(_BUILTIN):
            _allow(_module(target), component.kind, manifest.plugins, code)
    try:
        return make_component(component)
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}."
        raise _misfit(component, manifest, f"an option of it: {said}") from error
    except PluginError as error:
        raise _misfit(component, manifest, f"its class: {error.what}") from error


def bound_component(component: ComponentSpec, bundle: Bundle, code: Path | None, where: str) -> Any:
    """The same, with what it prepared at build for the config path ``where``."""
    found = load_component(component, bundle.manifest, code)
    found.bind(ComponentContext(bundle.component_files(where)))
    return found


def _misfit(component: ComponentSpec, manifest: Manifest, what: str) -> PluginError:
    """What to raise where the version that runs does not know what another one has recorded."""
    module = _module(component.target)
    logged = manifest.plugins.get(module, PluginFacts(module, manifest.mmeframe))
    name, version = logged.distribution or module, logged.version or ""
    return PluginError(
        f"the router was logged with {name} {version}".rstrip()
        + f", and {name} {imports.version_of(module, name) or ''}".rstrip()
        + f" does not take {what}",
        where=component.kind,
        hint=(f"pip install {name}=={version}, or build" if version else "Build") + " the router again.",
    )


def _module(target: str) -> str:
    """The top-level module of ``package.module:Class``."""
    return target.split(":")[0].split(".")[0]


def observer_of(target: str, where: str) -> tuple[Observer[Any], Mapping[str, bytes]]:
    """An observer that the bundle does not record, with its defaults, and the files that it prepares.

    target: ``module:Class``, as the person who runs the process names it. Raises ConfigError with where it was named.
    """
    try:
        found = import_target(target)
    except PluginError as error:
        hint = "Install it where the router is loaded, or leave it out."
        raise ConfigError(f"{error.what.rstrip('.')}.", where=where, hint=hint) from error
    if not (isinstance(found, type) and issubclass(found, Observer)):
        raise ConfigError(f"{target} does not extend mmeframe.plugin.Observer.", where=where)
    conf = _conf_of(found)
    options = defaults_of(conf)
    if silent := [name for name, value in options.items() if value == MISSING]:
        raise ConfigError(
            f"{target} has options without a default: {', '.join(silent)}.",
            where=where,
            hint="Give them when the router is built: +observer@observers.<name>=<kind>.",
        )
    config = f"{conf.__module__}:{conf.__qualname__}"
    try:
        observer = make_component(ComponentSpec(target, target, config, options))
        return observer, observer.prepare()
    except Exception as error:
        raise ConfigError(f"{target} cannot be used: {type(error).__name__}: {error}.", where=where) from error


def _conf_of(observer: type[Observer[Any]]) -> type[Conf]:
    """``SlowConf`` of ``class Slow(Observer[SlowConf])``."""
    for owner in observer.__mro__:
        for base in vars(owner).get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Conf):
                    return argument
    return ObserverConf


def _allow(module: str, kind: str, plugins: Mapping[str, PluginFacts], code: Path | None) -> None:
    if module not in plugins:
        raise PluginError(f"the router names {module}, which no plugin of it ships.", where=kind)
    if code is not None and module in imports.carried(code):
        return
    name, version = plugins[module].distribution, plugins[module].version
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
