"""What is the caller's fault is a 400 that names columns, and no reply of MLflow's server holds the caller's data."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mmeframe import api
from tests import flavors, fleets
from tests.conftest import Store

# A model that takes anything, and one that fails whatever it gets, but for the rows of a build.
OWN = """
import sys

import mlflow
import pandas as pd

class Own(Exception):
    pass

class Counts(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [float(len(cells)) for cells in model_input["cells"]]

class Odd(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        what = model_input["what"].iloc[0]
        if what == "value":
            raise ValueError("secret 4711")
        if what == "library":
            pd.Timestamp(model_input["what"].iloc[0])
        if what == "own":
            raise Own("secret 4711")
        if what == "told":
            raise mlflow.exceptions.MlflowException.invalid_parameter_value("secret 4711")
        if what == "fault":
            raise mlflow.exceptions.MlflowException("secret 4711")
        if what == "exit":
            sys.exit("secret 4711")
        return [1.0] * len(model_input)

class Broken(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input["x1"].max() > 100:
            raise RuntimeError("secret 4711")
        return [0.0] * len(model_input)
"""
SECRET = 4711.25


TABLE = pd.DataFrame({"text": ["a", "b"] * 5, "whole": [1, 2] * 5, "n": [3, 4] * 5, "x1": np.arange(10.0)})


def refusing() -> dict[str, tuple[Any, ...]]:
    """Id -> flavor, a model that takes only values like those that it was fitted on, its rows and answers."""
    import catboost
    import statsmodels.formula.api as smf

    def encoded(*names: str) -> Any:
        table = TABLE[[*names, "x1"]]
        encoder = make_column_transformer((OneHotEncoder(), list(names)), remainder="passthrough")
        return "sklearn", make_pipeline(encoder, Ridge()).fit(table, TABLE["x1"]), table

    cat = catboost.CatBoostRegressor(**flavors.CAT, cat_features=["text"])
    gaps = TABLE[["n", "x1"]].astype({"n": "Int64"})
    return {
        "encoded": encoded("text"),
        "encoded_whole": encoded("whole"),
        "encoded_both": encoded("text", "whole"),
        "cat": ("catboost", cat.fit(TABLE[["text", "x1"]], TABLE["x1"]), TABLE[["text", "x1"]]),
        "formula": ("statsmodels", smf.ols("n ~ text + x1", TABLE).fit(), TABLE[["text", "x1"]]),
        "optional": ("sklearn", Ridge().fit(gaps, TABLE["x1"]), gaps.assign(n=gaps["n"].mask(gaps["n"] == 3)), [0.0]),
    }


@pytest.fixture(scope="module")
def paths(module_store: Store, importable: Callable[..., Any], keep: Callable[..., str]) -> dict[str, str]:
    """Of sub-models by key: ridge takes no nulls, list has nested columns, broken fails."""
    own = importable("own_faults", OWN)
    one = Schema([ColSpec(DataType.double)])

    def saved(name: str, model: Any, inputs: Schema) -> str:
        path = str(module_store.folder / name)
        mlflow.pyfunc.save_model(
            path,
            python_model=model,
            code_paths=[own.__file__],
            signature=ModelSignature(inputs, one),
            pip_requirements=fleets.pins(),
        )
        return path

    numbers = Schema([ColSpec(DataType.double, "x1"), ColSpec(DataType.double, "x2")])
    return {
        "ridge": keep(fleets.fitted(1), fleets.rows(5)[["x1", "x2"]]),
        "list": saved("list", own.Counts(), Schema([ColSpec(Array(DataType.double), "cells")])),
        "broken": saved("broken", own.Broken(), numbers),
        "odd": saved(
            "odd", own.Odd(), Schema([ColSpec(DataType.string, "what"), ColSpec(DataType.double, "x1", required=False)])
        ),
        **{name: flavors.keep(module_store.folder, *case) for name, case in refusing().items()},
    }


@pytest.fixture(scope="module", params=["shared", pytest.param("process", marks=pytest.mark.process)])
def model(request: pytest.FixtureRequest, module_store: Store, paths: dict[str, str]) -> Any:
    """The logged router, with models that ship code here and in a process of their own."""
    logged = api.build(
        f"name=faults_{request.param}",
        f"isolation={request.param}",
        "routing=column",
        "routing.column=key",
        *[f"+models.{key}.uri={path}" for key, path in paths.items()],
        module_store.override,
        plugins=fleets.plugins(),
    )
    with fleets.active(module_store.uri):
        return mlflow.pyfunc.load_model(logged.model_uri)


def reply(model: Any, *rows: dict[str, Any]) -> tuple[int, str]:
    """The status and the text that MLflow's server answers with."""
    with pytest.raises(MlflowException) as caught:
        scoring_server.invocations(json.dumps({"dataframe_records": rows}), "application/json", model, None)
    return caught.value.get_http_status_code(), json.loads(caught.value.serialize_as_json())["message"]


@pytest.mark.parametrize(
    ("row", "status", "message"),
    [
        pytest.param(
            {"key": "ridge", "x1": SECRET, "x2": None},
            400,
            "ridge: its predict failed with ValueError.\n  Columns with missing values in its rows: x2.",
            id="null-for-an-estimator-that-takes-none",
        ),
        pytest.param(
            {"key": "list", "cells": [SECRET, "a"]},
            400,
            "column 'cells' must be array(double): it holds text, not double.",
            id="wrong-nested-type",
        ),
        pytest.param(
            {"key": "list", "cells": SECRET},
            400,
            "column 'cells' must be array(double): it holds numbers, not array(double).",
            id="no-list",
        ),
        pytest.param(
            {"key": "broken", "x1": SECRET, "x2": 0.0},
            500,
            "broken: its predict failed with RuntimeError.",
            id="broken",
        ),
        pytest.param(
            {"key": "ridge", "x1": float("inf"), "x2": 0.0},
            400,
            "ridge: its predict failed with ValueError.\n  Columns with infinite values in its rows: x1.",
            id="infinite",
        ),
        pytest.param(
            {"key": "encoded", "text": "4711", "x1": 0.0},
            400,
            "encoded: its predict failed with ValueError.\n  It may not know a value in one of its columns text.",
            id="unknown-text",
        ),
        pytest.param(
            {"key": "encoded_whole", "whole": 4711, "x1": 0.0},
            400,
            "encoded_whole: its predict failed with ValueError.\n"
            "  It may not know a value in one of its columns whole.",
            id="unknown-number",
        ),
        pytest.param(
            {"key": "encoded_both", "text": "a", "whole": 4711, "x1": 0.0},
            400,
            "encoded_both: its predict failed with ValueError.\n"
            "  It may not know a value in one of its columns text, whole.",
            id="unknown-one-of-two",
        ),
        pytest.param(
            {"key": "cat", "text": None, "x1": SECRET},
            400,
            "cat: its predict failed with CatBoostError.\n  Columns with missing values in its rows: text.",
            id="null-for-another-library",
        ),
        pytest.param(
            {"key": "formula", "text": "4711", "x1": 0.0},
            400,
            "formula: its predict failed with PatsyError.\n  It may not know a value in one of its columns text.",
            id="unknown-to-a-formula",
        ),
        pytest.param(
            {"key": "optional", "n": None, "x1": SECRET},
            400,
            "optional: its predict failed with ValueError.\n  Columns with missing values in its rows: n.",
            id="null-in-an-optional-column",
        ),
        pytest.param(
            {"key": "odd", "what": "value", "x1": 1.0}, 500, "odd: its predict failed with ValueError.", id="own"
        ),
        pytest.param(
            {"key": "odd", "what": "own"},
            400,
            "odd: its predict failed with Own.\n  Columns with missing values in its rows: x1.",
            id="own-on-a-null",
        ),
        pytest.param(
            {"key": "odd", "what": "library", "x1": 1.0},
            400,
            "odd: its predict failed with DateParseError.\n  It may not know a value in one of its columns what.",
            id="library-in-own-code",
        ),
        pytest.param(
            {"key": "odd", "what": "told", "x1": 1.0},
            400,
            "odd: its predict failed with MlflowException.\n  It may not know a value in one of its columns what.",
            id="told-to-be-the-callers",
        ),
        pytest.param(
            {"key": "odd", "what": "fault", "x1": 1.0}, 500, "odd: its predict failed with MlflowException.", id="fault"
        ),
        pytest.param(
            {"key": "odd", "what": "exit", "x1": 1.0}, 500, "odd: its predict failed with SystemExit.", id="exit"
        ),
    ],
)
def test_status_and_text(model, row, status, message):
    """Who has to mend something is told what; of the rows nothing is said."""
    assert reply(model, row) == (status, message)


@pytest.mark.parametrize(
    ("row", "status"),
    [
        pytest.param({"key": "nobody", "x1": SECRET, "x2": 1.0}, 404, id="unknown-key"),
        pytest.param({"key": None, "x1": SECRET, "x2": 1.0}, 400, id="no-key"),
        pytest.param({"key": "ridge", "x1": SECRET}, 400, id="column-missing"),
        pytest.param({"key": "ridge", "x1": SECRET, "x2": "4711"}, 400, id="wrong-type"),
    ],
)
def test_no_reply_has_the_callers_rows(model, row, status):
    """MLflow puts the rows before the text of an error; keys are shown by us, and values never."""
    found, text = reply(model, row)

    assert found == status
    assert "4711" not in text
