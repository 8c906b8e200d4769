"""Prove a logged router before anybody can see it: every sub-model, by id, against its own loader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmeframe.build.describe import SubModel
from mmeframe.build.fleet import Fleet
from mmeframe.build.pack import Progress
from mmeframe.errors import BuildError
from mmeframe.keys import is_whole
from mmeframe.plugin.components import make_component

__all__ = ["example_request", "example_rows", "probe"]

_SAMPLE = 1000
_ROWS = 3


def probe(router: Any, fleet: Fleet, progress: Progress) -> list[str]:
    """Compare the router's answers with those of the sub-models' own files.

    router: the loaded router, which has ``score(id, frame)``. Every sub-model is probed; above 1,000 an even sample.
    Returns warnings, naming sub-models that could not be called on the probe rows. Raises BuildError where the router
    answers differently.
    """
    step = max(1, len(fleet.models) // _SAMPLE)
    sample = fleet.models[::step]
    warnings = []
    for number, model in enumerate(sample):
        progress("probing", number, len(sample))
        with model.folder.local() as root:
            rows = example_rows(model, root)
            own = make_component(model.loader).load(_OwnFiles(model, root))
            try:
                expected = getattr(own, fleet.spec.output.method)(rows)
            except Exception as error:  # noqa: BLE001 - probe rows may be nonsense to a model
                warnings.append(
                    f"{model.id}: its probe rows were refused ({type(error).__name__}); it was only loaded."
                )
                continue
        if not _same(router.score(model.id, rows), expected):
            raise BuildError(
                "the logged router answers differently from the sub-model's own files.",
                where=f"models.{model.id}",
                hint="Its predict may be random, or depend on something outside its files.",
            )
    progress("probing", len(sample), len(sample))
    return warnings


class _OwnFiles:
    """The ``SubModelFiles`` of the plugin API over the sub-model's original folder."""

    def __init__(self, model: SubModel, root: Path) -> None:
        self.id, self.flavor, self._root = model.id, model.flavor, root
        self.options: Mapping[str, Any] = model.options

    @property
    def names(self) -> Sequence[str]:
        return [path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file()]

    def read(self, name: str) -> memoryview:
        return memoryview((self._root / name).read_bytes())

    def folder(self) -> Path:
        return self._root


def _same(one: Any, two: Any) -> bool:
    import numpy as np
    import pandas as pd

    if isinstance(one, pd.DataFrame) and isinstance(two, pd.DataFrame):
        return list(one.columns) == list(two.columns) and all(_same(one[c].array, two[c].array) for c in one.columns)
    left, right = np.asarray(one), np.asarray(two)
    if left.shape != right.shape:
        return False
    if left.dtype.kind in "fiu" and right.dtype.kind in "fiu":
        # A linear model's last bits depend on memory layout, which may differ here.
        return bool(np.allclose(left, right, rtol=1e-9, atol=1e-12, equal_nan=True))
    return bool(np.all((left == right) | ((left != left) & (right != right))))


def example_rows(model: SubModel, root: Path) -> Any:
    """A few rows for a sub-model: its logged input example, else made up from its signature, with its types."""
    import pandas as pd

    logged = _logged_example(model, root)
    if logged is not None:
        return logged
    return pd.DataFrame({column.name: list(_made_up(column.type)) for column in model.inputs}).astype(_dtypes(model))


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
            if all(map(is_whole, fleet.declared[part])) and key is not None:
                key = int(key)
            if inputs.params:
                params.setdefault(inputs.params[0], key)
                continue
            for name, kind in inputs.columns.items():
                made_up = f"2024-01-{number + 1:02}T12:00:00Z" if kind == "datetime" else 0.0
                row[name] = key if kind == "key" else row.get(name, made_up)
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
    names = [column.name for column in model.inputs]
    if not isinstance(rows, pd.DataFrame) or not set(names) <= set(rows.columns):
        return None
    try:
        return rows[names].head(_ROWS).astype(_dtypes(model))
    except (ValueError, TypeError):
        return None


def _dtypes(model: SubModel) -> dict[str, str]:
    known = {"integer": "int32", "long": "int64", "float": "float32", "double": "float64", "boolean": "bool"}
    return {column.name: known[column.type] for column in model.inputs if column.type in known}


def _made_up(kind: str) -> Iterator[Any]:
    import datetime

    numbers = {"integer": (0, 1, 7), "long": (0, 1, 7), "float": (0.0, 1.0, 0.5), "double": (0.0, 1.0, 0.5)}
    noon = datetime.datetime(2024, 1, 1, 12)  # noqa: DTZ001 - MLflow's datetime columns are naive
    other = {"boolean": (False, True, True), "datetime": (noon,) * _ROWS, "string": ("a", "b", "c")}
    yield from numbers.get(kind) or other.get(kind) or (None,) * _ROWS
