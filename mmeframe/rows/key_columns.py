"""Columns of raw keys: one for each row, and the canonical text of each distinct one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.rows.distinct import factorized, uniform
from mmeframe.rows.keys import canonical, is_value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["changed_by_csv", "floats_as_such", "normalised", "one_per_row", "plain", "singly"]


def one_per_row(raw: Any, n_rows: int) -> Any:
    """Raw keys as one scalar for all rows, or as a 1-D numpy or pandas array with one for each; no index is looked at.

    raw: such a scalar or array, a Series, a list, or what becomes an array: a column of Arrow or of another library.
    Raises TypeError for anything else, as a generator is, whose text would be the key of all rows; ValueError for
    another length.
    """
    if type(raw) is not np.ndarray:
        raw = _arrayed(raw)
    dimensions = getattr(raw, "ndim", 0)
    if dimensions == 0:
        return raw
    if dimensions > 1:
        raise TypeError(f"keys of {dimensions} dimensions")
    if len(raw) != n_rows:
        raise ValueError(f"{len(raw)} key values for {n_rows} rows")
    return raw


def _arrayed(raw: Any) -> Any:
    kind = type(raw)
    if raw is None or isinstance(raw, np.generic) or kind.__name__ in ("NAType", "NaTType") or is_value(raw):
        return raw
    if isinstance(raw, np.ma.MaskedArray):
        cells = np.ma.getdata(raw).astype(object)
        cells[np.ma.getmaskarray(raw)] = None
        return cells
    import pandas as pd

    if isinstance(raw, pd.Series | pd.Index):
        return raw.to_numpy() if isinstance(raw.dtype, np.dtype) else raw.array
    if isinstance(raw, pd.api.extensions.ExtensionArray):
        return raw
    if isinstance(raw, Sequence) and not isinstance(raw, bytes | bytearray | memoryview):
        return np.fromiter(raw, object, len(raw))
    if kind.__module__ == "pyarrow.lib" and hasattr(raw, "type"):
        # numpy would make floats of whole numbers beside a null.
        return pd.Series(raw, dtype=pd.ArrowDtype(raw.type)).array
    if hasattr(raw, "__array__") and not hasattr(raw, "columns"):
        return np.asarray(raw)
    raise TypeError(f"a {kind.__name__}, which is neither one value nor an array with one for each row")


def normalised(raw: Any, n_rows: int, exact: bool = True) -> pd.Categorical:
    """Raw key values as a category of canonical texts, one per row; missing values have no category.

    raw: what ``one_per_row`` takes. exact: see ``canonical``. The work is done once per distinct value.
    Raises BadInputError for what is no scalar, TypeError and ValueError as ``one_per_row`` does.
    """
    import pandas as pd

    raw = one_per_row(raw, n_rows)
    if np.ndim(raw) == 0:
        text = canonical(raw, exact)
        codes = np.full(n_rows, -1 if text is None else 0, np.int32)
        return pd.Categorical.from_codes(codes, pd.Index([] if text is None else [text], dtype=object), validate=False)
    positions, distinct = _distinct(raw)
    texts = np.array([*(canonical(value, exact) for value in distinct), None], object)
    # Values that differ may have one text: 7 and 7.0 are one key.
    merged, known = pd.factorize(texts)
    return pd.Categorical.from_codes(merged.take(positions), pd.Index(known, dtype=object), validate=False)


def _distinct(raw: Any) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Sequence[Any]]:
    """Position of each row's value among distinct ones, -1 for a missing one."""
    import pandas as pd

    raw = plain(raw)
    if isinstance(raw.dtype, pd.CategoricalDtype):
        return np.asarray(raw.codes, np.intp), list(floats_as_such(raw.categories))
    if singly(raw):
        return np.arange(len(raw)), list(raw)
    positions, distinct = factorized(raw)
    return positions, list(distinct)


def plain(raw: Any) -> Any:
    """Without what has nothing to do with the rows: categories that none has, which could be no keys."""
    import pandas as pd

    if not isinstance(raw.dtype, pd.CategoricalDtype):
        return floats_as_such(raw)
    kinds = raw.categories.dtype
    safe = kinds.kind != "f" and (kinds != np.dtype(object) or uniform(np.asarray(raw.categories)))
    return raw if safe else raw.remove_unused_categories()


def floats_as_such(values: Any) -> Any:
    """Floats as a numpy array of their own width, which says which of them are exact; others as they are."""
    dtype = values.dtype
    if isinstance(values, np.ndarray) or dtype.kind != "f":
        return values
    width = getattr(dtype, "numpy_dtype", None)
    return np.asarray(values) if width is None else values.to_numpy(width, na_value=np.nan)


def singly(raw: Any) -> bool:
    """Whether values must be looked at one by one."""
    if not isinstance(raw, np.ndarray):
        # Arrow has no hash table of objects and maps.
        return bool(getattr(getattr(raw.dtype, "pyarrow_dtype", None), "num_fields", 0))
    # 1, 1.0 and True are one value to a hash table, but not one key; and pandas makes doubles of longer floats.
    return not uniform(raw) if raw.dtype == np.dtype(object) else raw.dtype.kind == "f" and raw.dtype.itemsize > 8


def changed_by_csv(raw: Any, forms: Collection[str]) -> set[str]:
    """Those of the forms (see ``csv_form``) that values have which a reader may have made of a text.

    Numbers and booleans, and NaN (""). Text is as it was sent, and None and pandas.NA are made of none.
    """
    import pandas as pd

    raw = _arrayed(raw.remove_unused_categories().categories if isinstance(raw, pd.Categorical) else raw)
    cells: Any = raw if getattr(raw, "ndim", 0) else [raw]
    if len(cells) > 1 and cells.dtype != np.dtype(object):
        positions, found = factorized(cells)
        # NaN is one of them.
        cells = [*found, *([cells[positions.argmin()]] if (positions == -1).any() else [])]
    return {
        canonical(cell, exact=False) or ""
        for cell in cells
        if not (isinstance(cell, str) or cell is None or cell is pd.NA)
    }.intersection(forms)
