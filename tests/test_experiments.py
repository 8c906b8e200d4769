"""The shipped experiments, whole: MLflow's tutorial, and the demo on the flights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request

import mlflow
import numpy as np
import pandas as pd
import pytest

from mmeframe import api
from mmeframe.train.datasets import flights, weekly
from tests import fleets
from tests.causes import causes

DEMO_TIMEOUT_S = 240


@pytest.fixture(scope="module")
@causes("build")
def tutorial(tmp_path_factory, template_store):
    """The tutorial's store and its logged router."""
    import shutil

    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copy(template_store / "mlflow.db", folder / "mlflow.db")
    uri = f"tracking.uri=sqlite:///{folder}/mlflow.db"
    with fleets.inside(folder):
        trained = api.train("experiment=tutorial", uri, allow=["mmeframe.train.datasets:weekly"])
        logged = api.build("experiment=tutorial", uri)
        with fleets.active(uri.partition("=")[2]):
            yield trained, mlflow.pyfunc.load_model(logged.model_uri)


def test_the_tutorial_trains_seven_weekday_models(tutorial):
    """One RandomForestRegressor per weekday, on all its rows, and no global one."""
    trained, _ = tutorial

    assert [model.name for model in trained.models] == [f"DOW_model_{day}" for day in range(7)]
    assert sum(model.rows for model in trained.models) == len(weekly())


@pytest.mark.parametrize("dow", range(7))
def test_the_tutorials_router_equals_its_sub_models_bit_for_bit(tutorial, dow):
    """params={"dow": "n"} gives exactly what MLflow's own pyfunc of model n gives."""
    _, router = tutorial
    rows = weekly()[["x1", "x2", "x3"]].head(200)

    answer = router.predict(rows, params={"dow": str(dow)})

    own = mlflow.pyfunc.load_model(f"models:/DOW_model_{dow}@champion").predict(rows)
    assert np.array_equal(answer, own)
    assert answer.dtype == own.dtype


def test_the_tutorials_router_needs_its_parameter(tutorial):
    """Where the notebook answers with Tuesday's model, this says what is missing."""
    _, router = tutorial

    with pytest.raises(mlflow.MlflowException, match="parameter 'dow' was not given"):
        router.predict(weekly()[["x1", "x2", "x3"]].head(2))


@pytest.fixture(scope="module")
@causes("process")
def demo(tmp_path_factory):
    """What ``mmeframe demo --json`` said, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "mmeframe", "demo", "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MMEFRAME", "MLFLOW_T"))}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=DEMO_TIMEOUT_S)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), folder


def test_the_demo_registers_a_router_in_the_working_directory(demo):
    """The store is where MLflow's default is, so that its UI finds it."""
    said, folder = demo

    assert (folder / "mlflow.db").is_file()
    assert said["logged"]["model_uri"] == "models:/flights/1"
    assert said["logged"]["alias"] == "champion"
    assert said["logged"]["sub_models"] == 8
    with fleets.active(f"sqlite:///{folder}/mlflow.db"):
        assert mlflow.MlflowClient().get_model_version_by_alias("flights", "champion").version is not None


def test_the_demo_compares_each_sub_model_with_the_global_one(demo):
    """Errors on held-out rows of the same weekday, for both."""
    said, _ = demo

    weekdays = [model for model in said["trained"]["models"] if model["key"] is not None]
    assert [model["key"] for model in weekdays] == ["0", "1", "2", "3", "4", "5", "6"]
    assert all(20 < model["metrics"]["rmse"] < 60 for model in weekdays)
    assert all(20 < model["global_metrics"]["rmse"] < 60 for model in weekdays)
    assert said["trained"]["dropped"] == 9430


def test_the_demo_asks_over_http(demo):
    """Rows of several weekdays, one of them without its time, in one real request."""
    said, _ = demo

    assert said["http"]["status"] == 200
    assert len(set(said["http"]["model_id"])) > 3
    assert said["http"]["model_id"][-1] == "everyone"
    assert said["http"]["reason"][-1] == "fallback"


def test_weekdays_are_new_yorks(demo):
    """11 % of flights leave on another day in UTC than in New York; each goes to New York's."""
    said, folder = demo
    table = flights().sample(2000, random_state=1)
    local = pd.to_datetime(table["time_hour"], utc=True).dt.tz_convert("America/New_York").dt.day_of_week
    utc = pd.to_datetime(table["time_hour"], utc=True).dt.day_of_week
    assert 0.08 < (local != utc).mean() < 0.14

    router = api.load_router(said["logged"]["model_uri"], tracking_uri=f"sqlite:///{folder}/mlflow.db")

    answer = router.predict(table, {"annotate": True})
    assert answer["model_id"].tolist() == [f"flights_dow_{day}" for day in local]


def test_the_demo_leaves_no_server_behind(demo):
    """The port that was served is closed again."""
    said, _ = demo

    assert said["http"]["port"]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{said['http']['port']}/ping", timeout=2)
