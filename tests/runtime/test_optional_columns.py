"""A column that a row may leave out: the row is answered as it is alone, whoever is beside it, on every path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from mmeframe import api
from mmeframe.errors import BadInputError
from mmeframe.runtime import Router
from tests import fleets
from tests.conftest import Store

# A model that says which columns it got, and which key a row has by one of them.
OWN = """
import mlflow

class Named(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        names = [name for name in model_input.columns if name != "x"]
        kinds = " ".join(f"{name}:{model_input[name].dtype}" for name in names)
        values = model_input[names].astype(str).agg(" ".join, axis=1) if names else [""] * len(model_input)
        return [f"{kinds} {value}".strip() for value in values]

class Gate(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return ["with" if "n" in model_input else "without"] * len(model_input)
"""
VALUES: dict[str, Any] = {"integer": np.int32(3), "long": 2**60 + 1, "boolean": True}
TYPES = {"integer": "int32", "long": "int64", "boolean": "bool"}
Saved = Callable[..., str]


@pytest.fixture(scope="module")
def saved(module_store: Store, importable: Callable[..., Any]) -> Saved:
    """The path of a model with a double x and optional columns: (class, {name: type}) -> path."""
    own = importable("own_optional", OWN)

    def save(kind: str, optional: dict[str, str]) -> str:
        path = str(module_store.folder / "_".join([kind, *optional, *optional.values()]))
        columns = [ColSpec(DataType.double, "x")]
        columns += [ColSpec(DataType[type_], name, required=False) for name, type_ in optional.items()]
        mlflow.pyfunc.save_model(
            path,
            python_model=getattr(own, kind)(),
            code_paths=[own.__file__],
            signature=ModelSignature(Schema(columns), Schema([ColSpec(DataType.string)])),
            pip_requirements=fleets.pins(),
        )
        return path

    return save


@pytest.fixture(scope="module")
def router(module_store: Store, saved: Saved) -> Router:
    """Keys integer, long and boolean have one optional column of that type, both has two; vote combines."""
    paths = {kind: saved("Named", {kind: kind}) for kind in TYPES}
    both = saved("Named", {"long": "long", "boolean": "boolean"})
    logged = api.build(
        "name=optional",
        "routing=column",
        "routing.column=key",
        *[f"+models.{kind}.uri={path}" for kind, path in paths.items()],
        f"+models.both.uri={both}",
        f"+models.one={{uri:'{both}',key:none}}",
        "+models.vote.combine={kind:vote,of:[one,long]}",
        module_store.override,
        plugins=fleets.plugins(),
    )
    return api.load_router(logged.model_uri, tracking_uri=module_store.uri)


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Values as they are, None where a row has none."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})


@pytest.mark.parametrize("key", [*TYPES, "vote"])
def test_with_and_without(router, key):
    """Beside one another in any order, as alone: the value with its own type, or no such column at all."""
    kind = "long" if key == "vote" else key
    has, lacks = {"key": key, "x": 1.0, kind: VALUES[kind]}, {"key": key, "x": 2.0}
    answers = [f"{kind}:{TYPES[kind]} {VALUES[kind]}", ""]

    assert [router.predict(frame([row]))[0] for row in (has, lacks)] == answers
    assert router.predict(frame([has, lacks])).tolist() == answers
    assert router.predict(frame([lacks, has, lacks])).tolist() == [answers[1], answers[0], answers[1]]


def test_two_of_them(router):
    """Each row has its own."""
    rows = [
        {"key": "both", "x": 1.0, **more}
        for more in ({}, {"long": 5}, {"boolean": False}, {"long": 7, "boolean": True})
    ]

    assert router.predict(frame(rows)).tolist() == [
        "",
        "long:int64 5",
        "boolean:bool False",
        "long:int64 boolean:bool 7 True",
    ]


def test_beside_other_sub_models(router):
    """Groups are cut from one batch."""
    rows = [{"key": kind, "x": 1.0} | ({kind: VALUES[kind]} if full else {}) for full in (0, 1) for kind in TYPES]

    assert router.predict(frame(rows)).tolist() == ["", "", "", *(f"{k}:{TYPES[k]} {VALUES[k]}" for k in TYPES)]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_every_null(router, missing):
    """However it is written."""
    rows = [{"key": "long", "x": 1.0, "long": value} for value in (missing, 4)]

    assert router.predict(frame(rows)).tolist() == ["", "long:int64 4"]


def test_what_is_sent_is_still_checked(router):
    """Also beside a null."""
    rows = [{"key": "long", "x": 1.0, "long": value} for value in (None, 4.5)]

    with pytest.raises(BadInputError, match="column 'long' must be long: 1 rows are not whole numbers"):
        router.predict(frame(rows))


@pytest.mark.build
def test_a_gate_decides_by_them(module_store, saved):
    """What routes is asked about each row as it is alone, in the router and before it is built."""
    path = saved("Named", {"n": "long"})
    overrides = (
        "name=gated",
        "routing=gate",
        "routing.model=gate",
        f"+models.gate={{uri:'{saved('Gate', {'n': 'long'})}',key:none}}",
        f"+models.with.uri={path}",
        f"+models.without.uri={path}",
        module_store.override,
    )
    rows = frame([{"x": 1.0}, {"x": 2.0, "n": 5}, {"x": 3.0}])
    rows.to_json(module_store.folder / "rows.json", orient="records")
    found = api.explain(*overrides, data=module_store.folder / "rows.json", plugins=fleets.plugins())
    router = api.load_router(api.build(*overrides, plugins=fleets.plugins()).model_uri, tracking_uri=module_store.uri)

    assert [row["model_id"] for row in found] == ["without", "with", "without"]
    assert router.predict(rows, {"annotate": True})["model_id"].tolist() == ["without", "with", "without"]
