"""What may be wrong with a plugin: each function says it in a text, which is empty where nothing is."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from mmeframe._version import __version__
from mmeframe.errors import nearest
from mmeframe.plugin import hookspecs
from mmeframe.plugin.kinds import CHOSEN, Kind
from mmeframe.plugin.records import ComponentPlugin, ModelLoaderPlugin
from mmeframe.plugin.registered import PACKAGE, PluginInfo, Registered, folders_of
from mmeframe.sections import OWN_ROUTING

__all__ = ["API_VERSION", "hides", "hook_fault", "path_fault", "records_fault", "version_fault"]

API_VERSION = 1
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = {*OWN_ROUTING, "kind"}


def path_fault(path: Any) -> str:
    if not isinstance(path, str) or not path.startswith(PACKAGE):
        return f"must return texts such as 'pkg://my_package.conf', not {path!r}."
    if not any(Path(folder).is_dir() for folder in folders_of(path)):
        return f"names {path!r}, and there is no such folder in a package."
    return ""


def hides(path: str, offered: Mapping[str, Sequence[Registered]]) -> str:
    """A file named like a kind would be what everybody gets who chooses that kind."""
    for kind in CHOSEN:
        for folder in folders_of(path):
            for file in sorted((Path(folder) / kind.group).glob("*.yaml")):
                if (entry := next((it for it in offered[kind.noun] if it.record.name == file.stem), None)) is not None:
                    what = f"{kind.noun} {file.stem!r} of {entry.plugin.title}"
                    return f"brings {kind.group}/{file.name}, which would hide the {what}. Rename the file."
    return ""


def version_fault(info: PluginInfo, requires: Iterable[str]) -> str:
    from packaging.requirements import InvalidRequirement

    try:
        return _version_clash(info, requires)
    except InvalidRequirement as error:
        return f"its metadata cannot be read: {str(error).splitlines()[0]}"


def _version_clash(info: PluginInfo, requires: Iterable[str]) -> str:
    """What STYLE asks for when a plugin's own requirement excludes this mmeframe."""
    from packaging.requirements import Requirement

    for text in requires:
        need = Requirement(text)
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if need.name == "mmeframe" and applies and not need.specifier.contains(__version__, prereleases=True):
            later = any(_after(it) for it in need.specifier)
            cure = f"a newer mmeframe, or an older {info.distribution}" if later else f"a newer {info.distribution}"
            return f"{info.title} needs mmeframe {need.specifier}; this is {__version__}. Install {cure}."
    return ""


def _after(wanted: Any) -> bool:
    """Whether one clause of a requirement asks for a later mmeframe than this."""
    from packaging.version import Version

    return wanted.operator in (">=", ">", "~=") and Version(wanted.version) >= Version(__version__)


def hook_fault(name: str, module: Any, manager: pluggy.PluginManager) -> str:
    """A misspelt hook, or a hook function that nobody marked."""
    known = hookspecs.__all__
    for attribute in dir(module):
        value = getattr(module, attribute) if attribute.startswith("mmeframe_") else None
        if not callable(value) or isinstance(value, type):
            continue
        options = manager.parse_hookimpl_opts(module, attribute)
        if options is None:
            return f"Plugin {name!r}: {attribute}() is not marked. Add @hookimpl from mmeframe.plugin."
        if attribute not in known and not options.get("optionalhook") and not options.get("specname"):
            close = nearest(attribute, known)
            guess = f" Did you mean {close!r}?" if close else ""
            return f"Plugin {name!r}: there is no hook {attribute!r}.{guess}"
        if attribute in known:
            takes = inspect.signature(getattr(hookspecs, attribute)).parameters
            has = inspect.signature(value).parameters.values()
            needs = [it.name for it in has if it.kind is it.POSITIONAL_OR_KEYWORD and it.default is it.empty]
            if strange := [argument for argument in needs if argument not in takes]:
                its = f"It has {' and '.join(takes)}." if takes else "It has none."
                return f"Plugin {name!r}: the hook {attribute}() has no argument {strange[0]!r}. {its}"
    return ""


def records_fault(kind: Kind, given: Any, records: Sequence[Any]) -> str:
    """What is wrong with what a hook returned, or an empty text."""
    if isinstance(given, ComponentPlugin):
        return f"{kind.hook}() must return a list of records: return [{type(given).__name__}(...)]."
    seen = set()
    for record in records:
        if fault := _record_fault(kind, record):
            return fault
        if record.name in seen:
            return f"it registers the {kind.noun} {record.name!r} twice."
        seen.add(record.name)
    return ""


def _record_fault(kind: Kind, record: Any) -> str:
    """What is wrong with one record, or an empty text."""
    if not isinstance(record, kind.record):
        return f"{kind.hook}() must return {kind.record.__name__} records, not {type(record).__name__}."
    label = f"{kind.noun} {record.name!r}"
    if not _NAME.fullmatch(str(record.name)):
        return f"{label}: a name is lower-case letters, digits and underscores."
    if not (
        isinstance(record.config, type)
        and issubclass(record.config, kind.conf)
        and "__dataclass_fields__" in vars(record.config)
    ):
        return f"{label}: its config must be a dataclass that extends {kind.conf.__name__}."
    if record.target.count(":") != 1:
        return f"{label}: its target must be written 'package.module:Class', not {record.target!r}."
    if record.api_version > API_VERSION:
        return f"{label} needs plugin API {record.api_version}; this mmeframe has {API_VERSION}."
    if isinstance(record, ModelLoaderPlugin) and (fault := _suffixes_fault(record)):
        return f"{label}: {fault}"
    taken = sorted(_RESERVED & {option.name for option in dataclasses.fields(record.config)})
    if taken:
        return f"{label}: the option name {taken[0]!r} is taken by mmeframe itself."
    return ""


def _suffixes_fault(record: ModelLoaderPlugin) -> str:
    """What is wrong with the bare files that a loader reads, or an empty text."""
    if record.suffixes and not record.flavors:
        return "the files of its suffixes need a flavor: flavors=(...)."
    for suffix, options in record.suffixes.items():
        if not re.fullmatch(r"\.[^./]+", suffix):
            return f"a suffix is written '.ext', not {suffix!r}."
        try:
            for value in options.values():
                value.format(name="")
        except (AttributeError, LookupError, ValueError):
            return f"the options of {suffix} are texts, with {{name}} for the name of the file."
    return ""
