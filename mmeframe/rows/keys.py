"""Normalisation of routing keys: one rule, used when a router is built and when rows are routed.

A value's canonical form is text: ``7``, ``7.0``, ``Decimal("7.00")`` and ``np.int64(7)`` are ``"7"``; text is itself
(``"02108"`` stays ``"02108"``, ``"7.0"`` is not ``"7"``); bools are ``"True"`` and ``"False"``; timestamps are
ISO; None, NaN and NaT are missing. Integer columns never become text: they are looked up as integers.

A whole float is a key only where its type holds every whole number of that size: below 2**53 in float64. A larger one
may have been another number, as 2**53 + 1 is 2**53 once a null beside it has made its column floats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from mmeframe.errors import BadInputError

__all__ = [
    "LEAST",
    "MOST",
    "NA_WORDS",
    "canonical",
    "csv_form",
    "csv_hazard",
    "csv_twins",
    "exact_below",
    "is_value",
    "is_whole",
    "rounded",
]

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
# Numbers of Python: those of numpy's own description are made anew at each look.
LEAST, MOST = -(2**63), 2**63 - 1
# What pandas.read_csv turns into NaN by default, in the spellings that a key could have.
NA_WORDS = frozenset(
    ["", "#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)


def is_whole(text: str) -> bool:
    """Whether ``text`` is how an integer is written (``"7"``, ``"-3"``; not ``"07"``, ``"7.0"``, ``"-0"``)."""
    # No int64 has more than 20 letters, and Python refuses to read very long ones.
    short = len(text) <= 20 and text != "-0" and _WHOLE.fullmatch(text) is not None
    return short and LEAST <= int(text) <= MOST


def canonical(value: Any, exact: bool = True) -> str | None:
    """The canonical text of one key value, None if it is missing.

    exact: whether whole floats that may be rounded are refused; else they have a text that no whole number has: 1e+16.
    Raises BadInputError for those, and for what is no scalar: the text of a list would be a key that nobody declared.
    """
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is float or kind is np.float64:
        return _of_float(value, float, exact)
    if value is None:
        return None
    try:
        return str(value) if kind is int or kind is np.int64 else _of_object(value, exact)
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"a routing key has no text form: {kind.__name__}.") from error


def _of_object(value: Any, exact: bool) -> str | None:
    kind = type(value)
    if value is np.ma.masked:
        return None
    if isinstance(value, np.datetime64 | np.timedelta64):
        if np.isnat(value):
            return None
        import pandas as pd

        return canonical(pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value))
    if isinstance(value, np.floating):
        return _of_float(value, kind, exact)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return canonical(value[()], exact)
    if isinstance(value, np.generic):
        return canonical(value.item(), exact)
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if not is_value(value):
        raise BadInputError(f"a routing key must be one value, not {kind.__name__}.")
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if hasattr(value, "as_py"):
        # A scalar of Arrow, whose own text tells 7.0 from 7.
        return canonical(value.as_py(), exact)
    # What str() shows of a member may be its name.
    if isinstance(value, Enum):
        return canonical(value.value, exact)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return _of_float(float(value), float, exact)
    if isinstance(value, int) and kind is not bool:
        return int.__repr__(value)
    if value != value:
        return None
    if kind is timedelta:
        # As those of pandas and numpy are written.
        return canonical(np.timedelta64(value))
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def is_value(value: Any) -> bool:
    """Whether a text says what it is: no list, no bytes, and no object whose text is its place in memory."""
    kind = type(value)
    if isinstance(value, str | int | float | Decimal):
        return True
    own: Any = object.__str__
    return kind.__str__ is not own and not isinstance(value, bytes | bytearray | Iterable)


def _of_float(value: Any, kind: Any, exact: bool) -> str | None:
    if value != value:  # NaN
        return None
    if not value.is_integer():
        return repr(float(value))
    if abs(value) < exact_below(kind):
        return str(int(value))
    if exact:
        raise rounded(kind)
    return repr(float(value))


@cache
def exact_below(kind: Any) -> float:
    """The whole numbers below this are all exact in a type of floats."""
    return float(2.0 ** (np.finfo(kind).nmant + 1))


def rounded(kind: Any) -> BadInputError:
    name, bits = np.dtype(kind).name, np.finfo(kind).nmant + 1
    return BadInputError(
        f"a routing key is a whole number sent as {name}, which is exact only below 2**{bits}.",
        hint="Send it as text or as an integer. JSON, CSV and Spark turn whole numbers beside an empty cell into "
        "floats: send such a column as text.",
    )


def _of_decimal(value: Decimal) -> str | None:
    """As files and databases hold money: 7.00 has the digits of its column, and is 7."""
    if value.is_nan():
        return None
    if not value.is_finite():
        return repr(float(value))
    # 1E+999999999 has a billion digits.
    if value.adjusted() < 400 and value == int(value):
        return str(int(value))
    text = repr(float(value))
    if text != "inf" and Decimal(text) == value:
        return text
    # It has more digits than a double, and is no key of one.
    return str(value.normalize(Context(len(value.as_tuple().digits), Emin=MIN_EMIN, Emax=MAX_EMAX)))


def csv_form(text: str) -> str | None:
    """What a CSV reader makes of this key: another key's text, "" for a missing value, None if it survives as it is."""
    if text in NA_WORDS:
        return ""
    if text.lower() in ("true", "false"):
        return None if text in ("True", "False") else text.capitalize()
    # To Python these are numbers, to readers they are not.
    if "_" in text or not text.isascii():
        return None
    form: str | None
    if _DIGITS.fullmatch(text):
        # Readers keep more than 64 bits as text.
        form = str(int(text)) if -(2**63) <= int(text) < 2**64 else text
    else:
        try:
            form = canonical(float(text), exact=False)
        except ValueError:
            return None
    return None if form == text else form


_DIGITS = re.compile(r"[+-]?[0-9]{1,400}")


def csv_hazard(text: str) -> str | None:
    """What a CSV reader would make of this key instead, for messages; None if it survives as it is."""
    form = csv_form(text)
    if not form:
        return None if form is None else "a missing value"
    return f"the boolean {form}" if form in ("True", "False") else f"the number {float(text):g}"


def csv_twins(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Keys, each with another one of these that a CSV reader makes of it: that one would get its rows."""
    known = frozenset(keys)
    return [(key, form) for key in keys if (form := csv_form(key)) is not None and form in known]
