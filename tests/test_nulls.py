"""Rows without an answer are nulls on every way out, and the answers beside them stay what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow.pyfunc import scoring_server
from sklearn.dummy import DummyClassifier, DummyRegressor

from mmeframe import api
from tests import fleets
from tests.conftest import Store

X = pd.DataFrame({"x": [1.0, 2.0]})
BIG = 2**53 + 1
# What the sub-models of four routers always answer, and what pandas makes of it in a file of Parquet.
ANSWERS: dict[str, tuple[Any, str]] = {
    "double": (1.5, "double"),
    "long": (BIG, "int64"),
    "text": ("yes", "string"),
    "boolean": (True, "bool"),
}
ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0], "key": ["a", "nobody", None]})
NOTES = {"model_id": ["a", None, None], "model_version": [None] * 3, "arm": ["main", None, None]}
REASONS = ["exact", "unknown", "missing_key"]
OPTIONS = ("routing=column", "routing.column=key", "routing.on_unknown=skip")


@pytest.fixture(scope="module")
def logged(module_store: Store, keep: Callable[..., str]) -> dict[str, str]:
    """The URIs of routers by what they answer, and of one whose notes have a text where they are missing."""
    found = {}
    for name, (value, _) in ANSWERS.items():
        kind = DummyRegressor if name == "double" else DummyClassifier
        model = kind(strategy="constant", constant=value).fit(X, [value, value])
        path = keep(model, X, np.array([value, value]))
        options = (f"+models.a.uri={path}", module_store.override)
        found[name] = api.build(f"name={name}", *OPTIONS, *options, plugins=fleets.plugins()).model_uri
        if name == "double":
            noted = ("name=noted", "output.missing_note=none", "output.annotate=true")
            found["noted"] = api.build(*noted, *OPTIONS, *options, plugins=fleets.plugins()).model_uri
    return found


@pytest.fixture(scope="module")
def load(module_store: Store, logged: dict[str, str]) -> Callable[[str], Any]:
    """A router as MLflow loads it, by what it answers."""
    known: dict[str, Any] = {}

    def loaded(name: str) -> Any:
        if name not in known:
            with fleets.active(module_store.uri):
                known[name] = mlflow.pyfunc.load_model(logged[name])
        return known[name]

    return loaded


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("keys", [["a", "nobody", None], ["nobody", "a", "a"], ["nobody", None, "nobody"]])
def test_in_python(load, name, keys):
    """Doubles keep NaN; texts, booleans and whole numbers have None beside them, and stay what they are."""
    value = ANSWERS[name][0]
    answer = load(name).predict(ROWS.assign(key=np.array(keys, object)))

    for given, key in zip(np.asarray(answer, object), keys, strict=True):
        if key == "a":
            assert (given, type(given)) == (value, type(value))
        else:
            assert np.isnan(given) if name == "double" else given is None


BODIES = {
    "split": ("application/json", lambda rows: json.dumps({"dataframe_split": _split(rows)})),
    "records": ("application/json", lambda rows: json.dumps({"dataframe_records": _records(rows)})),
    "inputs": ("application/json", lambda rows: json.dumps({"inputs": _split(rows, orient="list")})),
    "instances": ("application/json", lambda rows: json.dumps({"instances": _records(rows)})),
    "csv": ("text/csv", lambda rows: rows.to_csv(index=False)),
    "parquet": ("application/vnd.apache.parquet", lambda rows: rows.to_parquet(index=False)),
}


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.astype(object).where(rows.notna(), None)


def _records(rows: pd.DataFrame) -> Any:
    return _plain(rows).to_dict("records")


def _split(rows: pd.DataFrame, orient: Any = "split") -> Any:
    return _plain(rows).to_dict(orient)


def no_json(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the processes that MLflow starts to serve."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")


@pytest.mark.parametrize("way", BODIES)
@pytest.mark.parametrize("name", ANSWERS)
def test_over_http(load, serving, name, way):
    """JSON has null for all of them, in every form of request."""
    content, body = BODIES[way]
    reply = scoring_server.invocations(body(ROWS), content, load(name), None)

    found = json.loads(reply.response, parse_constant=no_json)["predictions"]
    assert (reply.status, found) == (200, [ANSWERS[name][0], None, None])


@pytest.mark.parametrize("way", BODIES)
def test_notes_over_http(load, serving, way):
    """A text of the user's in place of the notes that rows have not; the answer itself stays null."""
    content, body = BODIES[way]
    reply = scoring_server.invocations(body(ROWS), content, load("noted"), None)

    found = json.loads(reply.response, parse_constant=no_json)["predictions"]
    assert found == {
        "prediction": [1.5, None, None],
        "model_id": ["a", "none", "none"],
        "model_version": ["none"] * 3,
        "reason": REASONS,
        "arm": ["main", "none", "none"],
    }


def test_notes_in_python(load):
    """None where there are none, or the text."""
    answer = load("double").predict(ROWS, params={"annotate": True})
    noted = load("noted").predict(ROWS)

    assert {name: answer[name].tolist() for name in NOTES} == NOTES
    assert noted["model_id"].tolist() == ["a", "none", "none"]


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_can_be_null_are_optional(load, name):
    """The signature says so, to whoever makes types of it."""
    assert [spec.required for spec in load(name).metadata.get_output_schema()] == [False]


def test_notes_that_have_a_text_are_never_null(load):
    """The reason never is, and the others are not where they have a text."""
    schema = load("noted").metadata.get_output_schema()

    assert {spec.name: spec.required for spec in schema} == {
        "prediction": False,
        "model_id": True,
        "model_version": True,
        "reason": True,
        "arm": True,
    }


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_in_files(run, tmp_path, module_store, logged, name, suffix):
    """``mmeframe predict`` leaves cells empty, writes null, and keeps the type of the column."""
    value, kind = ANSWERS[name]
    ROWS.to_parquet(tmp_path / "rows.parquet", index=False)
    out = tmp_path / f"scored{suffix}"
    done = run(
        "predict", f"model={logged[name]}", f"data={tmp_path}/rows.parquet", "--out", str(out), module_store.override
    )

    assert done.code == 0, done.err
    if suffix == ".parquet":
        table = pq.read_table(out)
        assert table["prediction"].to_pylist() == [value, None, None]
        assert str(table.schema.field("prediction").type).removeprefix("large_") == kind
    elif suffix == ".jsonl":
        lines = [json.loads(line, parse_constant=no_json) for line in out.read_text().splitlines()]
        assert [line["prediction"] for line in lines] == [value, None, None]
    else:
        assert out.read_text().splitlines()[1:] == [f"1.0,a,{value}", "2.0,nobody,", "3.0,,"]
