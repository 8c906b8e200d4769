"""Rows to try sub-models on, and whether two answers are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.keys import is_whole
from mmeframe.rows.labels import unlabelled
from mmeframe.spec import Column

if TYPE_CHECKING:
    from mmeframe.build.describe import SubModel
    from mmeframe.build.fleet import Fleet

__all__ = ["example_request", "example_rows", "made_up_rows", "same"]

_ROWS = 3


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
    return bool(np.all((left == right) | ((left != left) & (right != right))))


def example_rows(model: SubModel, root: Path) -> Any:
    """A few rows for a sub-model: its logged input example, else made up from its signature, with its types."""
    logged = _logged_example(model, root)
    return made_up_rows(model.inputs) if logged is None else unlabelled(logged)


def made_up_rows(columns: Sequence[Column]) -> Any:
    """A few rows of these columns, with their types."""
    return _frame(tuple(columns)).copy()


@lru_cache(maxsize=64)
def _frame(columns: tuple[Column, ...]) -> Any:
    """Thousands of sub-models have the same columns, and pandas takes milliseconds for each frame."""
    import pandas as pd

    frame = pd.DataFrame({column.name: list(_made_up(column.type)) for column in columns}).astype(_dtypes(columns))
    return _labelled(frame, columns)


def _labelled(frame: Any, columns: Sequence[Column]) -> Any:
    """With the names that the sub-model knows."""
    return frame.set_axis([column.label for column in columns], axis=1)


def example_request(fleet: Fleet) -> tuple[Any, dict[str, Any]]:
    """A request in the shape that the router takes: a row for each of a few sub-models, and routing parameters.

    Keys are real, features are made up: nobody's data is copied into another artifact.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    for number, model in enumerate(fleet.models[:_ROWS]):
        row = {column.name: next(_made_up(column.type)) for column in fleet.union.columns}
        for part, inputs in fleet.inputs.items():
            key: Any = model.key.get(part, fleet.declared[part][0] if fleet.declared[part] else None)
            if inputs.params:
                params.setdefault(inputs.params[0], key)
                continue
            if all(map(is_whole, fleet.declared[part])) and key is not None:
                key = int(key)
            for name, kind in inputs.columns.items():
                made_up: Any = f"2024-01-{number + 1:02}T12:00:00Z" if kind == "datetime" else 0.0
                # Text that a key is read from is likely to hold it.
                made_up = str(key) if kind == "string" else made_up
                row[name] = key if kind == "key" else row.get(name, made_up)
        for name in fleet.spec.traffic.sticky:
            row.setdefault(name, "a")
        rows.append(row)
    return pd.DataFrame(rows), params


def _logged_example(model: SubModel, root: Path) -> Any:
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
    known = {"integer": "int32", "long": "int64", "float": "float32", "double": "float64", "boolean": "bool"}
    return {column.name: known[column.type] for column in columns if column.type in known}


def _made_up(kind: str) -> Iterator[Any]:
    import datetime

    numbers = {"integer": (0, 1, 7), "long": (0, 1, 7), "float": (0.0, 1.0, 0.5), "double": (0.0, 1.0, 0.5)}
    noon = datetime.datetime(2024, 1, 1, 12)  # noqa: DTZ001 - MLflow's datetime columns are naive
    other = {"boolean": (False, True, True), "datetime": (noon,) * _ROWS, "string": ("a", "b", "c")}
    yield from numbers.get(kind) or other.get(kind) or (None,) * _ROWS
