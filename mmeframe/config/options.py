"""What a config dataclass offers: each option's type, range, default and help.

The one description behind ``mmeframe plugins show``, ``--help``, completion and ``mmeframe schema``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from mmeframe.config.comments import field_comments
from mmeframe.errors import PluginError
from mmeframe.option_types import adapter_of
from mmeframe.plugin.conf import MISSING, defaults_of
from mmeframe.plugin.manager import Registered

__all__ = [
    "REF",
    "Option",
    "choices",
    "config_fault",
    "config_schema",
    "default_text",
    "describe",
    "members",
    "options_error",
    "plain",
    "plain_defaults",
    "recorded",
    "type_text",
]

REF = "#/$defs/"


@dataclass(frozen=True, slots=True)
class Option:
    """One option. ``type`` and ``help`` are for readers; ``choices``: its values, where they are few.

    default: None as well where there is none, because the option is required.
    """

    name: str
    type: str
    default: Any
    required: bool
    help: str
    choices: tuple[Any, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For machines; a required option has no default."""
        told = {"name": self.name, "type": self.type, "required": self.required, "help": self.help}
        told |= {"choices": list(self.choices)} if self.choices else {}
        return told if self.required else {**told, "default": self.default}


def default_text(option: Mapping[str, Any]) -> str:
    """The default of an option that was made JSON, as an override writes it."""
    if option["required"]:
        return "(required)"
    value = option["default"]
    return value if value and isinstance(value, str) else json.dumps(value)


class _Checked(GenerateJsonSchema):
    """JSON Schema of what a config can hold."""

    # A default that is no value of its option, such as ???, is no fault.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic declares it so

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Any:
        # A validator in place of a type may take anything.
        return (
            {} if schema.get("type") == "function-plain" else super().handle_invalid_for_json_schema(schema, error_info)
        )


class _Schema(_Checked):
    """The same with help and plain defaults. Nothing is required: one file is one layer of a config."""

    def dataclass_schema(self, schema: Any) -> Any:
        found = super().dataclass_schema(schema)
        found.pop("required", None)
        found.pop("title", None)
        comments, defaults = field_comments(schema["cls"]), defaults_of(schema["cls"])
        for field in defaults:
            # What would be a word of Python's ends with an underscore there: class_.
            option = found["properties"].get(field) or found["properties"].get(field.rstrip("_"))
            if option is not None:
                option.pop("default", None)
                option.update({} if defaults[field] == MISSING else {"default": plain(defaults[field])})
                if field in comments:
                    option.setdefault("description", comments[field])
        return found


def config_schema(config: type[Any]) -> dict[str, Any]:
    """A dataclass as JSON Schema, with help and plain defaults. It is kept, so change a copy.

    Raises whatever pydantic makes of an annotation that it does not understand; ``config_fault`` puts it into words.
    """
    # What mypy knows of a class is not that it can be a key.
    key: Any = config
    return _schema_of(key)


@lru_cache(maxsize=256)
def _schema_of(config: Any) -> dict[str, Any]:
    schema = TypeAdapter(config).json_schema(ref_template=REF + "{model}", schema_generator=_Schema)
    definitions = schema.pop("$defs", {})
    # One that holds itself is a definition, too.
    own = definitions.get(str(schema.get("$ref")).removeprefix(REF), schema)
    return {**own, "$defs": definitions}


def describe(config: type[Any]) -> tuple[Option, ...]:
    """The options of a dataclass, as they stand in it. Raises as ``config_schema`` does."""
    schema = config_schema(config)
    return tuple(
        Option(
            name,
            type_text(option, schema["$defs"]),
            option.get("default"),
            "default" not in option,
            option.get("description", ""),
            tuple(choices(option, schema["$defs"])),
        )
        for name, option in schema.get("properties", {}).items()
    )


# -- types in words --------------------------------------------------------------------------------------------------

_TYPES = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "null": "null"}


def type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a value must be: ``int, 1 to 8``, ``one of: left, right``, ``map of list of float``, ``str or null``."""
    if "$ref" in schema:
        return type_text(definitions[schema["$ref"].removeprefix(REF)], definitions)
    if members := schema.get("anyOf") or schema.get("oneOf"):
        texts = [_words(member, " or ", repr) or type_text(member, definitions) for member in members]
        return (", or " if any(", " in text for text in texts) else " or ").join(dict.fromkeys(texts))
    if words := _words(schema, ", ", str):
        return f"one of: {words}"
    kind = schema.get("type")
    if kind == "array":
        inner = schema.get("items") or {"anyOf": schema.get("prefixItems") or [{}]}
        return "list of " + _grouped(type_text(inner, definitions)) + _length(schema, "Items", "entries")
    if kind == "object":
        if names := schema.get("properties"):
            return f"map with {', '.join(names)}"
        inner = schema.get("additionalProperties")
        return "map of " + _grouped(type_text(inner if isinstance(inner, Mapping) else {}, definitions))
    if kind not in _TYPES:
        return "any value"
    like = schema.get("title") or f"like {schema['pattern']}" if "pattern" in schema else schema.get("format")
    return _TYPES[kind] + _range(schema) + (f", {like}" if like else "") + _length(schema, "Length", "characters")


def _grouped(text: str) -> str:
    return f"({text})" if ", " in text or " or " in text else text


def _words(schema: Mapping[str, Any], joint: str, quote: Callable[[str], str]) -> str:
    """The values of an enum or a constant, texts as ``quote`` writes them; an empty text for anything else."""
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return joint.join(quote(value) if isinstance(value, str) else json.dumps(value) for value in values)


def _range(schema: Mapping[str, Any]) -> str:
    """``, 1 to 8``, ``, above 0``, ``, 0 or more, below 1``."""
    low, high = schema.get("minimum"), schema.get("maximum")
    told = [f"{low} to {high}"] if low is not None and high is not None else []
    if not told:
        told += [f"{low} or more"] if low is not None else []
        told += [f"{high} or less"] if high is not None else []
    told += [f"above {schema['exclusiveMinimum']}"] if "exclusiveMinimum" in schema else []
    told += [f"below {schema['exclusiveMaximum']}"] if "exclusiveMaximum" in schema else []
    told += [f"a multiple of {schema['multipleOf']}"] if "multipleOf" in schema else []
    return "".join(f", {it}" for it in told)


def _length(schema: Mapping[str, Any], of: str, noun: str) -> str:
    low, high = schema.get(f"min{of}"), schema.get(f"max{of}")
    if low == 1 and high is None:
        return ", not empty"
    if low == high and low is not None:
        return f", {low} {noun}"
    told = [f"{low} or more"] if low else []
    told += [f"{high} or fewer"] if high is not None else []
    return f", {' and '.join(told)} {noun}" if told else ""


def choices(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterable[Any]:
    """Values to choose from, also those beside others: ``auto`` of a word or a list."""
    for member in members(schema, definitions):
        yield from member.get("enum", ())
        yield from [member["const"]] if "const" in member else ()
        yield from {"boolean": (True, False), "null": (None,)}.get(str(member.get("type")), ())


def members(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a value may be, one by one, each as its own schema."""
    if "$ref" in schema:
        yield from members(definitions[schema["$ref"].removeprefix(REF)], definitions)
    elif several := schema.get("anyOf") or schema.get("oneOf"):
        for member in several:
            yield from members(member, definitions)
    else:
        yield schema


# -- plain values, and what is wrong with a dataclass ----------------------------------------------------------------


def plain(value: Any) -> Any:
    """A default as YAML writes it. Raises PydanticSerializationError for one that it cannot hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=str)
    # An enum is its value, also one of text.
    return value if type(value) in (str, int, float, bool, type(None)) else to_jsonable_python(value)


def recorded(conf: Any) -> dict[str, Any]:
    """Validated options as a bundle records them. Sets are sorted: equal configs give equal bytes."""
    config: Any = type(conf)
    adapter = adapter_of(config)
    found: dict[str, Any] = _sorted(adapter.dump_python(conf, mode="json"), adapter.dump_python(conf))
    return found


def _sorted(value: Any, source: Any) -> Any:
    """source: what the plain value is made of."""
    if isinstance(source, set | frozenset) and isinstance(value, list):
        return sorted(value, key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(source, list | tuple) and isinstance(value, list) and len(source) == len(value):
        return list(map(_sorted, value, source))
    if isinstance(source, Mapping) and isinstance(value, dict) and len(source) == len(value):
        return dict(zip(value, map(_sorted, value.values(), source.values()), strict=True))
    return value


def plain_defaults(entry: Registered, where: str) -> dict[str, Any]:
    """Defaults of a component's options, ``???`` where the user must choose.

    Raises PluginError if they are none that a config can hold.
    """
    try:
        return {name: plain(value) for name, value in defaults_of(entry.record.config).items()}
    except Exception as error:
        raise options_error(entry, where, error) from error


def options_error(entry: Registered, where: str, error: Exception) -> PluginError:
    """Why the options of a component cannot be used: the plugin, the option and its annotation."""
    fault = config_fault(entry.record.config) or f"its options cannot be read: {type(error).__name__}: {_line(error)}"
    return PluginError(
        f"{entry.kind.noun} {entry.record.name!r} of {entry.plugin.title}: {fault}.",
        where=where,
        hint="Report it to the plugin's author. 'mmeframe plugins' shows what is broken.",
    )


def config_fault(config: type[Any]) -> str:
    """Why a dataclass cannot be a component's options, or an empty text: names the option and its annotation.

    A config holds what JSON holds, and pydantic must know how to check it.
    """
    try:
        TypeAdapter(config).json_schema(schema_generator=_Checked)
        plain(defaults_of(config))
    except Exception as error:  # noqa: BLE001 - pydantic and annotations raise many kinds
        whole = f"its options cannot be checked: {type(error).__name__}: {_line(error)}"
    else:
        return ""
    for option in dataclasses.fields(config):
        try:
            annotation = _annotation(config, option)
            TypeAdapter(annotation).json_schema(schema_generator=_Checked)
        except Exception:  # noqa: BLE001 - as above
            written = option.type.__name__ if isinstance(option.type, type) else option.type
            return f"option {option.name!r} has the annotation {written}, which no config can hold"
    for name, value in _each_default(config):
        try:
            plain(value)
        except Exception:  # noqa: BLE001 - as above
            return f"option {name!r} has a default of type {type(value).__name__}, which no config can hold"
    return whole


def _each_default(config: type[Any]) -> Iterable[tuple[str, Any]]:
    try:
        return defaults_of(config).items()
    except Exception:  # noqa: BLE001 - a factory of the plugin's
        return ()


def _annotation(config: type[Any], option: dataclasses.Field[Any]) -> Any:
    """What one annotation means where it was written; the others need not mean anything."""
    owner = next(kind for kind in config.__mro__ if option.name in vars(kind).get("__annotations__", {}))
    own = SimpleNamespace(__annotations__={option.name: option.type})
    return get_type_hints(own, vars(sys.modules[owner.__module__]), vars(owner), include_extras=True)[option.name]


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".")
