"""Routing parameters: 7, 7.0 and "7" are one key, whatever else is declared and whichever way they come."""

from __future__ import annotations

import json
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations

from mmeframe import api
from mmeframe.builtin.param import ParamConf, ParamStrategy
from mmeframe.errors import BadInputError
from mmeframe.plugin import RoutingInputs
from mmeframe.rows.batch import as_batch
from mmeframe.spec import SubModelEntry
from tests import fleets
from tests.route.test_routing import Fleet, made

ROWS = fleets.rows(2)[["x1", "x2"]]
HOLIDAY = "+models.holiday={uri:'models:/all_days@champion',key:{dow:holiday}}"
SPELLED = [3, 3.0, "3", np.int64(3), np.float32(3), np.array(3)]


@pytest.fixture(scope="module", params=[(), (HOLIDAY,)], ids=["whole-keys", "and-a-text"])
def served(request, week) -> tuple[Any, str, str]:
    """A router by the parameter dow: loaded by MLflow, its URI, the store."""
    options = ("routing=param", "routing.param=dow", "+source@sources.days=registry", "sources.days.name='day_{dow}'")
    name = f"params_{len(request.param)}"
    logged = api.build(f"name={name}", *options, *request.param, week.override)
    # The build has tried the example that is stored with the router, with its parameter.
    assert logged.notes == ()
    with fleets.active(week.uri):
        return mlflow.pyfunc.load_model(logged.model_uri, suppress_warnings=True), logged.model_uri, week.uri


@pytest.mark.parametrize("value", SPELLED, ids=lambda value: f"{type(value).__name__}-{value}")
def test_every_spelling_is_one_key_in_process(served, value):
    """The router takes all three for one key, also where another key is text."""
    _, uri, store = served

    found = api.load_router(uri, tracking_uri=store).predict(ROWS, {"dow": value, "annotate": True})

    assert found["model_id"].tolist() == ["day_3", "day_3"]


@pytest.mark.parametrize("value", [3, 3.0, "3"], ids=repr)
def test_every_spelling_is_one_key_for_files(served, tmp_path, value):
    """A file's rows have no parameters; those that are given beside it are taken as in process."""
    _, uri, store = served
    ROWS.to_csv(tmp_path / "rows.csv", index=False)

    api.predict_table(
        uri, tmp_path / "rows.csv", tmp_path / "out.csv", params={"dow": value}, annotate=True, tracking_uri=store
    )

    assert pd.read_csv(tmp_path / "out.csv")["model_id"].tolist() == ["day_3", "day_3"]


def over_http(model: Any, params: Any) -> tuple[int, str]:
    """Status and text of what MLflow's scoring server answers a request with."""
    body = {"dataframe_split": {"columns": ["x1", "x2"], "data": ROWS.to_numpy().tolist()}} | params
    try:
        reply = invocations(json.dumps(body).encode(), "application/json", model, model.metadata.get_input_schema())
    except MlflowException as error:
        return error.get_http_status_code(), error.message
    return reply.status, reply.response


@pytest.mark.parametrize(
    ("params", "status", "text"),
    [
        pytest.param({"params": {"dow": "3"}}, 200, "predictions", id="text"),
        pytest.param({"params": {"dow": 3}}, 400, "to `DataType.string`", id="integer"),
        pytest.param({"params": {"dow": 3.0}}, 400, "to `DataType.string`", id="float"),
        pytest.param({"params": {"dow": True}}, 400, "to `DataType.string`", id="boolean"),
        pytest.param({"params": {"dow": ["3"]}}, 400, "must be a scalar", id="list"),
        pytest.param({"params": {"dow": None}}, 400, "parameter 'dow' was not given", id="null"),
        pytest.param({"params": {}}, 400, "parameter 'dow' was not given", id="left-out"),
        pytest.param({}, 400, "parameter 'dow' was not given", id="no-params"),
        pytest.param({"params": {"dow": "9"}}, 404, "no sub-model for 2 rows: dow=9", id="unknown"),
        pytest.param({"params": {"dow": "03"}}, 404, "no sub-model for 2 rows: dow=03", id="another-text"),
    ],
)
def test_what_a_client_may_send_does_not_depend_on_the_declared_keys(served, params, status, text):
    """A sub-model that joins changes nothing for those who ask for others, in MLflow's server and in Python."""
    model, _, _ = served

    found, said = over_http(model, params)

    assert (found, text in said) == (status, True)
    if found == 200:
        model.predict(ROWS, params=params["params"])
    else:
        with pytest.raises(MlflowException, match=text.replace("`", ".")):
            model.predict(ROWS, params=params.get("params"))


def test_the_declared_signature_is_the_same(served):
    """Text without a default, whatever the keys are."""
    model, _, _ = served

    assert [(it.name, it.dtype.name, it.default) for it in model.metadata.get_params_schema()] == [
        ("dow", "string", None),
        ("annotate", "boolean", None),
    ]


# -- what strategies get ---------------------------------------------------------------------------------------------


class Seen(ParamStrategy):
    """Remembers the parameters that it was given."""

    def inputs(self) -> RoutingInputs:
        return RoutingInputs(params=("dow", "region"))

    def route_keys(self, batch: Any, params: Any) -> Any:
        self.seen = dict(params)
        return params["dow"]


@pytest.mark.parametrize(
    ("params", "seen"),
    [
        *(pytest.param({"dow": value}, {"dow": "3", "region": None}, id=repr(value)) for value in SPELLED),
        pytest.param({"dow": True}, {"dow": "True", "region": None}, id="boolean"),
        pytest.param({"dow": 0.5}, {"dow": "0.5", "region": None}, id="fraction"),
        pytest.param({"dow": ""}, {"dow": "", "region": None}, id="empty-text"),
        pytest.param({"dow": "3", "region": "eu"}, {"dow": "3", "region": "eu"}, id="both"),
        pytest.param({}, {"dow": None, "region": None}, id="left-out"),
        pytest.param({"dow": None}, {"dow": None, "region": None}, id="null"),
        pytest.param({"dow": float("nan")}, {"dow": None, "region": None}, id="nan"),
        pytest.param({"dow": pd.NA, "region": pd.NaT}, {"dow": None, "region": None}, id="NA"),
    ],
)
def test_a_parameter_has_one_type_on_every_way(params, seen):
    """Strategies get a text for what was sent and None for what was not, and every name that they read."""
    strategy = Seen(ParamConf("dow"))
    fleet = Fleet([["p"], []], [SubModelEntry("all", "", {})], parts=["p"])

    made(fleet, {"p": strategy}).reach(as_batch(ROWS), params)

    assert strategy.seen == seen


def test_a_parameter_that_nothing_reads():
    """It would do nothing: the nearest name is offered."""
    fleet = Fleet([["p"], []], [SubModelEntry("all", "", {})], parts=["p"])

    with pytest.raises(BadInputError) as caught:
        made(fleet, {"p": Seen(ParamConf("dow"))}).explain(as_batch(ROWS), {"dwo": 3})

    assert str(caught.value) == (
        "there is no parameter 'dwo'.\n  Did you mean 'dow'? Parameters: annotate, dow, region."
    )
