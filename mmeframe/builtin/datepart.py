"""``kind: datepart``: the key is the weekday, month, hour ... of a timestamp."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator

from mmeframe.plugin import (
    MISSING,
    BadInputError,
    Batch,
    RoutingInputs,
    RoutingStrategy,
    StrategyConf,
    factorized,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["DatepartConf", "DatepartStrategy", "clock_times"]


def _zone(name: str | None) -> str | None:
    from zoneinfo import ZoneInfo

    if name is not None:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no time zone named {name!r}; write it as in 'America/New_York'") from None
    return name


TimeZone = Annotated[str | None, AfterValidator(_zone)]
# Parts with a closed set of values.
_VALUES: Mapping[str, Iterable[str | int]] = {
    "quarter": range(1, 5),
    "month": range(1, 13),
    "week": range(1, 54),
    "day": range(1, 32),
    "dayofyear": range(1, 367),
    "weekday": range(7),
    "day_name": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "hour": range(24),
    "minute": range(60),
}
Part = Literal["year", "quarter", "month", "week", "day", "dayofyear", "weekday", "day_name", "hour", "minute", "date"]


@dataclass
class DatepartConf(StrategyConf):
    """Options of ``kind: datepart``."""

    # A column of timestamps, or of ISO 8601 text.
    column: str = MISSING
    # What of it is the key: week is that of ISO 8601, weekday is 0 on Mondays, and day_name is Monday then.
    part: Part = "weekday"
    # The time zone whose clock and calendar count; null takes each timestamp's own clock as written.
    timezone: TimeZone = None
    # The time zone of timestamps that carry none; null means ``timezone``, so that they are taken as they are.
    assume: TimeZone = None


class DatepartStrategy(RoutingStrategy[DatepartConf]):
    """Route each row by a part of its timestamp, on the clock of one time zone.

    A naive time that a clock change skips or repeats only matters where ``assume`` differs from ``timezone``: a skipped
    one moves forward to the next that exists, a repeated one is taken as the first.
    """

    def inputs(self) -> RoutingInputs:
        return RoutingInputs({self.conf.column: "datetime"})

    def keys(self) -> Iterable[str | int] | None:
        return _VALUES.get(self.conf.part)

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        import numpy as np

        conf = self.conf
        positions, times = clock_times(batch, conf.column, conf.timezone, conf.assume)
        return np.append(self._of(times), [None]).take(positions)

    def _of(self, values: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
        part = self.conf.part
        if part == "day_name":
            found = values.dt.day_name()
        elif part == "date":
            found = values.dt.strftime("%Y-%m-%d")
        elif part == "week":
            found = values.dt.isocalendar().week
        else:
            found = getattr(values.dt, {"weekday": "day_of_week", "dayofyear": "day_of_year"}.get(part, part))
        keys: np.ndarray[Any, np.dtype[np.object_]] = found.to_numpy(object)
        return keys


# Booleans, numbers, durations.
_NO_TIMES = "biufcm"


def clock_times(
    batch: Batch, column: str, timezone: str | None = None, assume: str | None = None
) -> tuple[np.ndarray[Any, np.dtype[np.intp]], pd.Series[Any]]:
    """Position of each row's time among the distinct ones, -1 for a missing one; and those, without a zone, as a clock
    shows them: that of ``timezone``, or else each one's own as written. ``assume`` is the zone of times without one.

    Raises BadInputError for a column that holds something else than timestamps and ISO 8601 text, and for times that
    another clock shows after the year 9999.
    """
    import numpy as np
    import pandas as pd

    values = batch.column(column)
    if values.dtype == np.dtype(object):
        # As text, so that one instant on two clocks stays two.
        values = np.array([_text(value, column) for value in values], object)
    elif isinstance(values.dtype, pd.ArrowDtype) and values.dtype.kind == "M":
        values = pd.Series(values).astype(values.dtype.pyarrow_dtype.to_pandas_dtype()).array
    # Distinct timestamps are usually few: parse and convert those only.
    try:
        positions, uniques = factorized(values)
        times = pd.Series(uniques)
    except (NotImplementedError, UnicodeEncodeError):
        # Arrow's lists and objects have no hash, and half a character has no bytes.
        raise _unreadable(column, "it holds lists or objects, or text that is no Unicode") from None
    if isinstance(times.dtype, pd.CategoricalDtype):
        times = times.astype(times.cat.categories.dtype)
    if times.dtype.kind in _NO_TIMES:
        if not times.empty:
            raise _unreadable(column, f"it is {values.dtype}")
        return positions, pd.Series([], dtype="M8[ns]")
    try:
        if isinstance(times.dtype, pd.DatetimeTZDtype):
            return positions, _on_clock(times, timezone)
        if times.dtype.kind == "M":
            return positions, _localize(times, timezone, assume)
        return positions, _parse(times, column, timezone, assume)
    except (NotImplementedError, OverflowError, pd.errors.OutOfBoundsDatetime):
        # The last day of 9999 is how many tables write that there is no end.
        raise _unreadable(column, "it holds times that are out of range in another time zone") from None


def _text(value: Any, column: str) -> Any:
    import pandas as pd

    if isinstance(value, str) or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise _unreadable(column, f"it holds {type(value).__name__} values")


# How ISO 8601 writes the offset of a time of day, at the end of the text.
_OFFSET = r"\s*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"


def _parse(values: pd.Series[Any], column: str, timezone: str | None, assume: str | None) -> pd.Series[Any]:
    import pandas as pd

    text = values.map(lambda value: _text(value, column)).astype("str")
    aware = text.str.contains(rf"^[^T ]+[T ].*\d{_OFFSET}", regex=True)
    times = []
    if aware.any():
        if timezone:
            times.append(_on_clock(_read(text[aware], column, utc=True), timezone))
        else:
            times.append(_read(text[aware].str.replace(rf"^(.*\d){_OFFSET}", r"\1", regex=True), column))
    if not aware.all():
        times.append(_localize(_read(text[~aware], column), timezone, assume))
    return pd.concat(times).sort_index() if times else values.astype("M8[ns]")


def _read(text: pd.Series[Any], column: str, utc: bool = False) -> pd.Series[Any]:
    import pandas as pd

    if text.str.lower().isin(["now", "today"]).any():
        raise _unreadable(column, "it holds text that is no ISO 8601 timestamp")
    try:
        times: pd.Series[Any] = pd.to_datetime(text, format="ISO8601", utc=utc)
    except ValueError:
        raise _unreadable(column, "it holds text that is no ISO 8601 timestamp") from None
    if times.dtype.kind != "M" or (isinstance(times.dtype, pd.DatetimeTZDtype) and not utc):
        raise _unreadable(column, "it holds an offset that is not written as +01:00")
    return times


def _unreadable(column: str, why: str) -> BadInputError:
    return BadInputError(
        f"column {column!r} cannot be read as timestamps: {why}.",
        hint="Send datetimes, or text such as 2013-01-01T10:00:00Z.",
    )


def _on_clock(values: pd.Series[Any], timezone: str | None) -> pd.Series[Any]:
    """What a clock shows at times with a zone: their own clock, or that of ``timezone``."""
    local: pd.Series[Any] = (values.dt.tz_convert(timezone) if timezone else values).dt.tz_localize(None)
    return local


def _localize(values: pd.Series[Any], timezone: str | None, assume: str | None) -> pd.Series[Any]:
    """What a clock shows at times without a zone."""
    if not assume or not timezone or assume == timezone:
        return values
    import numpy as np

    first = np.ones(len(values), bool)
    return _on_clock(values.dt.tz_localize(assume, ambiguous=first, nonexistent="shift_forward"), timezone)
