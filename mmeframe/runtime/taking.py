"""How sub-models take their rows: frames, or matrices of doubles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.bundle.format import ARRAY
from mmeframe.route.asking import holed
from mmeframe.spec import Column

__all__ = ["Taking", "takings"]


@dataclass(frozen=True, slots=True)
class Taking:
    """How sub-models of one schema and one form take their rows.

    takes_matrix: a matrix of doubles is given to them as it is. give: what they are given of a frame with exactly the
    columns of ``schema``. holed: see ``route.asking``.
    """

    schema: Sequence[Column]
    takes_matrix: bool
    give: Callable[[pd.DataFrame], Any]
    holed: tuple[str, ...]


def takings(schemas: Sequence[Sequence[Column]], forms: Sequence[str]) -> list[Taking]:
    """Of each schema all forms, in this order."""
    found = []
    for schema in schemas:
        lacking, as_frame = holed(schema), _as_frame(schema)
        found += [Taking(schema, form == ARRAY, _matrix if form == ARRAY else as_frame, lacking) for form in forms]
    return found


def _matrix(frame: pd.DataFrame) -> Any:
    """Sub-models that were made to take arrays have lost the names of their columns."""
    return frame.to_numpy(np.float64)


def _as_it_is(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def _as_frame(schema: Sequence[Column]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """With the columns' own names, where sub-models know numbers for these."""
    if all(column.number is None for column in schema):
        return _as_it_is
    labels = {column.name: column.label for column in schema}
    return lambda frame: frame.set_axis([labels[name] for name in frame.columns], axis=1)
