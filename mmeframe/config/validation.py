"""Check values of a config, collecting problems instead of stopping at the first."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mmeframe import sections
from mmeframe.config.options import config_schema, describe, members, options_error, recorded
from mmeframe.errors import QUOTE, MmeframeError, Report, nearest, suggest
from mmeframe.option_types import adapter_of
from mmeframe.plugin.conf import MISSING, defaults_of
from mmeframe.plugin.manager import Plugins
from mmeframe.sections import OWN_ROUTING
from mmeframe.spec import ComponentSpec

__all__ = ["LEVELS_HINT", "Checker", "missing_paths", "walk", "without_missing"]

# What pydantic calls by Python's names: what it is in YAML, and how it is written.
_MAP, _LIST = ("a map", "Write {name: value}."), ("a list", "Write [value, value].")
_SHAPES = {"dict": _MAP, "dictionary": _MAP, "list": _LIST, "set": _LIST, "tuple": _LIST, "frozenset": _LIST}
_SHAPES["frozen_set"], _SHAPES["dataclass"] = _LIST, _MAP
_YAML_WORDS = re.compile(r"a valid (dictionary|list|set|tuple|frozenset)|a dictionary or an instance of \w+")
LEVELS_HINT = "Use auto, or list them: [[store],[region],[]]."


class Checker:
    """A report, and the checks that add to it. A check returns None, or defaults, for what is wrong."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.report = Report()

    def required(self, path: str) -> None:
        """Report a required option once, whoever finds it."""
        if not any(problem.where == path for problem in self.report.problems):
            # An override reaches no entry of a list.
            hint = "Add it to that entry." if "[" in path else f"Set it: {path}=<value>."
            self.report.add(path, "this option is required.", hint)

    def check(self, kind: Any, value: Any, where: str) -> Any:
        """Validate with pydantic; problems get the config path. Returns None if anything is wrong."""
        try:
            adapter = adapter_of(kind) if isinstance(kind, type) else TypeAdapter(kind)
            return adapter.validate_python(value)
        except ValidationError as error:
            # The deepest first: of a union's members, the one that came furthest is the one that was meant.
            reported: list[list[Any]] = []
            found = [(_path(item, value), item) for item in error.errors()]
            for path, item in sorted(found, key=lambda it: -len(it[0])):
                if any(other[: len(path)] == path for other in reported):
                    continue
                reported.append(path)
                several = len({other["msg"] for at, other in found if at == path}) > 1
                if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
                    hint = suggest(str(path[-1]), _names(kind, path[:-1]), "It has")
                    self.report.add(where + _steps(path, value), f"there is no option {str(path[-1])!r}.", hint)
                    continue
                self._mistake(where + _steps(path, value), item, _type_of(kind, path) if several else "")
        return None

    def _mistake(self, path: str, item: Any, type_: str = "") -> None:
        if item["type"] == "missing" or item.get("input") == MISSING:
            self.required(path)
            return
        if any(problem.where == path for problem in self.report.problems):
            return
        what = str(item["msg"]).removeprefix("Value error, ")
        what = what if what[1:2].isupper() else f"{what[:1].lower()}{what[1:]}"
        what = _YAML_WORDS.sub(lambda found: _SHAPES[found[1] or "dict"][0], what)
        # One wrong value fails every member of a union, and the first is only one of them.
        hint = f"It is {type_}." if type_ else _SHAPES.get(item["type"].removesuffix("_type"), ("", ""))[1]
        if item["type"] in ("literal_error", "enum") and isinstance(item.get("input"), str):
            close = nearest(item["input"], re.findall(r"'([^']+)'", item["msg"]))
            hint = f"Did you mean {close!r}?" if close else hint
        if item["type"] == "string_type" and isinstance(item.get("input"), bool | int | float):
            hint = f"YAML read this as {type(item['input']).__name__} {item['input']}; {QUOTE}."
        if path.startswith("routing.levels"):
            hint = LEVELS_HINT
        self.report.add(path, f"{what}.", hint)

    def section(self, name: str, value: Any) -> Any:
        """The value of a closed section, or of one that is a single option; its default where it is wrong."""
        kind = sections.SECTIONS[name]
        if not kind.closed:
            found = self.check(kind.type, value, name)
            return kind.default if found is None else found
        if value is None:
            self.report.add(name, "this section cannot be null.")
            return kind.type()
        value = without_missing(value)
        conf = self.check(kind.type, value, name)
        if conf is None and isinstance(value, Mapping):
            # What is right in it still counts, so that one mistake is not reported as several.
            conf = adapter_of(kind.type).validate_python(_right(kind.type, value))
        return conf or kind.type()

    def component(self, noun: str, value: Any, where: str) -> ComponentSpec | None:
        """A ``{kind, options}`` map, checked against the dataclass that its kind names."""
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            self.report.add(where, f"choose a {noun}: kind is missing.", suggest("", self.plugins.names(noun), "Kinds"))
            return None
        try:
            entry = self.plugins.get(noun, value["kind"], f"{where}.kind")
        except MmeframeError as error:
            self.report.of(error)
            return None
        config = entry.record.config
        options = {name: item for name, item in value.items() if name != "kind"}
        alien = [name for name in options if name not in {option.name for option in dataclasses.fields(config)}]
        for name in alien:
            owners = [kind for kind in self.plugins.names(noun) if name in _fields(self.plugins, noun, kind)]
            extra = OWN_ROUTING if where == "routing" else ()
            known = [*_fields(self.plugins, noun, value["kind"]), *extra]
            hint = suggest(name, known, "It has")
            # Left over from another kind, unless it is nearly one of this kind's own.
            if owners and not nearest(name, known, 0.75):
                hint = f"It is one of {', '.join(owners)}; remove it with ~{where}.{name}."
            self.report.add(f"{where}.{name}", f"there is no option {name!r} of kind {value['kind']!r}.", hint)
            del options[name]
        try:
            missing = [name for name, item in (defaults_of(config) | options).items() if item == MISSING]
            for name in missing:
                self.required(f"{where}.{name}")
            conf = None if missing else self.check(config, options, where)
            if conf is None:
                return None
            values = recorded(conf)
        except Exception as error:  # noqa: BLE001 - a plugin's annotations, factories and validators
            self.report.of(options_error(entry, where, error))
            return None
        for missed in missing_paths(values, where):
            self.required(missed)
        for path, item in _numbers(values, ()):
            if not math.isfinite(item):
                self.report.add(where + _steps(path, values), f"{item} is not a finite number.")
        return entry.component(values)


def _steps(path: Sequence[Any], value: Any) -> str:
    """``.rules[0].when``: a place in a list stands in brackets."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(value, list | tuple) else f".{step}"
        try:
            value = value[step]
        except (TypeError, KeyError, IndexError):
            value = None
    return text


def _numbers(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Every number with a point in a value, with where it stands."""
    if isinstance(value, float):
        yield path, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, item in inner:
        yield from _numbers(item, (*path, step))


def _fields(plugins: Plugins, noun: str, kind: str) -> list[str]:
    return [option.name for option in dataclasses.fields(plugins.choices(noun)[kind].record.config)]


def _names(kind: Any, path: Sequence[Any]) -> list[str]:
    """Options of the dataclass that stands at a path, also in a list, in a map, or beside other types."""
    if not dataclasses.is_dataclass(kind) or not isinstance(kind, type):
        return []
    whole = config_schema(kind)
    found = list(members(whole, whole["$defs"]))
    for step in path:
        at = "items" if isinstance(step, int) else "additionalProperties"
        inner = [part.get("properties", {}).get(step) or part.get(at) for part in found]
        found = [it for part in inner if isinstance(part, Mapping) for it in members(part, whole["$defs"])]
    return [name for part in found for name in part.get("properties", ())]


# What pydantic calls members of unions in the location of an error; others have brackets, or are names of classes.
_LABELS = {"str", "int", "float", "bool", "none", "any", "bytes", "date", "datetime", "time", "timedelta", "decimal"}
_LABELS |= {"path", "uuid", "url", "enum", "constrained-str", "constrained-int", "constrained-float"}


def _path(item: Mapping[str, Any], value: Any) -> list[Any]:
    """The steps of an error's location that are keys of the config, the last one also where it is missing there."""
    path = []
    for left, step in enumerate(item["loc"], 1 - len(item["loc"])):
        inside = (isinstance(value, Mapping) and step in value) or (item["type"] == "missing" and not left)
        if isinstance(step, str) and not inside and ("[" in step or step in _LABELS or step[:1].isupper()):
            continue
        path.append(step)
        try:
            value = value[step]
        except (TypeError, KeyError, IndexError):
            value = None
    return path


def _type_of(kind: Any, path: list[Any]) -> str:
    """What one option of a dataclass must be."""
    if not dataclasses.is_dataclass(kind) or not isinstance(kind, type) or len(path) != 1:
        return ""
    return next((option.type for option in describe(kind) if option.name == path[0]), "")


def _right(kind: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are right by themselves, also those of a nested section in which others are wrong."""
    nested = {name: hint for name, hint in typing.get_type_hints(kind).items() if dataclasses.is_dataclass(hint)}
    kept = {
        name: _right(nested[name], item) if name in nested and isinstance(item, Mapping) else item
        for name, item in value.items()
    }
    return {name: item for name, item in kept.items() if _valid(kind, {name: item})}


def _valid(kind: Any, value: Mapping[str, Any]) -> bool:
    try:
        adapter_of(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def walk(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Everything inside a config: its path, its name, and the value."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            where = f"{path}.{name}" if path else str(name)
            yield where, str(name), item
            yield from walk(item, where)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from walk(item, f"{path}[{number}]")


def missing_paths(value: Any, path: str = "") -> list[str]:
    """Where ``???`` stands for an option that is required."""
    return [where for where, _, item in walk(value, path) if item == MISSING]


def without_missing(value: Any) -> Any:
    """Drop ``???`` options: they are reported once, with all others of the tree."""
    if isinstance(value, Mapping):
        return {name: without_missing(item) for name, item in value.items() if item != MISSING}
    return value
