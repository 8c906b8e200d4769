"""The rows to learn from: read and keyed as validate, predict and a server do it, with the types of a signature.

A CSV file has no types, so it is read twice: once to find them, and once as ``predict`` will read it for the router
that is going to be built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.builtin.column import ColumnConf, ColumnStrategy
from mmeframe.errors import BadInputError, ConfigError, MmeframeError, Problem, ProblemsError, suggest
from mmeframe.graph import reached
from mmeframe.plugin import Batch, RoutingStrategy
from mmeframe.plugin.components import make_component
from mmeframe.route.reading import file_types
from mmeframe.route.routing import Arms, ModelIndex, Parts, Routing
from mmeframe.route.table import RouteTable
from mmeframe.rows.batch import FrameBatch, as_batch
from mmeframe.rows.formats import untyped
from mmeframe.rows.keys import is_whole
from mmeframe.rows.reading import read_whole
from mmeframe.rows.schema import check_frame
from mmeframe.rows.separated import Kind
from mmeframe.sections import Reader, RouterSpec, TrainSpec
from mmeframe.spec import Column
from mmeframe.train.allow import table_object

if TYPE_CHECKING:
    import pandas as pd

    Ints = np.ndarray[Any, np.dtype[np.intp]]
    Strategies = Mapping[str, RoutingStrategy[Any]]

__all__ = ["Key", "Rows", "read", "read_rows"]

# Values of the trained key parts, in their order.
Key = tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """What is learnt from: rows that have a target, numbered from 0.

    features: the columns of the signature, which ``columns`` describes; the categorical ones first. answer: MLflow's
    name of the target's type. of: the rows of each key, sorted by key; no_key: how many have none. dropped: rows
    without a target.
    """

    features: pd.DataFrame
    columns: tuple[Column, ...]
    target: pd.Series[Any]
    answer: str
    of: Mapping[Key, Ints]
    no_key: int
    dropped: int

    def __len__(self) -> int:
        return len(self.target)


def read_rows(spec: RouterSpec, settings: TrainSpec, allow: Sequence[str]) -> Rows:
    """Raises what ``read`` raises, and ConfigError for columns that are not there or that no type of MLflow's holds.

    allow: see ``read``.
    """
    strategies = _strategies(spec)
    keys = _Keys(spec, settings, strategies)
    how = dict.fromkeys(strategies, "key")
    numbers = [Column(name, "double") for name in settings.features.numeric]
    types = file_types(strategies, spec.traffic.sticky, numbers, how)
    table = read(settings.reader, allow, lambda name: types.get(name, "any"))
    _check_columns(table, settings)
    columns = _columns(table, settings, types)
    target = Column(settings.target, column_type(table[settings.target].dropna()))
    found = _complete(table, table[settings.target])
    of, no_key = keys.rows(found)
    if _untyped(settings.reader):
        how |= dict.fromkeys(_whole_parts(of, settings), "long")
        types = file_types(strategies, spec.traffic.sticky, [*columns, target], how)
        table = read(settings.reader, allow, lambda name: types.get(name, "any"))
        found = _complete(table, table[settings.target])
        of, no_key = keys.rows(found)
    # Of all rows: those without a target will be scored like others.
    features = _complete(_features(table, columns, settings), table[settings.target])
    answers = _converted(found, target, "train.target")
    return Rows(features, columns, answers, target.type, of, no_key, len(table) - len(found))


def read(reader: Reader, allow: Sequence[str], kind: Kind = lambda _: "any") -> pd.DataFrame:
    """The table to train on: a file, or an object (called if it is a function).

    allow: objects that the config may name. kind: how to read the columns of a CSV file. Raises what reading a table
    raises, and ConfigError for other objects.
    """
    import pandas as pd

    if reader.path:
        found: Any = read_whole(Path(reader.path), kind, "train.reader.path")
    else:
        found = table_object(reader.object or "", allow)
        found = found if isinstance(found, pd.DataFrame) or not callable(found) else found()
    if not isinstance(found, pd.DataFrame):
        raise ConfigError(f"it gave {type(found).__name__}, not a DataFrame.", where="train.reader")
    try:
        return as_batch(found.reset_index(drop=True)).frame
    except BadInputError as error:
        raise BadInputError(error.what, where="train.reader") from None


def _untyped(reader: Reader) -> bool:
    return reader.path is not None and untyped(Path(reader.path))


def _check_columns(table: pd.DataFrame, settings: TrainSpec) -> None:
    for where, names in (
        ("train.target", [settings.target]),
        ("train.features.numeric", settings.features.numeric),
        ("train.features.categorical", settings.features.categorical),
    ):
        for name in names:
            if name not in table.columns:
                hint = suggest(name, table.columns, "Its columns")
                raise ConfigError(f"the table has no column {name!r}.", where=where, hint=hint)


def _complete(table: pd.DataFrame, target: pd.Series[Any]) -> pd.DataFrame:
    return table[target.notna()].reset_index(drop=True)


# -- keys ------------------------------------------------------------------------------------------------------------


def _strategies(spec: RouterSpec) -> Strategies:
    """The router's strategies by part; a key that requests carry as a parameter is a column of that name here."""
    strategies = {}
    for part in spec.routing.parts:
        strategy = make_component(part.strategy)
        inputs = strategy.inputs()
        if inputs.params and not inputs.columns:
            strategy = ColumnStrategy(ColumnConf(column=inputs.params[0]))
        strategies[part.name] = strategy
    return strategies


class _Keys:
    """Computes keys as a router without sub-models would: the strategies that the trained parts need, bound once."""

    def __init__(self, spec: RouterSpec, settings: TrainSpec, strategies: Strategies) -> None:
        inputs = {part: strategy.inputs() for part, strategy in strategies.items()}
        needed = sorted(reached(settings.key, {part: it.parts for part, it in inputs.items()}))
        for part in needed:
            if inputs[part].models:
                asks = ", ".join(inputs[part].models)
                raise ConfigError(
                    f"the key part {part!r} is what a sub-model answers ({asks}), which training does not do.",
                    where="train.key",
                    hint="Score the table with it first, and train on the column of its answers: routing=column.",
                )
        table = RouteTable.of(needed, [needed], dict.fromkeys(needed, ()), [], [])
        nobody = ModelIndex([].__getitem__, lambda _: None, [], {})
        chosen = {part: strategies[part] for part in needed}
        files = {part: _prepared(part, strategy) for part, strategy in chosen.items()}
        self._routing = Routing(spec.routing, nobody, table, Parts(chosen, files, _asked), Arms())
        self._parts = settings.key

    def rows(self, table: pd.DataFrame) -> tuple[dict[Key, Ints], int]:
        """The rows of each key, sorted by key: whole numbers first; and how many rows have no key."""
        batch = FrameBatch(table)
        try:
            self._routing.keys(batch, {})
        except BadInputError as error:
            where = error.where or "train.key"
            raise ConfigError(error.what, where=where, hint=error.hint) from None
        columns = [batch.part(part) for part in self._parts]
        # An empty text is no key, as it is none for a router.
        codes = np.stack([np.where(column == "", -1, column.codes) for column in columns], axis=1)
        keyed = np.flatnonzero((codes >= 0).all(axis=1))
        distinct, inverse = np.unique(codes[keyed], axis=0, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        groups = np.split(keyed[order], np.cumsum(np.bincount(inverse, minlength=len(distinct)))[:-1])
        keys = [
            tuple(str(column.categories[code]) for column, code in zip(columns, row, strict=True)) for row in distinct
        ]
        found = dict(zip(keys, groups, strict=False))
        return dict(sorted(found.items(), key=lambda item: [_place(text) for text in item[0]])), len(table) - len(keyed)


def _place(text: str) -> tuple[bool, int, str]:
    return (False, int(text), "") if is_whole(text) else (True, 0, text)


def _asked(model_id: str, batch: Batch) -> Any:
    raise LookupError(f"nobody can ask {model_id!r} about {len(batch)} rows")


def _prepared(part: str, strategy: RoutingStrategy[Any]) -> Mapping[str, bytes]:
    try:
        return strategy.prepare()
    except ProblemsError as error:
        raise ProblemsError([it.below(f"routing.keys.{part}") for it in error.problems]) from error
    except MmeframeError as error:
        raise ProblemsError([Problem.of(error).below(f"routing.keys.{part}")]) from error


def _whole_parts(of: Mapping[Key, Ints], settings: TrainSpec) -> list[str]:
    """Parts whose sub-models' keys will all be whole numbers: a router reads what carries them as numbers."""
    kept = [key for key, rows in of.items() if len(rows) >= settings.min_rows]
    return [part for place, part in enumerate(settings.key) if kept and all(is_whole(key[place]) for key in kept)]


# -- types -----------------------------------------------------------------------------------------------------------

# What pandas calls the values of a column -> the type of MLflow's that holds them. ``string`` for others, which refuses
# what is no text.
_TYPES = {
    "integer": "long",
    "floating": "double",
    "mixed-integer-float": "double",
    "decimal": "double",
    "empty": "double",
    "boolean": "boolean",
    "datetime64": "datetime",
    "datetime": "datetime",
    "date": "datetime",
}


def column_type(column: pd.Series[Any]) -> str:
    """MLflow's name of the type that a column's values have.

    Whole numbers with gaps are doubles, which hold gaps; those that doubles cannot tell apart are text, where a file
    can be read so.
    """
    import pandas as pd
    from pandas.api.types import infer_dtype

    present = column.dropna()
    values: Any = np.asarray(present.array) if isinstance(column.dtype, pd.CategoricalDtype) else present
    found = _TYPES.get(infer_dtype(values if len(values) else column), "string")
    if found == "long" and len(present) < len(column):
        large = len(present) and max(abs(int(values.min())), abs(int(values.max()))) >= 2**53
        return "string" if large else "double"
    return found


def _columns(table: pd.DataFrame, settings: TrainSpec, read_as: Mapping[str, str]) -> tuple[Column, ...]:
    """The signature's inputs, the categorical ones first. read_as: how the columns of a CSV file were read."""
    csv = _untyped(settings.reader)
    columns = []
    for name in settings.features.categorical:
        found = _number_like(table[name]) if csv and read_as.get(name) == "key" else table[name]
        kind = column_type(found)
        # No boolean of MLflow's is missing; in a CSV file they are texts like others.
        flags = csv and kind == "boolean" and found.isna().any()
        columns.append(Column(name, "string" if flags else kind))
    for name in settings.features.numeric:
        whole = column_type(table[name]) == "boolean" and not table[name].isna().any()
        # A column of whole numbers may be missing one day: doubles hold that, and MLflow advises the same.
        columns.append(Column(name, "boolean" if whole else "double"))
    return tuple(columns)


def _number_like(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of keys as whole numbers, where all of them are."""
    import pandas as pd

    whole = all(map(is_whole, column.dropna().unique()))
    return pd.to_numeric(column, dtype_backend="numpy_nullable") if whole else column


def _features(table: pd.DataFrame, columns: Sequence[Column], settings: TrainSpec) -> pd.DataFrame:
    """The columns to learn from, as the router will hand them over."""
    import pandas as pd

    numeric = set(settings.features.numeric)
    places = {True: "train.features.numeric", False: "train.features.categorical"}
    return pd.DataFrame(
        {column.name: _converted(table, column, places[column.name in numeric]) for column in columns},
        index=table.index,
    )


def _converted(table: pd.DataFrame, column: Column, where: str) -> pd.Series[Any]:
    """A column with its type, by the check that rows meet when they are scored. Raises ConfigError naming it."""
    try:
        found: pd.Series[Any] = check_frame(table[[column.name]], (column,), frozenset({column.name}))[column.name]
    except BadInputError as error:
        if where != "train.features.numeric":
            hint = "Write values of one kind: text, numbers, times, or true and false without gaps."
            raise ConfigError(error.what, where=where, hint=hint) from None
        what = f"the column {column.name!r} ({_strange(table[column.name])}) holds what is no number."
        hint = "Clean it, or list it in train.features.categorical."
        raise ConfigError(what, where=where, hint=hint) from None
    return found


def _strange(column: pd.Series[Any]) -> str:
    """The Python type of the first value that is no number."""
    numbers = (int, float, np.number, Decimal)
    strange = (cell for cell in column.dropna() if isinstance(cell, bool) or not isinstance(cell, numbers))
    return next((type(cell).__name__ for cell in strange), str(column.dtype))
