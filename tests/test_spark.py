"""Rows without an answer through MLflow's function for Spark: ``make test-spark`` has an environment with pyspark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from mmeframe import api
from tests import fleets
from tests.conftest import Store

pytest.importorskip("pyspark", reason="pyspark is not installed here: make test-spark")

# Spark says that it does not fully support pandas 3 yet.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
X = pd.DataFrame({"x": [1.0, 2.0]})
ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0], "key": ["a", "nobody", "a"]})
ANSWERS = {"double": 1.5, "long": 7, "text": "yes", "boolean": True}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A local session that listens on the loopback only."""
    from pyspark.sql import SparkSession

    home = tmp_path_factory.mktemp("spark")
    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.warehouse.dir", str(home / "warehouse"))
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="module")
def logged(module_store: Store, keep: Callable[..., str]) -> Callable[..., str]:
    """The folder of a router: (name of ANSWERS, *overrides) -> path."""

    def log(name: str, *overrides: str) -> str:
        kind = DummyRegressor if name == "double" else DummyClassifier
        model = kind(strategy="constant", constant=ANSWERS[name]).fit(X, [ANSWERS[name]] * 2)
        logged = api.build(
            f"name={name}",
            "routing=column",
            "routing.column=key",
            "routing.on_unknown=skip",
            f"+models.a.uri={keep(model, X, np.array([ANSWERS[name]] * 2))}",
            *overrides,
            module_store.override,
            plugins=fleets.plugins(),
        )
        with fleets.active(module_store.uri):
            return str(mlflow.artifacts.download_artifacts(logged.model_uri))

    return log


@pytest.fixture(scope="module")
def scored(spark: Any, logged: Callable[..., str]) -> Callable[..., list[Any]]:
    """What MLflow's function gives for each of ROWS: (name of ANSWERS, *overrides) -> answers."""
    from pyspark.sql.functions import struct

    def score(name: str, *overrides: str) -> list[Any]:
        function = mlflow.pyfunc.spark_udf(spark, logged(name, *overrides), env_manager="local")
        found = spark.createDataFrame(ROWS).withColumn("answer", function(struct("x", "key"))).collect()
        return [row["answer"] for row in found]

    return score


def test_doubles_are_null(scored):
    """A missing double is Spark's null."""
    assert scored("double") == [1.5, None, 1.5]


def test_notes_have_their_text(scored):
    """With output.missing_note the notes are the same text as on every other way."""
    found = [row.asDict() for row in scored("double", "output.annotate=true", "output.missing_note=none")]

    assert found[0] == {"prediction": 1.5, "model_id": "a", "model_version": "none", "reason": "exact", "arm": "main"}
    assert found[1] == {
        "prediction": None,
        "model_id": "none",
        "model_version": "none",
        "reason": "unknown",
        "arm": "none",
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_nulls_stay_nulls_in_a_map(spark, logged, name):
    """What is loaded in the worker itself is not cast by MLflow: the way for texts, booleans and whole numbers."""
    uri, kind = logged(name), {"text": "string"}.get(name, name)

    def answered(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import mlflow

        model = mlflow.pyfunc.load_model(uri)
        for frame in frames:
            yield frame.assign(answer=model.predict(frame))

    found = spark.createDataFrame(ROWS).mapInPandas(answered, f"x double, key string, answer {kind}").collect()

    assert [row["answer"] for row in found] == [ANSWERS[name], None, ANSWERS[name]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("text", ["yes", "nan", "yes"], id="text"),
        pytest.param("boolean", [True, False, True], id="boolean"),
    ],
)
def test_what_mlflow_makes_of_other_nulls(scored, name, expected):
    """A precondition of what the documents say: its cast for Spark knows no nulls of texts and booleans."""
    found = scored(name, "output.annotate=true", "output.missing_note=none")

    assert [row["prediction"] for row in found] == expected
