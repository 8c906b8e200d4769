"""A row's sub-model, reason and value are the same alone, in any batch, order and index, and on every way in.

Sub-models of every MLflow column type answer with the text of what they were given: any difference is seen.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array, Map, Object, Property

from tests import fleets
from tests.conftest import Store

# Answers with what each row holds: the names that it has, and the types and values of Python in them.
TOLD = """
import mlflow
import numpy as np
import pandas as pd

def told(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {told(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(told, value)) + "]"
    if pd.isna(value):
        return "null"
    value = value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value
    value = pd.Timestamp(value).isoformat() if hasattr(value, "isoformat") else value
    return f"{type(value).__name__} {value!r}"

class Told(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        frame = model_input
        assert list(frame.index) == list(range(len(frame)))
        # MLflow itself gives a column of any type the type of what is in it.
        kinds = {name: "any" if name == "any" else str(frame[name].dtype) for name in frame.columns}
        cells = {name: [told(value) for value in frame[name].tolist()] for name in frame.columns}
        return [" ".join(f"{name}:{kinds[name]}={cells[name][row]}" for name in cells) for row in range(len(frame))]
"""
POINT = Object([Property("lat", DataType.double), Property("name", DataType.string, required=False)])
TYPES: dict[str, Any] = {
    **{kind.name: kind for kind in DataType if kind.name != "sparkml"},
    "doubles": Array(DataType.double),
    "longs": Array(DataType.long),
    "texts": Array(DataType.string),
    "table": Array(Array(DataType.float)),
    "map": Map(DataType.double),
    "point": POINT,
    "points": Array(POINT),
    "any": AnyType(),
}
# Letters that no reader of CSV takes for a number, a truth or a null.
TEXT = st.text("äxyz-", min_size=1, max_size=4)
WHOLE = st.integers(-(2**53) + 1, 2**53 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False, width=32)
VALUES: dict[str, Any] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": WHOLE,
    "float": FLOAT,
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "string": TEXT,
    "binary": st.binary(min_size=1, max_size=5),
    "datetime": st.datetimes(pd.Timestamp("1900-01-01"), pd.Timestamp("2200-01-01")).map(pd.Timestamp),
    "doubles": st.lists(FLOAT, max_size=3),
    "longs": st.lists(WHOLE, max_size=3),
    "texts": st.lists(TEXT, max_size=3),
    "table": st.lists(st.lists(FLOAT, max_size=2), max_size=2),
    "map": st.dictionaries(TEXT, FLOAT, max_size=2),
    "point": st.fixed_dictionaries({"lat": FLOAT}, optional={"name": TEXT}),
    "any": st.one_of(TEXT, st.lists(WHOLE, min_size=1, max_size=2)),
}
VALUES["points"] = st.lists(VALUES["point"], max_size=2)
FLAT = ["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]
NESTED = [name for name in TYPES if name not in FLAT]
WIDER = {"integer": "long", "long": "double", "float": "double"}
# The columns of one sub-model are flat and needed, of one flat and optional, of one nested, some optional, and of one
# in another order, of wider types than the others have, and every other one optional.
SCHEMAS = {
    "flat": [(name, name, True) for name in FLAT],
    "holed": [(name, name, name == "string") for name in FLAT],
    "nested": [(name, name, name not in ("map", "any")) for name in NESTED],
    "wider": [(name, WIDER.get(name, name), place % 2 == 0) for place, name in enumerate(reversed(FLAT))],
}


@pytest.fixture(scope="module")
def model(module_store: Store, importable: Callable[..., Any]) -> Any:
    """The logged router as MLflow loads it: the keys are those of SCHEMAS."""
    from mmeframe import api

    own = importable("told_model", TOLD)
    made = []
    for key, columns in SCHEMAS.items():
        path = str(module_store.folder / key)
        mlflow.pyfunc.save_model(
            path,
            python_model=own.Told(),
            code_paths=[own.__file__],
            signature=ModelSignature(
                Schema([ColSpec(TYPES[kind], name, required) for name, kind, required in columns]),
                Schema([ColSpec(DataType.string)]),
            ),
            pip_requirements=fleets.pins(),
        )
        made.append(f"+models.{key}.uri={path}")
    logged = api.build(
        "name=every_way",
        "routing=column",
        "routing.column=key",
        "routing.on_unknown=skip",
        *made,
        module_store.override,
        plugins=fleets.plugins(),
    )
    with fleets.active(module_store.uri):
        return mlflow.pyfunc.load_model(logged.model_uri)


@st.composite
def rows(draw: Any, flat: bool = False) -> list[dict[str, Any]]:
    """One to six rows of any sub-model, and of none."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        key = draw(st.sampled_from(["flat", "holed", "wider", "nobody"] if flat else [*SCHEMAS, "nobody"]))
        row = {"key": key}
        for name, kind, required in SCHEMAS.get(key, ()):
            if required or draw(st.booleans()):
                row[name] = draw(VALUES[kind])
        found.append(row)
    return found


def frame_of(some: list[dict[str, Any]]) -> pd.DataFrame:
    """A frame with the values as they are: whole numbers and truths beside nulls stay what they are."""
    names = list(dict.fromkeys(name for row in some for name in row))
    columns = {}
    for name in names:
        column = np.empty(len(some), object)
        column[:] = [row.get(name) for row in some]
        columns[name] = pd.Series(column, dtype=object)
    return pd.DataFrame(columns)


def answered(model: Any, frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """What each row of a frame gets: value, sub-model and reason."""
    answer = model.predict(frame, params={"annotate": True})
    return list(zip(answer["prediction"], answer["model_id"], answer["reason"], strict=True))


def one_by_one(model: Any, some: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [answered(model, frame_of([row]))[0] for row in some]


CHECKED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@CHECKED
@given(some=rows(), data=st.data())
def test_a_row_is_answered_as_it_is_alone(model, some, data):
    """In a batch, in another order, with other labels."""
    alone = one_by_one(model, some)
    order = data.draw(st.permutations(range(len(some))))
    labels = data.draw(st.lists(st.integers(-3, 3), min_size=len(some), max_size=len(some)))
    frame = frame_of(some)

    assert answered(model, frame) == alone
    assert answered(model, frame.set_axis(labels)) == alone
    assert answered(model, frame.iloc[order]) == [alone[row] for row in order]


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


def over_http(model: Any, body: Any, content_type: str = "application/json") -> list[Any] | None:
    """What MLflow's scoring server answers, None for a 400; the text must be JSON."""
    from mlflow.exceptions import MlflowException

    try:
        reply = scoring_server.invocations(body, content_type, model, model.metadata.get_input_schema())
    except MlflowException as error:
        if error.get_http_status_code() != 400:
            raise
        return None
    assert reply.status == 200, reply.response

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    predictions = json.loads(reply.response, parse_constant=refuse)["predictions"]
    return list(zip(predictions["prediction"], predictions["model_id"], predictions["reason"], strict=True))


@CHECKED
@given(some=rows())
def test_json_records_and_split(model, some, monkeypatch):
    """Records leave out what a row has not; split has nulls there."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    alone = one_by_one(model, some)
    records = [{name: plain(value) for name, value in row.items()} for row in some]
    names = list(dict.fromkeys(name for row in records for name in row))
    split = {"columns": names, "data": [[row.get(name) for name in names] for row in records]}
    annotate = {"params": {"annotate": True}}

    assert over_http(model, json.dumps({"dataframe_records": records, **annotate})) == alone
    assert over_http(model, json.dumps({"dataframe_split": split, **annotate})) == alone


@CHECKED
@given(some=rows(), data=st.data())
def test_json_inputs(model, some, data, monkeypatch):
    """Columns of one sub-model's rows: MLflow makes arrays of them, also of lists; one kind of values of several."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    key = data.draw(st.sampled_from([row["key"] for row in some]))
    mine = [row for row in some if row["key"] == key]
    names = [name for name in mine[0] if name != "any" and all(name in row for row in mine)]
    mine = [{name: row[name] for name in names} for row in mine]
    columns = {name: [plain(row[name]) for row in mine] for name in names}

    found = over_http(model, json.dumps({"inputs": columns, "params": {"annotate": True}}))

    # MLflow refuses lists that differ in length.
    assert found == one_by_one(model, mine) or (found is None and key == "nested")


def test_json_inputs_of_equal_lengths(model, monkeypatch):
    """Lists of one length are tables to MLflow, and of one value each a column: they stay lists where lists are due."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    row = {"doubles": [1.5], "longs": [7], "texts": ["a"], "table": [[2.0]], "point": {"lat": 1.0}, "points": []}
    mine = [{"key": "nested", **row, "any": [1.5]}] * 2
    columns = {name: [row[name] for row in mine] for name in mine[0]}

    found = over_http(model, json.dumps({"inputs": columns, "params": {"annotate": True}}))

    assert found == one_by_one(model, mine)
    assert "doubles:object=[float 1.5] longs:object=[int 7]" in found[0][0]
    assert "any:any=[float 1.5]" in found[0][0]


@CHECKED
@given(some=rows())
def test_json_inputs_of_one_row(model, some, monkeypatch):
    """A row's values stand alone, without a list for each; nulls, too."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    row = {name: value for name, value in some[0].items() if not isinstance(value, list)}
    columns = {name: plain(value) for name, value in row.items()} | {"nobodys": None}

    found = over_http(model, json.dumps({"inputs": columns, "params": {"annotate": True}}))

    # Lists are columns here: a row that needs some is refused.
    assert found == one_by_one(model, [row]) if row["key"] != "nested" else found is None


@CHECKED
@given(some=rows(flat=True))
def test_csv(model, some, monkeypatch):
    """CSV has no types: each row is answered as it is alone, or the request is refused."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    model.unwrap_python_model().router.annotate = True
    try:
        frame = frame_of([{name: plain(value) for name, value in row.items()} for row in some])
        found = over_http(model, frame.to_csv(index=False), "text/csv")
    finally:
        model.unwrap_python_model().router.annotate = False

    assert found is None or found == one_by_one(model, some)


@CHECKED
@given(some=rows())
def test_parquet_and_arrow(model, some):
    """Files keep types; pandas reads them with its own and with Arrow's."""
    # Arrow has no column of several types.
    some = [row if isinstance(row.get("any", ""), str) else {**row, "any": "several"} for row in some]
    alone = one_by_one(model, some)
    table = pa.table({name: arrow(name, [row.get(name) for row in some]) for name in frame_of(some).columns})
    file = io.BytesIO()
    pa.parquet.write_table(table, file)

    assert answered(model, pd.read_parquet(file)) == alone
    assert answered(model, table.to_pandas(types_mapper=pd.ArrowDtype)) == alone


def arrow(name: str, values: list[Any]) -> Any:
    """A column with Arrow's own type of it, or the wider one that some rows need."""
    if name == "integer" and any(abs(value) >= 2**31 for value in values if value is not None):
        name = "long"
    if name in ("long", "float") and any(isinstance(value, float) for value in values):
        name = "double"
    types = {
        "boolean": pa.bool_(),
        "integer": pa.int32(),
        "long": pa.int64(),
        "double": pa.float64(),
        "string": pa.string(),
        "binary": pa.binary(),
        "datetime": pa.timestamp("us"),
        "doubles": pa.list_(pa.float64()),
        "longs": pa.list_(pa.int64()),
        "texts": pa.list_(pa.string()),
        "table": pa.list_(pa.list_(pa.float32())),
        "map": pa.map_(pa.string(), pa.float64()),
        "point": pa.struct({"lat": pa.float64(), "name": pa.string()}),
        "points": pa.list_(pa.struct({"lat": pa.float64(), "name": pa.string()})),
    }
    return pa.array(values, types.get(name))
