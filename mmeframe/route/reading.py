"""Read a table as a router understands it: with the types of its columns, and keys as they were declared.

"02108" stays text where keys are text. Predicting, explaining, validating and training read in this one way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.rows.formats import untyped
from mmeframe.rows.key_index import KeyIndex
from mmeframe.rows.keys import canonical, csv_form
from mmeframe.rows.reading import read_table
from mmeframe.rows.separated import AS_KEY, POINT_ZERO

if TYPE_CHECKING:
    import pandas as pd

    from mmeframe.plugin import RoutingStrategy
    from mmeframe.route.routing import Routing
    from mmeframe.spec import Column

__all__ = ["column_types", "file_types", "read_rows", "without_rows"]


def column_types(routing: Routing, union: Iterable[Column]) -> dict[str, str]:
    """The type of each column that a router reads: MLflow's name for it, or that of a key."""
    keys = {part: _key_type(routing.table.indexes[part]) for part in routing.strategies}
    return file_types(routing.strategies, routing.traffic.sticky, union, keys)


def file_types(
    strategies: Mapping[str, RoutingStrategy[Any]],
    sticky: Iterable[str],
    union: Iterable[Column],
    keys: Mapping[str, str],
) -> dict[str, str]:
    """The same for strategies and columns that are no router yet. keys: how to read what carries a part's own keys."""
    types = {column.name: column.type for column in union}
    read = [
        (name, keys[part] if kind == "key" else "key" if kind == "any" else kind)
        for part, strategy in strategies.items()
        for name, kind in strategy.inputs().columns.items()
    ]
    for name, kind in [*read, *((name, "key") for name in sticky)]:
        # A text that sub-models read too stays as it is written.
        both = kind in AS_KEY and types.get(name) == "string"
        types[name] = "text" if both else types.get(name, kind)
    return types


def read_rows(
    path: Path, routing: Routing, types: Mapping[str, str], rows: int, other: str = "text"
) -> Iterator[pd.DataFrame]:
    """A table in pieces, as ``read_table`` gives them, with keys as a router understands them.

    types: what ``column_types`` says; other: the type of columns that it does not name.
    """
    for piece in read_table(path, lambda name: types.get(name, other), rows):
        yield _spelled(piece, routing, types) if untyped(path) else piece


def _spelled(piece: pd.DataFrame, routing: Routing, types: Mapping[str, str]) -> pd.DataFrame:
    """A CSV file has no types: a key is the declared one that is written so, else the one that its number is.

    So 7.0 is 7 also where another key is text, for which the column is read as text.
    """
    for part, strategy in routing.strategies.items():
        index = routing.table.indexes[part]
        for name, kind in strategy.inputs().columns.items():
            if kind == "key" and types[name] in AS_KEY and name in piece:
                texts = [text for text in piece[name].dropna().unique() if index.code(text) < 0]
                known = {text: form for text in texts if (form := csv_form(text)) and index.code(form) >= 0}
                for text in known:
                    if not text.lstrip("+-").isdigit() and text.lower() not in ("true", "false"):
                        # Digits that were lost when it was written are no key.
                        canonical(float(text))
                if known:
                    piece[name] = piece[name].replace(known)
    return piece


def _key_type(index: KeyIndex) -> str:
    """Numbers where all declared keys are whole; where one is written like 7.0, nobody may take that for 7."""
    if index.integer:
        return "long"
    return "text" if any(map(POINT_ZERO.fullmatch, index)) else "key"


def without_rows(names: Iterable[str]) -> pd.DataFrame:
    """What JSON's ``[]`` means: it says nothing about columns, so all that could be needed are there."""
    import pandas as pd

    return pd.DataFrame(columns=list(dict.fromkeys(names)), dtype=object)
