"""``kind: datepart``: the key is the weekday, month, hour ... of a timestamp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator

from mmeframe.plugin import MISSING, BadInputError, Batch, RoutingInputs, RoutingStrategy, StrategyConf

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["DatepartConf", "DatepartStrategy"]


def _zone(name: str | None) -> str | None:
    from zoneinfo import ZoneInfo

    if name is not None:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no time zone named {name!r}; write it as in 'America/New_York'") from None
    return name


TimeZone = Annotated[str | None, AfterValidator(_zone)]
Part = Literal["year", "quarter", "month", "week", "day", "dayofyear", "weekday", "day_name", "hour", "minute", "date"]


@dataclass
class DatepartConf(StrategyConf):
    """Options of ``kind: datepart``."""

    # A column of timestamps, or of ISO 8601 text.
    column: str = MISSING
    # year, quarter, month, week (ISO), day, dayofyear, weekday (0 = Monday), day_name (Monday), hour, minute, date.
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

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        import numpy as np
        import pandas as pd

        column = batch.column(self.conf.column)
        if column.dtype == np.dtype(object):
            # As text, so that one instant on two clocks stays two.
            column = np.array([self._text(value) for value in column], object)
        elif isinstance(column.dtype, pd.ArrowDtype) and column.dtype.kind == "M":
            column = pd.Series(column).astype(column.dtype.pyarrow_dtype.to_pandas_dtype()).array
        # Distinct timestamps are usually few: parse, convert and take the part of those only.
        positions, uniques = pd.factorize(column)
        values = pd.Series(uniques)
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(values.cat.categories.dtype)
        keys = self._parts(values)
        return np.append(keys, [None]).take(positions)

    def _parts(self, values: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
        import pandas as pd

        if pd.api.types.is_numeric_dtype(values.dtype):
            if values.empty:
                return values.to_numpy(object)
            raise self._unreadable(f"it is {values.dtype}")
        if isinstance(values.dtype, pd.DatetimeTZDtype):
            return self._of(values.dt.tz_convert(self.conf.timezone) if self.conf.timezone else values)
        if values.dtype.kind == "M":
            return self._of(self._localize(values))
        text = values.map(lambda value: value.isoformat() if hasattr(value, "isoformat") else value).astype("str")
        aware = text.str.contains(r"(?:[Zz]|:\d{2}(?:\.\d+)?\s*[+-]\d{2}|[+-]\d{2}:?\d{2})$", regex=True)
        keys = pd.Series(index=values.index, dtype=object)
        if aware.any():
            keys[aware] = self._of(self._aware(text[aware]))
        if not aware.all():
            keys[~aware] = self._of(self._localize(self._read(text[~aware])))
        return keys.to_numpy(object)

    def _text(self, value: Any) -> Any:
        import pandas as pd

        if isinstance(value, str) or (pd.api.types.is_scalar(value) and pd.isna(value)):
            return value
        if hasattr(value, "isoformat"):
            return value.isoformat()
        raise self._unreadable(f"it holds {type(value).__name__} values")

    def _aware(self, text: pd.Series[Any]) -> pd.Series[Any]:
        """Text with an offset, on the clock that counts."""
        if self.conf.timezone:
            local: pd.Series[Any] = self._read(text, utc=True).dt.tz_convert(self.conf.timezone)
            return local
        return self._read(text.str.replace(r"(?:[Zz]|(?<=:\d\d)[+-]\d{2}|(?<=\d)[+-]\d{2}:?\d{2})$", "", regex=True))

    def _read(self, text: pd.Series[Any], utc: bool = False) -> pd.Series[Any]:
        import pandas as pd

        if text.str.lower().isin(["now", "today"]).any():
            raise self._unreadable("it holds text that is no ISO 8601 timestamp")
        try:
            return pd.to_datetime(text, format="ISO8601", utc=utc)
        except ValueError:
            raise self._unreadable("it holds text that is no ISO 8601 timestamp") from None

    def _unreadable(self, why: str) -> BadInputError:
        return BadInputError(
            f"column {self.conf.column!r} cannot be read as timestamps: {why}.",
            hint="Send datetimes, or text such as 2013-01-01T10:00:00Z.",
        )

    def _localize(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """Naive timestamps, on the clock that counts."""
        assume, zone = self.conf.assume, self.conf.timezone
        if not assume or not zone or assume == zone:
            return values
        import numpy as np

        first = np.ones(len(values), bool)
        local = values.dt.tz_localize(assume, ambiguous=first, nonexistent="shift_forward")
        moved: pd.Series[Any] = local.dt.tz_convert(zone)
        return moved

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
