"""Conditions of ``kind: rules``: columns compared with values, for all rows of a batch at once."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mmeframe.builtin.bins import as_sent
from mmeframe.builtin.datepart import clock_times
from mmeframe.builtin.hashed import column_keys
from mmeframe.builtin.pattern import distinct_texts
from mmeframe.plugin import BadInputError, Batch, canonical

if TYPE_CHECKING:
    import numpy as np

    Mask = np.ndarray[Any, np.dtype[np.bool_]]

__all__ = [
    "DATE",
    "EQUAL",
    "LISTED",
    "ORDER",
    "PRESENCE",
    "TEXT",
    "Compare",
    "Condition",
    "Join",
    "Rows",
    "comparisons",
    "is_key",
    "moment",
]

ORDER: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TEXT: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda text, piece: piece in text,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}
EQUAL, LISTED, PRESENCE = ("==", "!="), ("in", "not_in"), ("is_missing", "not_missing")


class Rows:
    """A batch, with what comparisons read of its columns: each is read once."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._read: dict[tuple[Any, ...], Any] = {}

    def get(self, read: Callable[..., Any], column: str, *options: Any) -> Any:
        name = (read, column, *options)
        if name not in self._read:
            self._read[name] = read(self.batch, column, *options)
        return self._read[name]


@dataclass(frozen=True, slots=True)
class Compare:
    """One column against a value. ``kind``: what the column is read as."""

    column: str
    operator: str
    value: Any
    kind: str

    @property
    def values(self) -> list[Any]:
        return self.value if isinstance(self.value, list) else [self.value]

    @property
    def wanted(self) -> frozenset[str]:
        """The values as keys."""
        return frozenset(map(str, map(canonical, self.values)))

    def holds(self, rows: Rows) -> Mask:
        if self.operator in PRESENCE:
            missing: Mask = rows.get(_missing, self.column)
            return missing if self.operator == "is_missing" else ~missing
        if self.operator in EQUAL or self.operator in LISTED:
            return self._equals(rows)
        if self.kind == "double":
            numbers = rows.get(_numbers, self.column)
            found: Mask = ORDER[self.operator](numbers, self.value)
            large, exact = as_sent(rows.batch, self.column, numbers)
            found[large] = ORDER[self.operator](exact, self.value)
            return found
        if self.kind == "datetime":
            value, zone = moment(self.value)
            positions, times = rows.get(clock_times, self.column, zone)
            return _spread(ORDER[self.operator](times, value).to_numpy(), positions)
        positions, texts = rows.get(distinct_texts, self.column)
        test = ORDER.get(self.operator) or TEXT[self.operator]
        return _spread([test(text, self.value) for text in texts], positions)

    def _equals(self, rows: Rows) -> Mask:
        import numpy as np

        positive, wanted = self.operator in ("==", "in"), self.wanted
        values = rows.get(_column, self.column)
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
            if np.isin(values, [value for value in _rounded(wanted) if value.dtype == values.dtype]).any():
                raise self._doubtful()
            found = _among(values, wanted)
            return found if positive else ~found & ~np.isnan(values)
        keys = rows.get(column_keys, self.column, False)
        if not {canonical(value, exact=False) for value in _rounded(wanted)}.isdisjoint(keys.categories):
            raise self._doubtful()
        return _spread([(key in wanted) == positive for key in keys.categories], keys.codes)

    def _doubtful(self) -> BadInputError:
        return BadInputError(
            f"column {self.column!r} is compared with a whole number, and has floats that may be rounded forms of it.",
            hint="Send the column as text or as integers.",
        )


@dataclass(frozen=True, slots=True)
class Join:
    """Conditions of which all, any or (for ``not``) none hold."""

    how: str
    parts: tuple[Condition, ...]

    def holds(self, rows: Rows) -> Mask:
        import numpy as np

        masks = [part.holds(rows) for part in self.parts]
        if self.how == "not":
            return ~masks[0]
        return np.asarray((np.logical_and if self.how == "all" else np.logical_or).reduce(masks))


Condition = Compare | Join


def _column(batch: Batch, column: str) -> Any:
    return batch.column(column)


def _among(values: np.ndarray[Any, Any], wanted: Iterable[str]) -> Mask:
    """Which numbers have one of the canonical texts, found without a text for each of them."""
    import numpy as np

    if values.dtype.kind == "f":
        doubles = [float(text) for text in wanted if _is_number(text, float)]
        return np.isin(values.astype(np.float64, copy=False), doubles)
    bounds = np.iinfo(values.dtype)
    whole = [int(text) for text in wanted if _is_number(text, int) and bounds.min <= int(text) <= bounds.max]
    return np.isin(values, np.array(whole, values.dtype))


def _is_number(text: str, kind: type[float]) -> bool:
    """Whether a number of that kind has this text as its key."""
    try:
        return canonical(kind(text)) == text
    except (ValueError, OverflowError, BadInputError):
        return False


@lru_cache(maxsize=256)
def _rounded(wanted: frozenset[str]) -> tuple[np.floating[Any], ...]:
    """The floats of every width that are no exact keys, and that one of these whole numbers is rounded to."""
    import numpy as np

    found = []
    for text in wanted:
        # A longer one is beyond all floats.
        if len(text) > 3 and len(text) < 300 and _is_number(text, int):
            with np.errstate(over="ignore"):
                floats = [kind(int(text)) for kind in (np.float16, np.float32, np.float64)]
            found += [value for value in floats if not is_key(value)]
    return tuple(found)


def is_key(value: Any) -> bool:
    try:
        canonical(value)
    except BadInputError:
        return False
    return True


def _missing(batch: Batch, column: str) -> Mask:
    import numpy as np
    import pandas as pd

    return np.asarray(pd.isna(batch.column(column)), bool)


def _numbers(batch: Batch, column: str) -> Any:
    return batch.numbers(column)


def _spread(distinct: Any, positions: Any) -> Mask:
    """From distinct values to rows; a missing value, at position -1, compares with nothing."""
    import numpy as np

    return np.asarray(np.append(np.asarray(distinct, bool), [False]).take(positions))


DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?", re.DOTALL)


def moment(text: str) -> tuple[Any, str | None]:
    """A time as a clock shows it, and the zone of that clock: UTC for text with an offset."""
    import pandas as pd

    time = pd.to_datetime(text, format="ISO8601")
    return (time, None) if time.tzinfo is None else (time.tz_convert("UTC").tz_localize(None), "UTC")


def comparisons(when: Condition) -> Iterable[Compare]:
    return [when] if isinstance(when, Compare) else [found for part in when.parts for found in comparisons(part)]
