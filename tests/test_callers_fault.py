"""What is the caller's fault is a 400 that names columns, and no reply of MLflow's server holds the caller's data."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array

from mmeframe import api
from tests import fleets
from tests.conftest import Store

# A model that takes anything, and one that fails whatever it gets, but for the rows of a build.
OWN = """
import mlflow

class Counts(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [float(len(cells)) for cells in model_input["cells"]]

class Broken(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input["x1"].max() > 100:
            raise RuntimeError("secret 4711")
        return [0.0] * len(model_input)
"""
SECRET = 4711.25


@pytest.fixture(scope="module")
def model(module_store: Store, importable: Callable[..., Any], keep: Callable[..., str]) -> Any:
    """The logged router: key ridge takes no nulls, list and map have nested columns, broken fails."""
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
    models = {
        "ridge": keep(fleets.fitted(1), fleets.rows(5)[["x1", "x2"]]),
        "list": saved("list", own.Counts(), Schema([ColSpec(Array(DataType.double), "cells")])),
        "broken": saved("broken", own.Broken(), numbers),
    }
    logged = api.build(
        "name=faults",
        "routing=column",
        "routing.column=key",
        *[f"+models.{key}.uri={path}" for key, path in models.items()],
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
