"""Rows without an answer through MLflow's function for Spark: ``make test-spark`` has an environment with pyspark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from mmeframe import api
from tests import fleets
from tests.conftest import Store

pytest.importorskip("pyspark", reason="pyspark is not installed here: make test-spark")

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
def scored(spark: Any, module_store: Store, keep: Callable[..., str]) -> Callable[..., list[Any]]:
    """What Spark has for each of ROWS: (name of ANSWERS, *overrides) -> answers."""
    import mlflow
    from pyspark.sql.functions import struct

    def score(name: str, *overrides: str) -> list[Any]:
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
            function = mlflow.pyfunc.spark_udf(spark, logged.model_uri, env_manager="local")
            frame = spark.createDataFrame(ROWS)
            found = frame.withColumn("answer", function(struct("x", "key"))).collect()
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


@pytest.mark.parametrize("name", ["long", "text", "boolean"])
@pytest.mark.parametrize("annotate", ["false", "true"])
def test_what_spark_would_change_is_refused(scored, name, annotate):
    """MLflow's cast for Spark makes 'nan' or False of a null: the job fails, and says what to do."""
    print(scored(name, f"output.annotate={annotate}", "output.missing_note=none"))
