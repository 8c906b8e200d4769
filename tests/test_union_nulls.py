"""``signature.mode=union``: MLflow checks columns, and a key reaches the router as it was sent, a null as a null."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
from sklearn.dummy import DummyRegressor

from mmeframe import api
from tests import fleets

WORDS = ("None", "nan", "<NA>", "NaT", "False", "0", "2", "berlin")


@pytest.fixture(scope="module")
def loaded(module_store) -> Callable[..., Any]:
    """A router of constant sub-models for keys, and one for all, as MLflow loads it: (rows, keys, *overrides)."""

    def build(rows: pd.DataFrame, keys: Sequence[str], *overrides: str) -> Any:
        folder = module_store.folder
        uris = [
            fleets.keep(
                folder, DummyRegressor(strategy="constant", constant=float(number)).fit(rows, [0.0] * len(rows)), rows
            )
            for number in range(len(keys) + 1)
        ]
        models = [
            f"+models.m{n}={{uri:'{uri}',key:{{k:'{key}'}}}}"
            for n, (uri, key) in enumerate(zip(uris, keys, strict=False))
        ]
        models.append(f"+models.everyone={{uri:'{uris[-1]}',key:{{}}}}")
        name = f"name=union_{len(list(folder.glob('model_*')))}"
        levels = ("routing.levels=[[k],[]]", "signature.mode=union", "output.annotate=true")
        logged = api.build(name, *overrides, *levels, *models, module_store.override, plugins=fleets.plugins())
        with fleets.active(module_store.uri):
            return mlflow.pyfunc.load_model(logged.model_uri, suppress_warnings=True)

    return build


COLUMN = ("+routing@routing.keys.k=column", "routing.keys.k.column=shop")
X = pd.DataFrame({"x": [0.5, 1.5]})


@pytest.fixture(scope="module")
def by_column(loaded) -> Any:
    """By a column that only routing reads."""
    return loaded(X, WORDS, *COLUMN)


@pytest.fixture(scope="module")
def by_text(loaded) -> Any:
    """By a text column of the sub-models."""
    return loaded(X.assign(shop=["a", "b"]), WORDS, *COLUMN)


@pytest.fixture(scope="module")
def by_flag(loaded) -> Any:
    """By a boolean column of the sub-models."""
    return loaded(X.assign(shop=[True, False]), ["True", "False"], *COLUMN)


def posted(model: Any, body: Any) -> Any:
    """The answer of MLflow's scoring server to JSON, or the status of its refusal."""
    try:
        schema = model.metadata.get_input_schema()
        reply = invocations(json.dumps(body).encode(), "application/json", model, schema)
    except MlflowException as error:
        return error.get_http_status_code()
    return json.loads(reply.response)["predictions"]


def bodies(cells: Sequence[Any]) -> dict[str, Any]:
    """Rows with these keys, in each of the forms that MLflow's server reads from JSON."""
    x = [0.5] * len(cells)
    records = [{"shop": cell, "x": 0.5} for cell in cells]
    split = {"columns": ["shop", "x"], "data": [list(row) for row in zip(cells, x, strict=True)]}
    return {
        "split": {"dataframe_split": split},
        "records": {"dataframe_records": records},
        "inputs": {"inputs": {"shop": list(cells), "x": x}},
        "instances": {"instances": records},
    }


NULLS = {
    "text": ["berlin", None],
    "whole-numbers": [2, None],
    "floats": [2.0, None],
    "mixed": [2, "berlin", None],
    "all": [None, None],
    "one": [None],
}


@pytest.mark.parametrize("way", ["split", "records", "inputs", "instances"])
@pytest.mark.parametrize("cells", NULLS.values(), ids=NULLS)
def test_a_null_reaches_no_sub_model_of_its_name(by_column, way, cells):
    """It is no key in JSON, or the rows are refused because their reader may have changed one: never the text None."""
    found = posted(by_column, bodies(cells)[way])

    expected = [
        f"m{WORDS.index(str(int(cell) if isinstance(cell, float) else cell))}" if cell else "everyone" for cell in cells
    ]
    assert found == 400 or found["model_id"] == expected


@pytest.mark.parametrize("dtype", [object, "str", "string", "Int64", "Float64", "float64", "boolean", "category"])
def test_a_null_in_a_frame(by_column, dtype):
    """In Python neither: it is no key, or refused where MLflow has made NaN of it, as CSV readers do of keys."""
    kinds = {"str": "berlin", "string": "berlin", "category": "berlin", "boolean": False}
    cells = [kinds.get(str(dtype), 2), None]
    frame = pd.DataFrame({"shop": pd.Series(cells, dtype=dtype), "x": 0.5})

    if dtype not in ("Int64", "Float64", "boolean"):
        with pytest.raises(MlflowException, match="which CSV readers make of '<NA>'"):
            by_column.predict(frame)
    else:
        assert by_column.predict(frame)["model_id"].tolist() == [f"m{WORDS.index(str(cells[0]))}", "everyone"]


@pytest.mark.parametrize("way", ["split", "records", "inputs", "instances"])
@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        pytest.param(["None", "nan"], ["m0", "m1"], id="words"),
        pytest.param(["<NA>", "NaT"], ["m2", "m3"], id="other-words"),
        pytest.param([2, 2.0], ["m6", "m6"], id="numbers"),
        pytest.param(["2", "berlin"], ["m6", "m7"], id="texts"),
        pytest.param([2.5, 0.0], ["everyone", "m5"], id="fractions"),
        pytest.param([False, True], ["m4", "everyone"], id="booleans"),
    ],
)
def test_a_key_is_what_was_sent(by_column, way, cells, ids):
    """A text of such a name is that key; 2.5 is not 2, 2.0 is, and false is neither 0 nor missing."""
    assert posted(by_column, bodies(cells)[way])["model_id"] == ids


@pytest.mark.parametrize("way", ["split", "records", "inputs", "instances"])
def test_a_null_in_a_column_of_the_sub_models(by_text, by_flag, way):
    """Their text or boolean column is the key's too: a null is neither None nor False there."""
    for model, cells, ids in (
        (by_text, ["berlin", None], ["m7", "everyone"]),
        (by_flag, [True, None], ["m0", "everyone"]),
    ):
        found = posted(model, bodies(cells)[way])
        assert found == 400 or found["model_id"] == ids
        assert posted(model, bodies(cells[:1])[way])["model_id"] == ids[:1]


GONE = "[{key:gone,when:{column:shop,operator:is_missing}},{key:word,when:{column:shop,operator:'==',value:None}}]"


@pytest.mark.build
@pytest.mark.parametrize(
    ("options", "keys", "cells", "ids"),
    [
        pytest.param(
            ("+routing@routing.keys.k=pattern", "routing.keys.k.column=shop", "routing.keys.k.prefix_length=1"),
            ["N", "n", "b"],
            ["berlin", None],
            ["m2", "everyone"],
            id="pattern",
        ),
        pytest.param(
            ("+routing@routing.keys.k=datepart", "routing.keys.k.column=shop", "routing.keys.k.part=year"),
            ["2013", "2014"],
            ["2013-05-06T07:00:00Z", None],
            ["m0", "everyone"],
            id="datepart",
        ),
        pytest.param(
            (
                "+routing@routing.keys.k=rules",
                f"routing.keys.k.rules={GONE}",
                "routing.keys.k.otherwise=other",
            ),
            ["gone", "word", "other"],
            ["berlin", None],
            ["m2", "m0"],
            id="rules",
        ),
    ],
)
def test_other_strategies_see_a_null(loaded, options, keys, cells, ids):
    """What reads a column of text or time is not told the word None either."""
    model = loaded(X, keys, *options)

    for way, body in bodies(cells).items():
        assert (way, posted(model, body)["model_id"]) == (way, ids)


def test_what_is_declared(by_column, by_text):
    """Columns that routing reads are of any type, others as the sub-models have them."""
    declared = [
        [(spec.name, str(spec.type), spec.required) for spec in model.metadata.get_input_schema()]
        for model in (by_column, by_text)
    ]

    assert declared[0] == [("shop", "Any", True), ("x", "DataType.double", True)]
    assert sorted(declared[1]) == sorted(declared[0])


@pytest.mark.build
def test_numbers_are_declared_as_numbers(loaded):
    """A strategy that reads numbers needs no other declaration: MLflow leaves doubles and their nulls as they are."""
    bins = (
        "+routing@routing.keys.k=bins",
        "routing.keys.k.column=shop",
        "+routing.keys.k.bins={low:[null,1],high:[1,null]}",
    )
    model = loaded(X, ["low", "high"], *bins)

    assert [str(spec.type) for spec in model.metadata.get_input_schema()] == ["DataType.double"] * 2
    for body in bodies([0.5, 2.5, None]).values():
        assert posted(model, body)["model_id"] == ["m0", "m1", "everyone"]
    assert np.isfinite(model.predict(pd.DataFrame({"shop": [0.5], "x": [1.0]}))["prediction"]).all()


@pytest.mark.build
def test_narrow_numbers(loaded):
    """The stored example has the declared types: MLflow takes no wider ones, and would refuse the build."""
    rows = pd.DataFrame({"f": np.array([1, 2], "f4"), "i": np.array([1, 2], "i4"), "b": [True, False]})

    answer = loaded(rows, ["a"], *COLUMN).predict(rows.assign(shop=["a", "b"]))

    assert answer["model_id"].tolist() == ["m0", "everyone"]
