"""``kind: rules``: the key of the first rule that holds for a row.

Rules are data: nothing of them is ever evaluated as code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictInt, StrictStr, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from mmeframe.builtin.conditions import (
    DATE,
    EQUAL,
    LISTED,
    ORDER,
    PRESENCE,
    TEXT,
    Compare,
    Condition,
    Join,
    Rows,
    comparisons,
    is_key,
    moment,
)
from mmeframe.plugin import (
    BadInputError,
    Batch,
    ComponentContext,
    RoutingInputs,
    RoutingStrategy,
    StrategyConf,
    changed_by_csv,
    csv_form,
    suggest,
)

__all__ = ["MAX_DEPTH", "RulesConf", "RulesStrategy"]

# How deep all, any and not may stand in one another.
MAX_DEPTH = 20

_OPERATORS = (*EQUAL, *ORDER, *LISTED, *TEXT, *PRESENCE)
_JOINS = ("all", "any", "not")
# What other languages write; the nearest name would be another one.
_MEANT = {"=": "==", "<>": "!=", "=<": "<=", "=>": ">="}
# Whole numbers beyond it are none of any column.
_LARGEST = 2**64

Path = tuple[str | int, ...]


class _Reader:
    """Rules as conditions, with everything that is wrong in them."""

    def __init__(self) -> None:
        self.faults: list[tuple[Path, str]] = []
        # What each column is compared as, and where that was first said.
        self.kinds: dict[str, tuple[str, Path]] = {}

    def rules(self, rules: list[Any]) -> list[tuple[str, Condition]]:
        found = []
        for number, rule in enumerate(rules):
            if self._map(rule, ("key", "when"), (number,)):
                key = self._key(rule["key"], (number, "key"))
                when = self._condition(rule["when"], (number, "when"), 1)
                if when is not None:
                    found.append((key, when))
        return found

    def _fault(self, at: Path, what: str) -> None:
        self.faults.append((at, what))

    def _map(self, value: Any, names: tuple[str, ...], at: Path) -> bool:
        """Whether ``value`` is a map with these names and no others."""
        if not isinstance(value, Mapping):
            self._fault(at, f"this must be a map of {', '.join(names)}")
            return False
        alien = [name for name in value if name not in names]
        for name in alien:
            self._fault((*at, str(name)), f"there is no {str(name)!r} here. {_known(str(name), names)}")
        lost = [name for name in names if name not in value]
        for name in lost if not alien else ():
            self._fault((*at, name), "this is required")
        return not alien and not lost

    def _key(self, key: Any, at: Path) -> str:
        if key is None or key == "":
            self._fault(at, "a key is text or a whole number; to give rows no key, leave their rule out")
        elif not isinstance(key, str | int) or isinstance(key, bool):
            self._fault(at, f"YAML read this as {type(key).__name__} {_shown(key)}; quote it")
        return str(key)

    def _condition(self, when: Any, at: Path, depth: int) -> Condition | None:
        if depth > MAX_DEPTH:
            self._fault(at, f"conditions are nested more than {MAX_DEPTH} deep")
            return None
        joins = [name for name in _JOINS if isinstance(when, Mapping) and name in when]
        if not joins:
            return self._compare(when, at)
        if len(when) > 1:
            self._fault(at, f"{joins[0]!r} must be the only name; combine conditions in one list with all or any")
            return None
        return self._join(joins[0], when[joins[0]], (*at, joins[0]), depth)

    def _join(self, how: str, value: Any, at: Path, depth: int) -> Join | None:
        if how == "not":
            part = self._condition(value, at, depth + 1)
            return None if part is None else Join(how, (part,))
        if not isinstance(value, list) or not value:
            self._fault(at, "this must be a list of at least one condition")
            return None
        parts = [self._condition(item, (*at, number), depth + 1) for number, item in enumerate(value)]
        return Join(how, tuple(part for part in parts if part is not None))

    def _compare(self, when: Any, at: Path) -> Compare | None:
        name = when.get("operator") if isinstance(when, Mapping) else None
        if isinstance(name, str) and name not in _OPERATORS:
            self._fault(
                (*at, "operator"), f"there is no operator {name!r}. {_known(_MEANT.get(name, name), _OPERATORS)}"
            )
            return None
        if isinstance(when, Mapping) and not {"column", "operator", "value"} & set(when):
            first = str(next(iter(when), ""))
            known = _known(first, ("column", *_JOINS))
            self._fault(at, f"this is no condition: {{column, operator, value}}, or one of all, any, not. {known}")
            return None
        if not self._map(when, ("column", "operator") if name in PRESENCE else ("column", "operator", "value"), at):
            return None
        column, value = when["column"], when.get("value")
        if not isinstance(column, str) or not column:
            self._fault((*at, "column"), "a column is named by text")
            return None
        if not isinstance(name, str):
            self._fault((*at, "operator"), f"an operator is text. {_known('', _OPERATORS)}")
            return None
        kind = self._kind(name, value, (*at, "value"))
        return Compare(column, name, value, kind) if kind and self._one_kind(column, kind, at) else None

    def _kind(self, name: str, value: Any, at: Path) -> str | None:
        """What the column is read as for this comparison; None if the value is no good for it."""
        if name in PRESENCE:
            return "any"
        if name in LISTED:
            if not isinstance(value, list) or not value:
                self._fault(at, f"{name!r} needs a list of at least one value")
                return None
            # All of them, so that all that is wrong is one report.
            good = [self._equal(item, (*at, number)) for number, item in enumerate(value)]
            return "any" if all(good) else None
        if name in EQUAL:
            return "any" if self._equal(value, at) else None
        if not self._scalar(value, at):
            return None
        if name in TEXT:
            if not isinstance(value, str) or not value:
                what = f"{name!r} needs text" if value == "" else f"{name!r} needs text: quote it"
                self._fault(at, what)
                return None
            return "string"
        if not isinstance(value, str):
            return "double"
        return self._time(value, at) if DATE.fullmatch(value) else "string"

    def _time(self, value: str, at: Path) -> str | None:
        try:
            moment(value)
        except ValueError:
            self._fault(at, f"{_shown(value)} begins as a date and is no ISO 8601 timestamp")
            return None
        return "datetime"

    def _equal(self, value: Any, at: Path) -> bool:
        """Whether rows can be equal to the value, as keys are."""
        if not self._scalar(value, at):
            return False
        if not is_key(value):
            self._fault(at, "a float this large may be a rounded number; write it without point or exponent")
            return False
        return True

    def _scalar(self, value: Any, at: Path) -> bool:
        if value is None:
            self._fault(at, "nothing compares with null; use the operator is_missing or not_missing")
        elif isinstance(value, bool):
            self._fault(at, f"YAML read this as bool {value}; quote it: '{value}' is the key of {str(value).lower()}")
        elif not isinstance(value, str | int | float):
            self._fault(at, f"a value is text or a number, and this is {type(value).__name__}")
        elif isinstance(value, float) and not math.isfinite(value):
            self._fault(at, "a number is finite; use the operator is_missing or not_missing for NaN")
        elif isinstance(value, int) and abs(value) > _LARGEST:
            self._fault(at, "this number is too large")
        else:
            return True
        return False

    def _one_kind(self, column: str, kind: str, at: Path) -> bool:
        if kind == "any":
            return True
        first, where = self.kinds.setdefault(column, (kind, at))
        if first != kind:
            words = {"double": "a number", "string": "text", "datetime": "a timestamp"}
            there = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
            self._fault(at, f"column {column!r} is compared as {words[kind]} here, as {words[first]} in rules{there}")
        return first == kind


def _known(name: str, names: Iterable[str]) -> str:
    return suggest(name, names).rstrip(".")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _checked(rules: list[Any]) -> list[Any]:
    if not rules:
        raise ValueError(
            "there are no rules; write them as in [{key: far, when: {column: distance, operator: '>', value: 1000}}]"
        )
    reader = _Reader()
    reader.rules(rules)
    if reader.faults:
        faults = [
            # As a parameter: braces in the text are no place-holders.
            InitErrorDetails(type=PydanticCustomError("value_error", "{what}", {"what": what}), loc=at, input=None)
            for at, what in reader.faults
        ]
        raise ValidationError.from_exception_data("rules", faults)
    return rules


@dataclass
class RulesConf(StrategyConf):
    """Options of ``kind: rules``."""

    # At least one {key, when}, in the order in which they are tried. A condition is {column, operator, value},
    # {all: [...]}, {any: [...]} or {not: ...}; operators are ==, !=, <, <=, >, >=, in, not_in (value: a list),
    # contains, starts_with, ends_with, and is_missing and not_missing (no value).
    rules: Annotated[list[Any], AfterValidator(_checked), Field(validate_default=True)] = field(default_factory=list)
    # The key of rows for which no rule holds; null leaves them without one.
    otherwise: Annotated[StrictStr, Field(min_length=1)] | StrictInt | None = None


class RulesStrategy(RoutingStrategy[RulesConf]):
    """Route each row by the first rule that holds for it.

    A comparison with a missing value does not hold, with ``!=`` neither; ``not`` of it does. ``==`` and ``in`` compare
    keys: 7, 7.0 and "7" are equal, and a timestamp is its ISO text. ``<`` and the like compare numbers with a number,
    timestamps with text that begins as a date (2013-01-31, 2013-01-31T10:00:00Z), and else text letter by letter.
    A timestamp without an offset in a rule is compared with each row's own clock as written; one with an offset is a
    moment, for which times without an offset are taken as UTC.
    """

    def bind(self, context: ComponentContext) -> None:
        del context
        self._rules = _Reader().rules(self.conf.rules)
        # By column: what readers of CSV files make of texts that it is compared with, where none is written so.
        self._changed: dict[str, set[str]] = {}
        for column, keys in _equalled(when for _, when in self._rules).items():
            if forms := {form for key in keys if (form := csv_form(key))} - keys:
                self._changed[column] = forms

    def inputs(self) -> RoutingInputs:
        reader = _Reader()
        values: dict[str, list[Any]] = {}
        for _, when in reader.rules(self.conf.rules):
            for column, value in _compared(when):
                values.setdefault(column, []).extend(value)
        # What is compared with numbers only is a column of numbers: in a CSV file 500.0 is 500.
        columns = {
            name: "double" if found and not any(isinstance(value, str) for value in found) else "any"
            for name, found in values.items()
        }
        return RoutingInputs(columns | {name: kind for name, (kind, _) in reader.kinds.items()})

    def keys(self) -> Iterable[str | int]:
        given = [rule["key"] for rule in self.conf.rules]
        return [*given, self.conf.otherwise] if self.conf.otherwise is not None else given

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        import numpy as np
        import pandas as pd

        for column, forms in self._changed.items():
            if changed_by_csv(batch.column(column), forms):
                raise BadInputError(
                    f"column {column!r} is compared with text, and has numbers or booleans, which CSV "
                    f"readers make of text.",
                    hint="Send it as text: in quotes in JSON, a CSV file read with dtype=str. Or compare with numbers.",
                )
        rows = Rows(batch)
        labels = list(dict.fromkeys(str(key) for key in self.keys()))
        otherwise = -1 if self.conf.otherwise is None else labels.index(str(self.conf.otherwise))
        codes = np.full(len(batch), otherwise, np.int32)
        # From the last to the first, so that the first stands in the end.
        for key, when in reversed(self._rules):
            codes[when.holds(rows)] = labels.index(key)
        return pd.Categorical.from_codes(codes, pd.Index(labels, dtype=object), validate=False)


def _compared(when: Condition) -> Iterable[tuple[str, list[Any]]]:
    """Columns, with what they are compared with."""
    return [(it.column, [] if it.operator in PRESENCE else it.values) for it in comparisons(when)]


def _equalled(rules: Iterable[Condition]) -> Mapping[str, set[str]]:
    """By column, the keys that its values are equal to or not."""
    found: dict[str, set[str]] = {}
    for when in rules:
        for it in comparisons(when):
            if it.operator in EQUAL or it.operator in LISTED:
                found.setdefault(it.column, set()).update(it.wanted)
    return found
