"""JSON Schema of config files, as editors use it. It knows the kinds of all installed plugins.

A file is one layer of a config, so nothing is required, and ``${...}`` and ``???`` may stand wherever a value may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from mmeframe import sections
from mmeframe.config.comments import field_comments
from mmeframe.config.model_entry import ModelConf
from mmeframe.config.options import REF, config_fault, config_schema, plain
from mmeframe.config.quick_choices import WITH_KINDS, group_names, places
from mmeframe.plugin.kinds import CHOSEN, COMBINER, LOADER, STRATEGY, Kind
from mmeframe.plugin.manager import Plugins

__all__ = ["json_schema"]

Schema = dict[str, Any]

_OPEN_TEXT = r"\$\{.+\}|^\?\?\?$"
_OPEN: Schema = {"$ref": f"{REF}interpolation"}
_TEXT: Schema = {"type": "string"}


def json_schema(plugins: Plugins, group: str | None = None) -> Schema:
    """The schema of primary configs and experiments, or of the files in a group of ``WITH_KINDS``.

    Components whose options no config can hold are left out.
    """
    return _Writer(plugins).write(group)


# -- interpolations --------------------------------------------------------------------------------------------------


def _opened(value: Schema) -> Schema:
    """The same, where ``${...}`` may stand for it and for everything in it."""
    found = _within(value)
    told: Schema = {name: found.pop(name) for name in ("description", "default") if name in found}
    if "anyOf" in found:
        return {**found, "anyOf": [*found["anyOf"], _OPEN], **told}
    if {"enum", "const", "$ref", "if"} & set(found):
        # A definition is open itself, and so are the branches of a condition.
        return {**found, **told} if {"$ref", "if"} & set(found) else {"anyOf": [found, _OPEN], **told}
    kind = found.get("type")
    if kind == "string":
        narrow = {"pattern", "format", "maxLength"} & set(found)
        return {"anyOf": [found, _OPEN], **told} if narrow else {**found, **told}
    if isinstance(kind, str):
        # What is said of numbers, lists and maps does not touch text, and errors in them keep their own path.
        return {**found, "type": [kind, "string"], "pattern": _OPEN_TEXT, **told}
    return {**found, **told}


def _within(value: Schema) -> Schema:
    """The same, with everything in it opened."""
    found = dict(value)
    if members := found.pop("oneOf", None) or found.get("anyOf"):
        found["anyOf"] = [_within(member) for member in members]
    for name in ("items", "additionalProperties"):
        if isinstance(found.get(name), dict):
            found[name] = _opened(found[name])
    if "prefixItems" in found:
        found["prefixItems"] = [_opened(item) for item in found["prefixItems"]]
    if "properties" in found:
        found["properties"] = {name: _opened(item) for name, item in found["properties"].items()}
    return found


def _closed(properties: Schema, **more: Any) -> Schema:
    """A map of exactly these options, which are open already."""
    told = {"properties": properties, "additionalProperties": False, **more}
    return {"type": ["object", "string"], "pattern": _OPEN_TEXT, **told}


def _named(definition: str) -> Schema:
    """A map of the user's names."""
    return _opened({"type": "object", "additionalProperties": {"$ref": f"{REF}{definition}"}})


def _single(section: sections.Section) -> Schema:
    """A section that is one option."""
    told = {name: value for name, value in config_schema(section.type).items() if name != "$defs"}
    return _opened({**told, "default": plain(section.default)})


def _full(names: Iterable[str]) -> Schema:
    """``mmeframe-geo.geohash``: right wherever a name is, and not offered; its options are for ``validate``."""
    short = dict.fromkeys(name.rpartition(".")[2] for name in names)
    return {"type": "string", "pattern": rf"^.+\.({'|'.join(short)})$"}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same with other names of definitions."""
    if isinstance(value, dict):
        return {
            key: names.get(item, item) if key == "$ref" and isinstance(item, str) else _renamed(item, names)
            for key, item in value.items()
        }
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


class _Writer:
    """One schema, and the definitions that it refers to."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._folders = places((), plugins)
        self._definitions: Schema = {"interpolation": {"type": "string", "pattern": _OPEN_TEXT}}

    def write(self, group: str | None) -> Schema:
        defaults: Schema = {"defaults": self._defaults()}
        if group is None:
            hydra = {"type": "object", "description": "Hydra's own settings."}
            root = _closed({**self._sections(), **defaults, "hydra": hydra}, allOf=list(self._chosen()))
            root["type"] = "object"
            del root["pattern"]
        elif kind := WITH_KINDS[group]:
            root = self._kinds(group, kind, {**defaults, **(self._routing() if kind is STRATEGY else {})})
        else:
            root = self._section(group, sections.SECTIONS[group].type)
            root["properties"] |= defaults
        head = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"mmeframe {'config' if group is None else group}",
        }
        return {**head, **root, "$defs": self._definitions}

    # -- sections ----------------------------------------------------------------------------------------------

    def _sections(self) -> Schema:
        model = self._section("models.*", ModelConf)
        model["properties"] |= {**self._loader(), "combine": self._kinds(COMBINER.name, COMBINER, {})}
        # A URI alone is a sub-model, too.
        del model["pattern"]
        self._definitions["model"] = model
        found: Schema = {
            name: self._section(name, it.type) if it.closed else _single(it)
            for name, it in sections.SECTIONS.items()
            if not it.open
        }
        found["model_defaults"]["properties"] |= self._loader()
        found |= {
            "name": dict(_TEXT),
            **{kind.place: self._entries(kind) for kind in CHOSEN if not kind.alone},
            "models": _named("model"),
            "routing": self._kinds("routing", STRATEGY, self._routing()),
        }
        for name, text in field_comments(sections.RouterSpec).items():
            found[name]["description"] = text
        return found

    def _section(self, path: str, config: type[Any]) -> Schema:
        """A closed section with its options."""
        return _closed(self._properties(path, config))

    def _routing(self) -> Schema:
        """Routing's own options, which stand beside those of a kind."""
        own = self._properties("routing", sections.RoutingConf)
        return {**own, "keys": {**self._entries(STRATEGY), "description": own["keys"]["description"]}}

    def _entries(self, kind: Kind) -> Schema:
        """A map of the user's names to components of a kind."""
        self._definitions[kind.entry] = self._kinds(kind.entry, kind, {})
        return _named(kind.entry)

    def _loader(self) -> Schema:
        names = self._plugins.names(LOADER.noun)
        self._definitions[LOADER.name] = self._kinds(LOADER.name, LOADER, {})
        loader = {"anyOf": [{"enum": ["auto", *names]}, _OPEN, _full(names)]}
        told = config_schema(sections.ModelDefaults)["properties"]["loader"]
        return {
            "loader": {"if": {"type": "object"}, "then": {"$ref": f"{REF}{LOADER.name}"}, "else": loader, **told},
        }

    def _properties(self, path: str, config: type[Any]) -> Schema:
        """Open options of a dataclass; what they refer to becomes definitions."""
        whole = deepcopy(config_schema(config))
        definitions = whole["$defs"]
        names = {f"{REF}{name}": f"{REF}{self._free(name, path, part)}" for name, part in definitions.items()}
        for name, part in definitions.items():
            self._definitions[names[f"{REF}{name}"].removeprefix(REF)] = _opened(_renamed(part, names))
        return {name: _opened(_renamed(option, names)) for name, option in whole.get("properties", {}).items()}

    def _free(self, name: str, path: str, part: Schema) -> str:
        """A name for a definition: its own, unless another one has it already."""
        return name if self._definitions.get(name) in (None, _opened(part)) else f"{path}.{name}"

    # -- kinds -------------------------------------------------------------------------------------------------

    def _kinds(self, prefix: str, kind: Kind, beside: Schema) -> Schema:
        """A component: the options of its ``kind``, or, where another file says the kind, those of any.

        beside: options that stand beside those of every kind.
        """
        registered = self._plugins.registered[kind.noun]
        options = {
            name: self._properties(f"{prefix}.{name}", entry.record.config)
            for name, entry in sorted(registered.items())
            if not config_fault(entry.record.config)
        }
        for name, own in options.items():
            summary = registered[name].record.summary
            self._definitions[f"{prefix}.{name}"] = _closed(
                {"kind": {"const": name}, **beside, **own}, description=summary
            )
        any_kind = {"anyOf": [{"enum": list(options)}, _OPEN, _full(options)]}
        self._definitions[f"any {prefix}"] = _closed({"kind": any_kind, **beside, **_any_of(options.values())})
        cases = [
            {"if": {"properties": {"kind": {"const": name}}}, "then": {"$ref": f"{REF}{prefix}.{name}"}}
            for name in options
        ]
        return {
            "if": {"type": "object", "required": ["kind"]},
            "then": {"properties": {"kind": any_kind}, "allOf": cases},
            "else": {"$ref": f"{REF}any {prefix}"},
        }

    def _chosen(self) -> Iterator[Schema]:
        """The kind of ``routing`` where this very file chooses it in its ``defaults``."""
        for name in self._plugins.names(STRATEGY.noun):
            if f"routing.{name}" not in self._definitions:
                continue
            entry = {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": "^(override +)?/?routing$"},
                "additionalProperties": {"const": name},
            }
            chosen = {"properties": {"defaults": {"type": "array", "contains": entry}}, "required": ["defaults"]}
            yield {"if": chosen, "then": {"properties": {"routing": {"$ref": f"{REF}routing.{name}"}}}}

    def _defaults(self) -> Schema:
        """A list of choices. Any name is right, since it may be one of the user's files; known ones are offered."""
        groups = (*(name for name, kind in WITH_KINDS.items() if kind is None or kind.alone), "experiment")
        entry = {
            "type": "object",
            "properties": {f"{word}{group}": self._offered(group) for group in groups for word in ("", "override ")},
            "patternProperties": {
                f"^/?{kind.group}@{re.escape(kind.place)}\\.": self._offered(kind.group) for kind in CHOSEN
            },
        }
        what = "Other configs and the kinds that are chosen, in the order in which they are read; _self_ is this file."
        return {"type": "array", "items": {"anyOf": [_TEXT, entry]}, "description": what}

    def _offered(self, group: str) -> Schema:
        names = group_names(group, self._folders, self._plugins)
        return {"anyOf": [{"enum": names}, {"type": ["string", "null", "array"]}]}


def _any_of(options: Iterable[Schema]) -> Schema:
    """All options of several kinds; one that several have may be as any of them says."""
    found: dict[str, list[Schema]] = {}
    for own in options:
        for name, option in own.items():
            same = found.setdefault(name, [])
            same += [] if option in same else [option]
    return {name: same[0] if len(same) == 1 else {"anyOf": same} for name, same in found.items()}
