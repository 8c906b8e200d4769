"""Parameters of sub-models: the router declares their union, and each sub-model gets its own."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import Ridge

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


@pytest.mark.process
@pytest.mark.build
def test_isolated_sub_models_get_them_too(module_store, fleet, make):
    """In a process of their own."""
    router = make(*ROUTED, *fleet, "isolation=process", name="isolated")

    assert router.predict(ROWS, {"horizon": 7}).tolist() == ["horizon=7 unit=day", "horizon=7 weights=[0.5, 0.5]", ""]


# Type of a parameter as MLflow infers it of its default -> values of requests, each as the sub-model alone gets it.
KINDS: dict[str, tuple[Any, list[Any]]] = {
    "long": (1, [5, 2**60]),
    "double": (1.5, [2, 0.1]),
    "string": ("é", ["日本", ""]),
    "boolean": (True, [False]),
    "datetime": (np.datetime64("2024-01-01"), ["2024-02-03", "2024-02-03T04:05:06", np.datetime64("2024-02-03T05")]),
    "dates": ([np.datetime64("2024-01-01")], [["2024-02-03", "2024-02-03T04:05"], []]),
    "texts": (["a"], [["x", "y"], []]),
    "flags": ([True], [[False, True]]),
    "object": ({"a": 1, "b": {"c": [1.5]}}, [{"a": 2, "b": {"c": []}}]),
}


@pytest.fixture(scope="module")
def every(saved: Saved) -> str:
    """The path of a model with a parameter of each type."""
    return saved("every", {name: default for name, (default, _) in KINDS.items()})


@pytest.fixture(scope="module")
def kinds(module_store: Store, saved: Saved, every: str) -> tuple[Any, Any]:
    """It by MLflow, and a router of it and another."""
    one = saved("one", {"object": KINDS["object"][0]})
    overrides = (f"+models.every.uri={every}", f"+models.one.uri={one}")
    logged = api.build("name=kinds", *ROUTED, *overrides, module_store.override, plugins=fleets.plugins())
    with fleets.active(module_store.uri):
        return mlflow.pyfunc.load_model(every), mlflow.pyfunc.load_model(logged.model_uri)


@pytest.mark.parametrize(
    "params", [{}, *({name: value} for name, (_, values) in KINDS.items() for value in values)], ids=str
)
def test_every_type_is_what_the_sub_model_alone_gets(kinds, params):
    """Of every type that MLflow has for parameters, given or left out, asked by MLflow or in Python."""
    alone, model = kinds
    rows = X.assign(key="every")

    expected = alone.predict(X, params=params)

    assert list(model.predict(rows, params=params)) == expected
    assert list(model.unwrap_python_model().router.predict(rows, params)) == expected


def test_the_union_is_declared(model):
    """With the types that sub-models declare; only a list and a time have a default, which MLflow needs."""
    declared = {spec.name: (spec.dtype.name, spec.default) for spec in model.metadata.get_params_schema()}

    assert declared == {
        "horizon": ("long", None),
        "unit": ("string", None),
        "weights": ("double", [0.5, 0.5]),
        "annotate": ("boolean", None),
    }


@pytest.mark.build
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "days=[datetime.date(2024, 1, 1)] when=2024-01-01 12:30:00"),
        (
            {"when": "2025-02-03", "days": ["2025-02-03T04:05"]},
            "days=[datetime.datetime(2025, 2, 3, 4, 5)] when=2025-02-03",
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


@pytest.mark.parametrize(
    ("name", "other", "kind"),
    [
        ("datetime", np.datetime64("2025-01-01"), "datetime"),
        ("dates", [np.datetime64("2025-01-01")], "array(datetime)"),
        ("object", {"a": 2, "b": {"c": [1.5]}}, "object(a: long, b: object(c: array(double)))"),
    ],
)
def test_defaults_that_mlflow_needs_are_one(module_store, saved, every, name, other, kind):
    """MLflow takes no null for the default of a time, a list or an object, so two cannot stand side by side."""
    path = saved(f"other_{name}", {name: other})

    with pytest.raises(ProblemsError) as caught:
        api.validate(
            "name=clash", *ROUTED, f"+models.every.uri={every}", f"+models.zzz.uri={path}", module_store.override
        )

    assert str(caught.value) == (
        f"models.zzz: its parameter {name!r} has another default than in 'every'.\n"
        f"  MLflow needs one default of {kind} for the whole router: log both with the same."
    )


@pytest.mark.build
def test_a_loader_that_takes_none(module_store):
    """A parameter that could not be handed over is found when the router is built, not by a request."""
    path = str(module_store.folder / "estimator")
    mlflow.sklearn.save_model(
        Ridge().fit(X, [1.0]),
        path,
        signature=infer_signature(X, [1.0], {"horizon": 7}),
        pip_requirements=fleets.pins(),
        serialization_format="cloudpickle",
    )
    overrides = ("name=clash", *ROUTED, f"+models.est.uri={path}", module_store.override)

    with pytest.raises(ProblemsError) as caught:
        api.build(*overrides, "+models.est.loader=sklearn", plugins=fleets.plugins())
    logged = api.build(*overrides, plugins=fleets.plugins())

    assert str(caught.value) == (
        "models.est: its signature declares parameters, and its loader takes none.\n"
        "  Set models.est.loader=pyfunc, which hands them over."
    )
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
    assert router.predict(X.assign(key="est"), {"horizon": 3}).tolist() == [1.0]


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
