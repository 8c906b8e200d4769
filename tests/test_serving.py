"""The router behind MLflow's unmodified scoring server, asked over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmeframe import api
from tests import fleets, inputs, servers
from tests.causes import causes
from tests.servers import Endpoint


@pytest.fixture(scope="module")
@causes("process", "smoke")
def annotated(week, tmp_path_factory) -> Iterator[Endpoint]:
    """A router that always annotates, served by name and alias with ``mlflow models serve``."""
    api.build("name=annotated", *fleets.WEEK, week.override, "output.annotate=true", "tracking.alias=live")
    env = {"MLFLOW_TRACKING_URI": week.uri}
    with servers.mlflow_serve("models:/annotated@live", cwd=tmp_path_factory.mktemp("serve"), env=env) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
@causes("process")
def by_param(week, tmp_path_factory) -> Iterator[Endpoint]:
    """A router by request parameter, served with ``mmeframe serve``."""
    overrides = ("name=by_param", "routing=param", "routing.param=dow", "+source@sources.days=registry")
    api.build(*overrides, "sources.days.name='day_{dow}'", week.override, "tracking.alias=live")
    port = servers.free_port()
    command = [
        sys.executable,
        "-m",
        "mmeframe",
        "serve",
        "model=models:/by_param@live",
        f"serve.port={port}",
        week.override,
    ]
    url = f"http://127.0.0.1:{port}"
    with servers.running(command, f"{url}/ping", cwd=tmp_path_factory.mktemp("serve")) as process:
        # The command became the server: it has no child that serves in its place.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children == []
        yield Endpoint(url)


@pytest.mark.parametrize(("frame", "ids", "reasons"), inputs.ANSWERED)
def test_parquet_rows_are_routed(annotated, frame, ids, reasons):
    """Parquet keeps types, and every kind of key column gets what it gets in process."""
    reply = annotated.parquet(frame)

    assert reply.status == 200
    assert reply.body["predictions"]["model_id"] == ids
    assert reply.body["predictions"]["reason"] == reasons
    assert len(reply.body["predictions"]["prediction"]) == len(ids)


@pytest.mark.parametrize(
    ("frame", "ids", "reasons"),
    [case for case in inputs.ANSWERED if case.id != "duplicate-index"],
)
def test_json_rows_are_routed(annotated, frame, ids, reasons):
    """JSON keeps text and numbers apart."""
    reply = annotated.json(frame)

    assert reply.status == 200
    assert reply.body["predictions"]["model_id"] == ids
    assert reply.body["predictions"]["reason"] == reasons


def test_csv_rows_are_routed(annotated):
    """CSV carries no parameters: the key is a column, and an empty cell falls back."""
    reply = annotated.post(b"x1,x2,dow\n0.5,1.0,3\n0.1,0.2,\n", "text/csv")

    assert reply.status == 200
    assert reply.body["predictions"]["model_id"] == ["day_3", "everyone"]


@pytest.mark.parametrize("shape", ["inputs", "instances", "dataframe_records"])
def test_every_json_shape_is_routed(annotated, shape):
    """All of MLflow's request shapes reach the same sub-models."""
    records = [{"x1": 0.5, "x2": 1.0, "dow": 3}, {"x1": 0.1, "x2": 0.2, "dow": 5}]
    columns = {name: [row[name] for row in records] for name in records[0]}

    reply = annotated.raw({shape: columns if shape == "inputs" else records})

    assert reply.status == 200
    assert reply.body["predictions"]["model_id"] == ["day_3", "day_5"]


@pytest.mark.parametrize(("frame", "text"), inputs.REFUSED)
def test_bad_rows_are_a_400(annotated, frame, text):
    """The body says what is wrong, in the words of the router."""
    reply = annotated.parquet(frame)

    assert reply.status == 400
    assert text in reply.body["message"]
    assert reply.body["error_code"] == "INVALID_PARAMETER_VALUE"


def test_values_equal_those_in_process(annotated, week):
    """HTTP adds nothing and loses nothing: floats survive JSON."""
    frame = fleets.rows(40)
    router = api.load_router("models:/annotated@live", tracking_uri=week.uri)

    reply = annotated.json(frame)

    assert reply.body["predictions"]["prediction"] == router.answer(frame).values.tolist()


def test_the_stored_example_is_a_request_that_works(annotated, week):
    """Whoever takes serving_input_example.json from the model gets an answer."""
    import mlflow

    with fleets.active(week.uri):
        folder = Path(mlflow.artifacts.download_artifacts("models:/annotated@live"))

    reply = annotated.post((folder / "serving_input_example.json").read_bytes(), "application/json")

    assert reply.status == 200
    assert reply.body["predictions"]["model_id"] == ["day_0", "day_1", "day_2"]


def test_a_parameter_routes_the_request(by_param):
    """As in MLflow's tutorial: one key for all rows of a request."""
    frame = fleets.rows(4)[["x1", "x2"]]

    reply = by_param.json(frame, {"dow": "3"})

    expected = fleets.fitted(3).predict(frame)
    np.testing.assert_allclose(reply.body["predictions"], expected, rtol=1e-12, atol=1e-14)


def test_one_call_can_ask_for_annotations(by_param):
    """The parameter annotate needs no rebuild."""
    reply = by_param.json(fleets.rows(2)[["x1", "x2"]], {"dow": "3", "annotate": True})

    assert reply.body["predictions"]["model_id"] == ["day_3", "day_3"]


@pytest.mark.parametrize(
    ("params", "status", "text"),
    [
        pytest.param({}, 400, "parameter 'dow' was not given", id="left-out"),
        pytest.param(None, 400, "parameter 'dow' was not given", id="no-params-at-all"),
        pytest.param({"dow": None}, 400, "parameter 'dow' was not given", id="null"),
        pytest.param({"dwo": "1"}, 400, "check the spelling", id="misspelt"),
        pytest.param({"dow": 1}, 400, "DataType.string", id="integer"),
        pytest.param({"dow": 1.0}, 400, "DataType.string", id="float"),
        pytest.param({"dow": "9"}, 404, "no sub-model for 2 rows: dow=9", id="unknown"),
    ],
)
def test_no_parameter_ever_routes_by_accident(by_param, params, status, text):
    """MLflow's tutorial answers a request without its parameter with Tuesday's model; here it is an error."""
    reply = by_param.json(fleets.rows(2)[["x1", "x2"]], params)

    assert reply.status == status
    assert text in reply.text


@pytest.mark.process
@pytest.mark.build
def test_a_router_is_served_without_mmeframe_installed(week, tmp_path, monkeypatch):
    """A new environment with only the recorded requirements loads and serves the router: it carries its own code."""
    import mlflow

    logged = api.build("name=portable", *fleets.WEEK, week.override, "output.annotate=true")
    with fleets.active(week.uri):
        folder = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    install = [
        f"{venv}/bin/pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        # Most of what is installed is never imported.
        "--no-compile",
        "-r",
        f"{folder}/requirements.txt",
    ]
    subprocess.run(install, check=True)
    absent = (
        "import importlib.util as u; print([n for n in ('mmeframe', 'hydra', 'omegaconf', 'pluggy') if u.find_spec(n)])"
    )
    found = subprocess.run(
        [f"{venv}/bin/python", "-c", absent], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert json.loads(found.stdout) == []

    with servers.mlflow_serve(str(folder), cwd=tmp_path, path=f"{venv}/bin") as endpoint:
        reply = endpoint.json(fleets.rows(9))

    assert reply.status == 200
    assert reply.body["predictions"]["model_id"] == [f"day_{day % 7}" for day in range(9)]
