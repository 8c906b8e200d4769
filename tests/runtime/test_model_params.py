"""Parameters of sub-models: the router declares their union, and each sub-model gets its own."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature

from mmeframe import api
from mmeframe.errors import BadInputError, ProblemsError
from mmeframe.runtime import Router
from tests import fleets
from tests.conftest import Store

OWN = '''
import mlflow

class Told(mlflow.pyfunc.PythonModel):
    """Answers with the parameters that it was given."""
    def predict(self, context, model_input, params=None):
        return [" ".join(f"{name}={value}" for name, value in sorted((params or {}).items()))] * len(model_input)
'''
X = pd.DataFrame({"x": [1.0]})
DECLARED: dict[str, dict[str, Any]] = {
    "near": {"horizon": 1, "unit": "day"},
    "far": {"horizon": 30, "weights": [0.5, 0.5]},
    "plain": {},
}
ALONE = {"near": "horizon=1 unit=day", "far": "horizon=30 weights=[0.5, 0.5]", "plain": ""}
ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0], "key": ["near", "far", "plain"]})
ROUTED = ("routing=column", "routing.column=key")

Saved = Callable[[str, dict[str, Any]], str]


@pytest.fixture(scope="module")
def saved(module_store: Store, importable: Callable[..., Any]) -> Saved:
    """The path of a model that declares parameters: (name, {parameter: default}) -> path."""
    own = importable("own_params", OWN)

    def save(name: str, params: dict[str, Any]) -> str:
        path = str(module_store.folder / name)
        mlflow.pyfunc.save_model(
            path,
            python_model=own.Told(),
            code_paths=[own.__file__],
            signature=infer_signature(X, ["a"], params or None),
            pip_requirements=fleets.pins(),
        )
        return path

    return save


@pytest.fixture(scope="module")
def fleet(saved: Saved) -> list[str]:
    return [f"+models.{name}.uri={saved(name, params)}" for name, params in DECLARED.items()]


@pytest.fixture(scope="module")
def uri(module_store: Store, fleet: list[str]) -> str:
    return api.build("name=params", *ROUTED, *fleet, module_store.override, plugins=fleets.plugins()).model_uri


@pytest.fixture(scope="module")
def model(module_store: Store, uri: str) -> Any:
    """The router as MLflow loads it."""
    with fleets.active(module_store.uri):
        return mlflow.pyfunc.load_model(uri)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({}, list(ALONE.values()), id="none"),
        pytest.param(
            {"horizon": 7}, ["horizon=7 unit=day", "horizon=7 weights=[0.5, 0.5]", ""], id="one-that-two-declare"
        ),
        pytest.param({"unit": "week"}, ["horizon=1 unit=week", ALONE["far"], ""], id="one-that-one-declares"),
        pytest.param({"weights": [1.0]}, [ALONE["near"], "horizon=30 weights=[1.0]", ""], id="list"),
        pytest.param(
            {"horizon": 7, "unit": "week"}, ["horizon=7 unit=week", "horizon=7 weights=[0.5, 0.5]", ""], id="two"
        ),
    ],
)
def test_each_gets_its_own(model, params, expected):
    """Through MLflow and in process; what is left out has each sub-model's own default."""
    router: Router = model.unwrap_python_model().router

    assert list(model.predict(ROWS, params=params)) == expected
    assert list(router.predict(ROWS, params)) == expected
    assert [router.predict(ROWS.iloc[[row]], params)[0] for row in range(3)] == expected


@pytest.mark.parametrize("params", ['{"weights": [1.0]}', '{"horizon": 7}', "{}"])
def test_the_command_line_gives_what_python_does(module_store, model, uri, run, tmp_path, params):
    """Lists too."""
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / "out.jsonl"

    data = f"data={tmp_path / 'rows.csv'}"
    done = run("predict", f"model={uri}", module_store.override, data, "--out", str(out), "--params", params)

    assert done.code == 0, done.err
    found = pd.read_json(out, lines=True)["prediction"].tolist()
    assert found == list(model.predict(ROWS, params=json.loads(params)))


def test_isolated_sub_models_get_them_too(module_store, fleet, make):
    """In a process of their own."""
    router = make(*ROUTED, *fleet, "isolation=process", name="isolated")

    assert router.predict(ROWS, {"horizon": 7}).tolist() == ["horizon=7 unit=day", "horizon=7 weights=[0.5, 0.5]", ""]


def test_the_union_is_declared(model):
    """With the types that sub-models declare; only a list and a time have a default, which MLflow needs."""
    declared = {spec.name: (spec.dtype.name, spec.default) for spec in model.metadata.get_params_schema()}

    assert declared == {
        "horizon": ("long", None),
        "unit": ("string", None),
        "weights": ("double", [0.5, 0.5]),
        "annotate": ("boolean", None),
    }


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "days=[datetime.date(2024, 1, 1)] when=2024-01-01 12:30:00"),
        (
            {"when": "2025-02-03", "days": ["2025-02-03T04:05"]},
            "days=[datetime.datetime(2025, 2, 3, 4, 5)] when=2025-02-03 00:00:00",
        ),
        ({"when": dt.datetime(2025, 2, 3, tzinfo=dt.UTC)}, "days=[datetime.date(2024, 1, 1)] when=2025-02-03 00:00:00"),
    ],
    ids=["left-out", "text", "with-a-zone"],
)
def test_times(make, saved, params, expected):
    """MLflow cannot declare one without a default, and models get Python's own, as from MLflow."""
    times = {"when": dt.datetime(2024, 1, 1, 12, 30), "days": [dt.date(2024, 1, 1)]}  # noqa: DTZ001
    router = make(*ROUTED, f"+models.near.uri={saved(f'times_{len(params)}', times)}", name="times")

    assert router.predict(ROWS.iloc[:1], params).tolist() == [expected]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"horizon": "7"}, "parameter 'horizon' must be long: it holds text, not long.", id="text"),
        pytest.param({"horizon": 7.5}, "parameter 'horizon' must be long: a value is not a whole number.", id="part"),
        pytest.param(
            {"weights": 1.0},
            "parameter 'weights' must be array(double): it holds numbers, not array(double).",
            id="one",
        ),
        pytest.param(
            {"horizn": 7},
            "there is no parameter 'horizn'.\n  Did you mean 'horizon'? Known: ",
            id="misspelt",
        ),
    ],
)
def test_refused(model, params, message):
    """A parameter has its declared type, and is one of those that there are."""
    with pytest.raises(BadInputError) as caught:
        model.unwrap_python_model().router.predict(ROWS, params)

    assert str(caught.value).startswith(message.removesuffix("Known: "))


@pytest.mark.parametrize(
    ("params", "what"),
    [
        pytest.param({"horizon": 1.5}, "its parameter 'horizon' is double, and long in 'far'.", id="type"),
        pytest.param({"weights": [1.0]}, "its parameter 'weights' has another default than in 'far'.", id="list"),
        pytest.param(
            {"annotate": True}, "its parameter 'annotate' has the name of one of the router's.", id="annotate"
        ),
    ],
)
def test_parameters_that_clash(module_store, saved, fleet, params, what):
    """A problem that names both sub-models."""
    overrides = ("name=clash", *ROUTED, *fleet, f"+models.zzz.uri={saved(f'zzz_{next(iter(params))}', params)}")

    with pytest.raises(ProblemsError) as caught:
        api.validate(*overrides, module_store.override, plugins=fleets.plugins())

    assert [(it.where, it.what) for it in caught.value.problems] == [("models.zzz", what)]


def test_a_parameter_of_routing_that_a_sub_model_has_too(module_store, fleet):
    """One value cannot be both."""
    overrides = ("name=clash", "routing=param", "routing.param=horizon", *fleet, module_store.override)

    with pytest.raises(ProblemsError) as caught:
        api.validate(*overrides, plugins=fleets.plugins())

    assert [it.where for it in caught.value.problems] == ["models.far", "models.near"]


def test_the_plan_says_which_has_what(module_store, fleet, run):
    """By parameter."""
    done = run("plan", "name=params", *ROUTED, *fleet, module_store.override)

    assert done.code == 0, done.err
    assert "parameter horizon (long): far, near\n" in done.out
    assert "parameter unit (string): near\n" in done.out
    assert "parameter weights (array(double)): far\n" in done.out
