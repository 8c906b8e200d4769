"""What every component promises, whatever its kind."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pickle
import sys
import typing
import warnings
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

from mmeframe.config.options import describe, recorded
from mmeframe.errors import MmeframeError
from mmeframe.plugin import MISSING
from mmeframe.plugin.components import import_target
from mmeframe.plugin.conf import defaults_of
from mmeframe.testing import new_process as apart
from mmeframe.testing.cases import Case
from mmeframe.testing.check import BrokenError, Check, expect

__all__ = [
    "COMMON_CHECKS",
    "check_composes",
    "check_discovery_is_light",
    "check_hooks",
    "check_options",
    "check_options_have_help",
    "check_prepare",
    "check_record",
    "check_round_trip",
    "check_serves_without_hydra",
]


@Check
def check_record(case: Case) -> None:
    """A record has a summary of one line, a config dataclass of its kind, and a target that is a class of its kind."""
    record = case.entry.record
    summary = record.summary.strip()
    expect(summary, "its summary is empty, and `mmeframe plugins` shows nothing for it")
    expect("\n" not in summary, "its summary has several lines")
    conf = case.of_kind.conf
    expect(issubclass(record.config, conf), f"{record.config.__name__} does not extend {conf.__name__}")
    where = f"{record.config.__module__}:{record.config.__qualname__}"
    expect(
        "<locals>" not in where and _same_object(where, record.config),
        f"its config is {where}, which cannot be imported: a bundle records that name",
    )
    target = import_target(record.target)
    base = case.of_kind.base
    expect(isinstance(target, type), f"its target {record.target} is no class")
    expect(issubclass(target, base), f"its target {record.target} does not extend {base.__name__}")


@Check
def check_options(case: Case) -> None:
    """Each option has a type that values can be checked against, a default of that type, and a name of its own."""
    config = case.entry.record.config
    hints = typing.get_type_hints(config, include_extras=True)
    for name, default in defaults_of(config).items():
        expect(not name.startswith("_"), f"the option {name!r} begins with an underscore, which config refuses")
        adapter = _adapter(name, hints[name])
        # What the user must choose, and what other options must agree with, is checked with the whole.
        if default != MISSING and not _validated_together(config, name):
            _check_default(adapter, name, default)


@Check
def check_options_have_help(case: Case) -> None:
    """Each option says what it means, in a comment above it or in a Field(description=...)."""
    config = case.entry.record.config
    own = {option.name for option in dataclasses.fields(config)} - _inherited(case)
    helped = {option.name: option.help for option in describe(config)}
    silent = [name for name in own if not helped.get(name)]
    expect(not silent, f"its options {', '.join(sorted(silent))} have no help")


@Check
def check_composes(case: Case) -> None:
    """A config that chooses it, with these options over its defaults, is valid; what it has is plain JSON."""
    component = case.component
    expect(component.kind == case.entry.record.name, f"config chooses {component.kind!r} in place of it")
    known = {option.name for option in dataclasses.fields(case.entry.record.config)}
    found = set(component.options)
    expect(found == known, f"the validated options are {sorted(found)}, not {sorted(known)}")
    json.dumps(component.options, allow_nan=False)


@Check
def check_round_trip(case: Case) -> None:
    """What a bundle records of it, JSON with sorted maps, makes the same component; its options can be pickled."""
    one, other = case.make(), case.make()
    expect(one is not other, "it is the same object for two routers")
    expect(one.conf == other.conf, f"made twice of one record its options differ: {one.conf} and {other.conf}")
    found, wanted = recorded(one.conf), dict(case.component.options)
    expect(found == wanted, f"made of the recorded options {wanted} it has {found}")
    again = pickle.loads(pickle.dumps(one.conf))  # noqa: S301 - pickled on the line itself
    expect(again == one.conf, f"pickled and unpickled its options are {again}, not {one.conf}")


@Check
def check_hooks(case: Case) -> None:
    """The plugin's hooks take positional arguments without defaults: pluggy passes no others."""
    module = _plugin_module(case)
    for name, function in _hooks(module):
        for argument in inspect.signature(function).parameters.values():
            told = f"{module.__name__}.{name}() has the argument {argument.name!r}"
            expect(argument.default is argument.empty, f"{told} with a default, which hides what the host passes")
            expect(argument.kind is argument.POSITIONAL_OR_KEYWORD, f"{told}, which is {argument.kind.description}")


@Check
def check_discovery_is_light(case: Case) -> None:
    """Importing the plugin's module imports no heavy library: every mmeframe command imports it."""
    module = _module_name(case)
    found = _discovered(module)
    expect(not found["error"], f"importing {module} in a new process ends with {found['error']}")
    shown = ", ".join(found["heavy"])
    expect(not found["heavy"], f"importing {module} imports {shown}; import that inside the methods that need it")


@Check
def check_serves_without_hydra(case: Case) -> None:
    """Where a router is served there is neither Hydra nor pluggy: the component is imported without them."""
    component = case.component
    error = _served(component.target, component.config)
    expect(not error, f"importing {component.target} in a process without Hydra and pluggy ends with {error}")


@Check
def check_prepare(case: Case) -> None:
    """``prepare`` gives bytes by name, the same bytes for the same config; ``bind`` takes them as memoryviews."""
    first, second = case.prepared(), case.prepared()
    for name, data in first.items():
        expect(isinstance(name, str) and isinstance(data, bytes), f"prepare() gives {name!r}: {type(data).__name__}")
    expect(first == second, "prepare() gives other bytes when it is asked again: equal routers would have two digests")
    case.bound()


COMMON_CHECKS = (
    check_record,
    check_options,
    check_options_have_help,
    check_composes,
    check_round_trip,
    check_hooks,
    check_discovery_is_light,
    check_serves_without_hydra,
)


def _same_object(where: str, wanted: Any) -> bool:
    try:
        return import_target(where) is wanted
    except MmeframeError:
        return False


def _adapter(name: str, hint: Any) -> Any:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        with warnings.catch_warnings():
            # What belongs to an option of a dataclass has no effect on a type alone, and says so.
            warnings.simplefilter("ignore")
            return TypeAdapter(hint)
    except PydanticUserError as error:
        said = str(error).splitlines()[0]
        raise BrokenError(f"the option {name!r} has a type that values cannot be checked against: {said}") from None


def _check_default(adapter: Any, name: str, default: Any) -> None:
    from pydantic import ValidationError

    try:
        valid = adapter.validate_python(default)
        json.dumps(adapter.dump_python(valid, mode="json"), allow_nan=False)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise BrokenError(f"the default {default!r} of the option {name!r} is not of its type: {said}") from None
    except (TypeError, ValueError) as error:
        raise BrokenError(f"the option {name!r} is no plain JSON: {error}") from None


def _validated_together(config: type[Any], name: str) -> bool:
    """Whether the type's validators look at other options, or say that the default is not for use."""
    hint = typing.get_type_hints(config, include_extras=True)[name]
    return any(type(extra).__name__.endswith("Validator") for extra in getattr(hint, "__metadata__", ()))


def _inherited(case: Case) -> set[str]:
    return {option.name for option in dataclasses.fields(case.of_kind.conf)}


def _module_name(case: Case) -> str:
    return case.entry.plugin.module.partition(":")[0]


def _plugin_module(case: Case) -> ModuleType:
    name = _module_name(case)
    return sys.modules.get(name) or importlib.import_module(name)


def _hooks(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Functions that ``@hookimpl`` has marked, also those with another name than their hook."""
    for name, value in vars(module).items():
        if callable(value) and hasattr(value, "mmeframe_impl"):
            yield name, value


@lru_cache(maxsize=256)
def _served(target: str, config: str) -> str:
    return str(apart.run("serve", [target, config])["error"])


@lru_cache(maxsize=256)
def _discovered(module: str) -> Any:
    return apart.run("discover", module)
