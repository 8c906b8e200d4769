"""Rows to try sub-models on, and whether two answers are the same."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.rows.keys import is_whole
from mmeframe.rows.labels import unlabelled
from mmeframe.rows.types import TYPES, converter, is_compound, is_missing
from mmeframe.spec import Column

if TYPE_CHECKING:
    import pandas as pd

    from mmeframe.fleet.fleet import Fleet
    from mmeframe.fleet.submodel import PinnedModel

__all__ = ["Rows", "example_request", "fresh", "learnt_rows", "made_up", "probe_rows", "same"]

_ROWS = 3
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Rows:
    """A few rows to ask with. made_up: they hold nobody's data, so what a library says of them may be shown."""

    frame: pd.DataFrame
    made_up: bool = True


def same(one: Any, two: Any) -> bool:
    import numpy as np
    import pandas as pd

    if isinstance(one, pd.DataFrame) and isinstance(two, pd.DataFrame):
        columns = zip(one.items(), two.items(), strict=False)
        alike = one.shape == two.shape and [*map(str, one.columns)] == [*map(str, two.columns)]
        return alike and all(same(mine.array, theirs.array) for (_, mine), (_, theirs) in columns)
    left, right = np.asarray(one), np.asarray(two)
    if left.shape != right.shape:
        return False
    if left.dtype.kind in "fiu" and right.dtype.kind in "fiu":
        # A linear model's last bits depend on memory layout, which may differ here.
        return bool(np.allclose(left, right, rtol=1e-9, atol=1e-12, equal_nan=True))
    if left.dtype == object or right.dtype == object:
        return all(map(_same_cell, left.ravel().tolist(), right.ravel().tolist()))
    return bool(np.all((left == right) | ((left != left) & (right != right))))


def _same_cell(one: Any, two: Any) -> bool:
    """Whether two values are the same: also lists and objects, with numbers and nulls inside of them."""
    if is_missing(one) or is_missing(two):
        return is_missing(one) and is_missing(two)
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return one.keys() == two.keys() and all(_same_cell(one[key], two[key]) for key in one)
    if hasattr(one, "__len__") and hasattr(two, "__len__") and not isinstance(one, str | bytes):
        return len(one) == len(two) and all(map(_same_cell, one, two))
    if isinstance(one, float) and isinstance(two, float):
        return same(one, two)
    return bool(one == two)


def probe_rows(model: PinnedModel, root: Path, live: Any) -> Iterator[Rows]:
    """Rows to try a sub-model on, in turn, with its types: its logged input example, then what can be made up.

    live: it, live. An encoder inside may take nothing but the values that it was fitted on, so the last try has those.
    """
    logged = _logged_example(model, root)
    if logged is not None:
        yield Rows(unlabelled(logged), made_up=False)
    yield from made_up(model.inputs)
    yield from learnt_rows(live, model.inputs)


def learnt_rows(live: Any, columns: Sequence[Column]) -> Iterator[Rows]:
    """Rows with values that encoders inside of a live sub-model were fitted on; none where there are no encoders."""
    import pandas as pd

    names = [column.label for column in columns]
    known = {name: values for name, values in _learnt(_unwrapped(live), names).items() if name in names}
    if not known:
        return
    frame = next(made_up(columns)).frame.astype(object)
    for name, values in known.items():
        values = [value for value in values if not pd.isna(value)] or [None]
        frame[name] = [values[row % len(values)] for row in range(len(frame))]
    plain = _typed(frame).set_axis([column.name for column in columns], axis=1)
    yield Rows(_labelled(plain.astype(_dtypes(columns)), columns), made_up=False)


def _unwrapped(live: Any) -> Any:
    """The estimator behind a loader's or MLflow's wrapper."""
    with contextlib.suppress(Exception):
        live = live.get_raw_model()
    # A search has one that was not fitted.
    return live if hasattr(live, "get_params") else getattr(live, "estimator", live)


def _learnt(estimator: Any, names: Sequence[Any]) -> dict[Any, Any]:
    """Column -> the categories of the encoder that reads it, anywhere in a pipeline."""
    if (categories := getattr(estimator, "categories_", None)) is not None:
        return dict(zip(names, categories, strict=True)) if len(categories) == len(names) else {}
    if hasattr(estimator, "transformers_"):
        inner = [(step, [read] if isinstance(read, str) else read) for _, step, read in estimator.transformers_]
    elif hasattr(estimator, "steps"):
        inner = [(step, names) for _, step in estimator.steps]
    else:
        found = (getattr(estimator, name, None) for name in ("best_estimator_", "estimator_", "regressor_"))
        inner = [(step, names) for step in found if step is not None]
    known: dict[Any, Any] = {}
    for step, read in inner:
        # What comes first sees the columns as they are sent.
        known = {**_learnt(step, read if isinstance(read, list) else list(names)), **known}
    return known


def made_up(columns: Sequence[Column]) -> Iterator[Rows]:
    """A few rows of these columns, with their types, in several tries. Others get the same ones: ask with a copy."""
    for number in range(_TRIES):
        yield Rows(_frame(tuple(columns), number))
    # A time series takes one.
    yield Rows(_frame(tuple(columns), 0).head(1))


def fresh(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy with lists and dicts of its own: MLflow converts the values inside of them where they are."""
    copied = frame.copy()
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if dtype.kind == "O" and any(isinstance(value, list | dict) for value in frame[name]):
            copied[name] = frame[name].map(copy.deepcopy)
    return copied


@lru_cache(maxsize=64)
def _frame(columns: tuple[Column, ...], number: int) -> pd.DataFrame:
    """Thousands of sub-models have the same columns, and pandas takes milliseconds for each frame."""
    import pandas as pd

    values = {column.name: pd.Series(_values(column.type, number), dtype=object) for column in columns}
    return _labelled(_typed(pd.DataFrame(values)).astype(_dtypes(columns)), columns)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Each column with the type of its values, as a router gives it: among bytes and lists all would stay objects."""
    import pandas as pd

    return pd.DataFrame({name: column.infer_objects() for name, column in frame.items()})


def _labelled(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """With the names that the sub-model knows."""
    return frame.set_axis([column.label for column in columns], axis=1)


def _values(kind: str, number: int) -> list[Any]:
    """The values of a column in a try, as a router would give them to a sub-model."""
    return [*map(converter(kind), _inner(json.loads(kind), number))] if is_compound(kind) else _plain(kind, number)


def _inner(kind: Mapping[str, Any], number: int) -> list[Any]:
    """Values of one of MLflow's types, as it describes it."""
    name = kind["type"]
    if name == "array":
        return [[value] for value in _inner(kind["items"], number)]
    if name == "map":
        return [{"a": value} for value in _inner(kind["values"], number)]
    if name == "object":
        fields = {key: _inner(it, number) for key, it in kind["properties"].items()}
        return [{key: values[row] for key, values in fields.items()} for row in range(_ROWS)]
    return _plain(name, number)


def _plain(kind: str, number: int) -> list[Any]:
    tries = TYPES[kind].samples if kind in TYPES else ((None,) * _ROWS,)
    return list(tries[number % len(tries)])


def example_request(fleet: Fleet, taken: Mapping[str, pd.DataFrame] | None = None) -> tuple[Any, dict[str, Any]]:
    """A request in the shape that the router takes: a row for each of a few sub-models, and routing parameters.

    Keys are real, features are made up: nobody's data is copied into another artifact.
    taken: rows that sub-models have answered, by id, to ask those with; nothing else of such a request is stored.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    models = fleet.models if taken is None else [model for model in fleet.models if model.id in taken]
    for number, model in enumerate(models[:_ROWS]):
        row = {column.name: _values(column.type, 0)[0] for column in fleet.union.columns}
        if taken is not None:
            row |= {str(name): value for name, value in fresh(taken[model.id]).iloc[0].items()}
        for part, inputs in fleet.inputs.items():
            key: Any = model.key.get(part, fleet.declared_keys[part][0] if fleet.declared_keys[part] else None)
            if inputs.params:
                params.setdefault(inputs.params[0], key)
                continue
            if all(map(is_whole, fleet.declared_keys[part])) and key is not None:
                key = int(key)
            for name, kind in inputs.columns.items():
                made_up: Any = f"2024-01-{number + 1:02}T12:00:00Z" if kind == "datetime" else 0.0
                # Text that a key is read from is likely to hold it.
                made_up = str(key) if kind == "string" else made_up
                row[name] = key if kind == "key" else row.get(name, made_up)
        for name in fleet.spec.traffic.sticky:
            row.setdefault(name, "a")
        rows.append(row)
    frame = pd.DataFrame(rows)
    # Where MLflow checks rows, it takes no wider numbers.
    dtypes = {name: it for name, it in _dtypes(fleet.union.columns).items() if not frame[name].isna().any()}
    return frame.astype(dtypes), params


def _logged_example(model: PinnedModel, root: Path) -> Any:
    """The rows that were logged with a sub-model, with its types; None where there are none that can be used."""
    import pandas as pd

    if not (root / "input_example.json").is_file():
        return None
    from mlflow.models import Model

    try:
        rows = Model.load(str(root)).load_input_example(str(root))
    except Exception:  # noqa: BLE001 - an example is a convenience; one that cannot be read is none
        return None
    if not isinstance(rows, pd.DataFrame):
        return None
    rows, names = rows.set_axis([*map(str, rows.columns)], axis=1), [column.name for column in model.inputs]
    if not set(names) <= set(rows.columns):
        return None
    try:
        return _labelled(rows[names].head(_ROWS).astype(_dtypes(model.inputs)), model.inputs)
    except (ValueError, TypeError):
        return None


def _dtypes(columns: Sequence[Column]) -> dict[str, str]:
    """Of numbers and booleans; of times numpy's type has no zone."""
    known = {name: it.numpy for name, it in TYPES.items() if it.numpy and name != "datetime"}
    return {column.name: known[column.type] for column in columns if column.type in known}
