"""The site table: read and checked when a router is built, carried in the bundle as bytes without pickles."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mmeframe.plugin import ConfigError, canonical, read_table, suggest

from mmeframe_nearest.degrees import LATITUDE, LONGITUDE, count, read_degrees

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Sites", "read_sites"]

_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """keys: one text per site. places: shape (n_sites, 2), latitude and longitude in degrees."""

    keys: tuple[str, ...]
    places: np.ndarray[Any, np.dtype[np.float64]]

    def to_bytes(self) -> bytes:
        """An npz without objects; equal sites give equal bytes, so that equal routers have equal digests."""
        import numpy as np

        buffer = io.BytesIO()
        # JSON: a numpy text array drops NULs at the end, and is as wide everywhere as its longest key.
        keys = np.frombuffer(json.dumps(self.keys).encode(), np.uint8)
        np.savez_compressed(buffer, keys=keys, places=self.places)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """What ``to_bytes`` wrote."""
        import numpy as np

        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(tuple(json.loads(arrays["keys"].tobytes())), arrays["places"])


def read_sites(path: Path, site: str, latitude: str, longitude: str) -> Sites:
    """Read a table with one row per site: CSV, Parquet or another format that mmeframe reads.

    site, latitude, longitude: its columns. Keys of CSV are text as written ("02108", "NA").
    Raises MissingError if there is no file, ConfigError unless every row has a key and a place of its own.
    """
    import numpy as np

    table = read_table(path)
    for option, name in {"site": site, "site_latitude": latitude, "site_longitude": longitude}.items():
        if name not in table.columns:
            raise ConfigError(
                f"{path} has no column {name!r}.",
                hint=f"{suggest(name, table.columns, 'Its columns')} Choose one with {option}.",
            )
    if table.empty:
        raise ConfigError(f"{path} has no rows.", hint="Write one row per site.")
    keys = _keys(table[site], f"column {site!r} of {path}")
    places = np.column_stack(
        [
            _coordinates(table[latitude], LATITUDE, f"column {latitude!r} of {path}"),
            _coordinates(table[longitude], LONGITUDE, f"column {longitude!r} of {path}"),
        ]
    )
    _refuse_shared(keys, places, path)
    return Sites(keys, places)


def _keys(column: pd.Series[Any], where: str) -> tuple[str, ...]:
    keys = [canonical(value) or "" for value in column.tolist()]
    if empty := keys.count(""):
        raise ConfigError(f"{where} is empty in {count(empty)}.", hint="Every site needs a key.")
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise ConfigError(f"{where} has keys more than once: {_few(twice)}.", hint="Keep one row per site.")
    return tuple(keys)


def _coordinates(column: pd.Series[Any], bound: int, where: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    import numpy as np

    found = read_degrees(_numbers(column), bound)
    if found.alien:
        raise ConfigError(
            f"{where} holds something else than numbers in {count(found.alien)}.",
            hint="Write degrees with a decimal point, such as 40.64.",
        )
    if missing := int(np.count_nonzero(np.isnan(found.values))):
        raise ConfigError(
            f"{where} is empty in {count(missing)}.", hint="Every site needs a place: fill or remove it."
        )
    if found.outside:
        raise ConfigError(
            f"{where} has {count(found.outside)} outside -{bound} to {bound} degrees.",
            hint="Are site_latitude and site_longitude swapped, or longitudes counted from 0 to 360?",
        )
    return found.values


def _numbers(column: pd.Series[Any]) -> Any:
    """Numbers as they are; text, which is all that CSV has, as the number that it says."""
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column.dtype):
        return column
    cells = np.empty(len(column), object)
    cells[:] = [_number(cell) if isinstance(cell, str) else cell for cell in column.tolist()]
    return cells


def _number(text: str) -> float | str | None:
    """None for an empty cell; text that is no number stays text."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        return text


def _refuse_shared(keys: Sequence[str], places: np.ndarray[Any, np.dtype[np.float64]], path: Path) -> None:
    """Of two sites at one place only one could ever be the nearest, and no config says which."""
    first: dict[tuple[float, float], str] = {}
    shared = []
    for key, (latitude, longitude) in zip(keys, places.tolist(), strict=True):
        # Longitudes 180 and -180 are one meridian.
        other = first.setdefault((latitude, longitude % 360), key)
        if other != key:
            shared.append(f"{other!r} and {key!r}")
    if shared:
        more = " ..." if len(shared) > _SHOWN else ""
        raise ConfigError(
            f"{path} has different sites at the same place: {', '.join(shared[:_SHOWN])}{more}.",
            hint="Keep one of them: a row can only go to one.",
        )


def _few(keys: Sequence[str]) -> str:
    return ", ".join(map(repr, keys[:_SHOWN])) + (" ..." if len(keys) > _SHOWN else "")
