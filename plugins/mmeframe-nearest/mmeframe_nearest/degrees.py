"""Columns of degrees as float arrays, and how many rows are wrong. Knows no configs and raises nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LATITUDE", "LONGITUDE", "Degrees", "count", "read_degrees"]

# Degrees reach from -bound to bound.
LATITUDE, LONGITUDE = 90, 180


@dataclass(frozen=True, slots=True, eq=False)
class Degrees:
    """values: shape (n_rows,), NaN where there is no number.

    alien: rows that hold something else than a number. outside: rows whose number is beyond the bound.
    """

    values: np.ndarray[Any, np.dtype[np.float64]]
    alien: int
    outside: int


def read_degrees(values: Any, bound: int) -> Degrees:
    """Read a column, whatever holds it: a numpy or pandas array, or a Series.

    Whole numbers, decimals and categories of numbers are numbers; bools, dates and text are not.
    None, NaN, NA and NaT are missing: neither alien nor outside.
    """
    import numpy as np

    numbers, alien = _floats(values)
    return Degrees(numbers, alien, int(np.count_nonzero(np.abs(numbers) > bound)))


def count(rows: int) -> str:
    """``1 row``, ``2 rows``."""
    return f"{rows} row{'s' * (rows != 1)}"


def _floats(values: Any) -> tuple[np.ndarray[Any, np.dtype[np.float64]], int]:
    import numpy as np
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

    dtype = values.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
        return np.asarray(values, np.float64), 0
    if is_numeric_dtype(dtype) and not is_bool_dtype(dtype) and not is_complex_dtype(dtype):
        return pd.Series(values).to_numpy(np.float64, na_value=np.nan), 0
    # By way of a Series: numpy alone makes whole numbers of datetime64[ns].
    cells = pd.Series(values).astype(object).to_numpy()
    present = np.asarray(~pd.isna(cells))
    real = np.fromiter((_is_real(cell) for cell in cells), bool, len(cells))
    numbers = np.full(len(cells), np.nan)
    numbers[present & real] = [_float(cell) for cell in cells[present & real]]
    return numbers, int(np.count_nonzero(present & ~real))


def _is_real(cell: Any) -> bool:
    return isinstance(cell, Real | Decimal) and not isinstance(cell, bool)


def _float(cell: Any) -> float:
    try:
        return float(cell)
    except OverflowError:
        # JSON may carry a whole number with hundreds of digits.
        return math.inf
