"""Sub-models whose columns are numbers: 0, 1 and 2, or years. Their names are text in requests, and numbers to them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc.scoring_server import invocations
from mlflow.types import ColSpec, Schema
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge

from mmeframe import api
from mmeframe.errors import BadInputError
from mmeframe.fleet.signature import read_columns, read_outputs
from mmeframe.rows.batch import as_batch
from mmeframe.spec import Column
from tests import flavors, fleets
from tests.conftest import Store

ROUTED = ("routing=column", "routing.column=key")
QUIET = {"verbose": -1, "min_child_samples": 2, "n_estimators": 3, "num_threads": 1}
CAT = {"iterations": 3, "verbose": False, "allow_writing_files": False, "thread_count": 1}
VALUES = np.random.default_rng(0).standard_normal((40, 3))

# Kind of names -> those of three columns.
NAMES: dict[str, list[Any]] = {
    "from_zero": [0, 1, 2],
    "from_one": [1, 2, 3],
    "years": [2021, 2019, 2020],
    "fractions": [0.5, 1.5, 2.0],
    "mixed": ["a", 1, 2019],
}
LIBRARIES: dict[str, tuple[str, Callable[[], Any]]] = {
    "ridge": ("sklearn", Ridge),
    "by_label": ("sklearn", lambda: ByLabel()),
    "xgb": ("xgboost", lambda: xgboost.XGBRegressor(n_estimators=3, n_jobs=1)),
    "lgb": ("lightgbm", lambda: lightgbm.LGBMRegressor(**QUIET)),
    "cat": ("catboost", lambda: catboost.CatBoostRegressor(**CAT)),
}
# scikit-learn fits no frames whose names are of several types.
TRIED = [(kind, name) for kind in NAMES for name in LIBRARIES if (kind, name) != ("mixed", "ridge")]


class ByLabel(BaseEstimator):
    """Answers with a column that it names as it was named when this was fitted."""

    def fit(self, frame: pd.DataFrame, target: Any) -> ByLabel:
        del target
        self.label_ = frame.columns[-1]
        return self

    def predict(self, frame: pd.DataFrame) -> Any:
        return frame[self.label_].to_numpy() * 2


def table(kind: str) -> pd.DataFrame:
    return pd.DataFrame(VALUES, columns=NAMES[kind])


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """Id -> a model that was fitted on numbered columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            f"{kind}_{name}": LIBRARIES[name][1]().fit(table(kind), VALUES @ [1.0, -2.0, 3.0]) for kind, name in TRIED
        }


@pytest.fixture(scope="module")
def routers(module_store: Store, models: dict[str, Any]) -> dict[str, Any]:
    """Kind of names -> the router of all libraries, as MLflow loads it."""
    found = {}
    for kind in NAMES:
        paths = {
            name: flavors.keep(module_store.folder, LIBRARIES[name][0], models[f"{kind}_{name}"], table(kind))
            for it, name in TRIED
            if it == kind
        }
        entries = ",".join(f"{id_}:{{uri:{path}}}" for id_, path in paths.items())
        logged = api.build(
            f"name={kind}", *ROUTED, f"+models={{{entries}}}", module_store.override, plugins=fleets.plugins()
        )
        assert logged.notes == ()
        with fleets.active(module_store.uri):
            found[kind] = flavors.load(logged.model_uri)
    return found


def csv(frame: pd.DataFrame) -> tuple[str, str]:
    return frame.to_csv(index=False), "text/csv"


def split(frame: pd.DataFrame) -> tuple[str, str]:
    found = {"columns": list(frame), "data": frame.to_numpy(object).tolist()}
    return json.dumps({"dataframe_split": found}), "application/json"


def records(frame: pd.DataFrame) -> tuple[str, str]:
    return json.dumps({"dataframe_records": frame.to_dict("records")}), "application/json"


def inputs(frame: pd.DataFrame) -> tuple[str, str]:
    return json.dumps({"inputs": frame.to_dict("list")}), "application/json"


def asked(model: Any, sent: Any) -> Any:
    """In Python, or as MLflow's server asks."""
    if not isinstance(sent, tuple):
        return np.asarray(model.predict(sent))
    answer = invocations(*sent, model, None)
    assert answer.status == 200, answer.response
    return np.asarray(json.loads(answer.response)["predictions"])


WAYS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "frame": lambda frame: frame,
    "text": lambda frame: frame.set_axis([*map(str, frame)], axis=1),
    "turned": lambda frame: frame[list(frame)[::-1]],
    "columns": lambda frame: frame.to_dict("list"),
    "rows": lambda frame: frame.to_dict("records"),
    "split": split,
    "records": records,
    "inputs": inputs,
    "csv": csv,
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("kind", list(NAMES))
def test_numbered_columns_are_sent_as_numbers_and_as_text(routers, models, kind, way):
    """Each row has its sub-model's own answer, on every way, in a batch of several and alone."""
    ids = [name for it, name in TRIED if it == kind]
    frame = table(kind).head(10)
    rows = frame.assign(key=np.resize(ids, 10))

    found = asked(routers[kind], WAYS[way](rows))
    alone = asked(routers[kind], WAYS[way](rows.iloc[[3]]))

    own = {name: flavors.asked(models[f"{kind}_{name}"], frame) for name in ids}
    np.testing.assert_allclose(found, [own[key][row] for row, key in enumerate(rows["key"])], rtol=1e-6)
    np.testing.assert_allclose(alone, found[3:4], rtol=1e-6)


def test_names_are_text_everywhere_else(routers):
    """The router's own schema has texts, whatever its sub-models call their columns."""
    router = routers["years"].unwrap_python_model().router

    assert [column.name for column in router.union] == ["2021", "2019", "2020"]


def test_a_column_that_is_missing_is_named(routers):
    """By its name, and not as a frame without names."""
    router = routers["from_zero"].unwrap_python_model().router

    with pytest.raises(BadInputError, match=r"column '2' \(double\) is missing"):
        router.predict(pd.DataFrame({0: [1.0], 1: [2.0], "key": ["ridge"]}))


@pytest.mark.parametrize("declared", [[], ["x1", "3"]], ids=["none", "others"])
def test_frames_without_names_are_told_where_nobody_declares_numbers(declared):
    """Columns 0, 1, 2 are what Spark sends without a struct, where none of these is a name."""
    frame = pd.DataFrame([[1.0, 2.0, 3.0]])
    as_batch(frame, ["1"])

    with pytest.raises(BadInputError, match="the columns have no names, only numbers"):
        as_batch(frame, declared)


@pytest.mark.build
def test_pyfunc_gets_its_numbers(module_store):
    """MLflow's own wrapper, which looks for the names in the signature, finds them."""

    class Second(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            return model_input[2] * 10

    path = str(module_store.folder / "second")
    signature = infer_signature(table("from_one"), VALUES[:, 1])
    mlflow.pyfunc.save_model(path, python_model=Second(), signature=signature, pip_requirements=fleets.pins())
    logged = api.build("name=second", *ROUTED, f"+models.m.uri={path}", module_store.override, plugins=fleets.plugins())
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    np.testing.assert_array_equal(router.predict(table("from_one").assign(key="m")), VALUES[:, 1] * 10)


# -- gates, combinations, examples -------------------------------------------------------------------------------------


@pytest.mark.build
def test_gates_and_combinations_get_their_numbers(make, keep):
    """Whoever asks a sub-model hands over the names that it knows."""
    frame = table("from_zero")
    one, two = (Ridge().fit(frame, VALUES @ weights) for weights in ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]))
    gate = LogisticRegression().fit(frame, np.where(VALUES[:, 0] > 0, "both", "one"))
    paths = {"one": keep(one, frame), "two": keep(two, frame), "gate": keep(gate, frame)}
    router = make(
        "routing=gate",
        "routing.model=gate",
        *(f"+models.{id_}.uri={path}" for id_, path in paths.items()),
        "+models.gate.key=none",
        "+models.two.key=none",
        "+models.both={combine:{kind:mean,of:[one,two]}}",
    )

    answer = router.predict(frame)

    both = (one.predict(frame) + two.predict(frame)) / 2
    np.testing.assert_allclose(answer, np.where(gate.predict(frame) == "both", both, one.predict(frame)), rtol=1e-9)


@pytest.mark.build
def test_logged_examples_are_read(make, keep):
    """The rows that a sub-model was logged with prove it, and have its names."""
    frame = table("years")

    class Strict(BaseEstimator):
        def predict(self, rows: pd.DataFrame) -> Any:
            assert list(rows.columns) == [2021, 2019, 2020]
            return rows[2019].to_numpy()

    router = make(*ROUTED, f"+models.m.uri={keep(Strict(), frame, input_example=frame.head(2))}")

    np.testing.assert_array_equal(router.predict(frame.assign(key="m")), frame[2019])


# -- answers -----------------------------------------------------------------------------------------------------------


class Wide(BaseEstimator):
    """Answers with a frame whose columns have these names."""

    def __init__(self, names: Any) -> None:
        self.names = names

    def predict(self, rows: pd.DataFrame) -> Any:
        return pd.DataFrame(rows.to_numpy()[:, : len(self.names)], columns=self.names)


@pytest.mark.build
@pytest.mark.parametrize("names", [[0, 1], [1, 2], ["a", 1], [0], [1.5, 0.5]], ids=str)
def test_answers_with_numbered_columns(make, keep, names):
    """Their names are text; one column is a prediction, whatever its name."""
    frame = pd.DataFrame(VALUES, columns=["x", "y", "z"])
    paths = {"one": keep(Wide(names), frame), "two": keep(Wide(names[::-1]), frame)}
    router = make(*ROUTED, *(f"+models.{id_}.uri={path}" for id_, path in paths.items()))

    answer = router.predict(frame.head(4).assign(key=["one", "two"] * 2))

    own = VALUES[:4, : len(names)].copy()
    own[1::2] = own[1::2, ::-1]
    np.testing.assert_array_equal(answer, own if len(names) > 1 else own[:, 0])
    assert list(getattr(answer, "columns", ["0"])) == [*map(str, names)]


# -- schemas -----------------------------------------------------------------------------------------------------------


def test_a_number_and_its_text_are_one_name():
    """Two columns that would have one name are refused."""
    schema = Schema([ColSpec("double", 1), ColSpec("double", "1")])

    assert read_columns(schema) == "its signature has two columns named '1', one of them a number."


@pytest.mark.parametrize("names", [[("a", 1), ("a", 2)], ["a", None], [float("nan")], [("a",)]], ids=str)
def test_names_that_are_no_names_are_refused(names):
    """Levels, and gaps, which MLflow writes as lists and NaN."""
    signature = infer_signature(pd.DataFrame(np.zeros((2, len(names))), columns=pd.Index(names)))
    read = ModelSignature.from_dict(json.loads(json.dumps(signature.to_dict())))

    assert str(read_columns(read.inputs)).endswith("which is no text and no number.")


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=50)
@given(st.lists(NUMBERS | st.text(min_size=1), min_size=2, max_size=5, unique_by=str))
def test_any_names_come_back_as_the_sub_model_has_them(names):
    """Through MLflow's file and ours: text for the router, and the number, of its own type, for the sub-model."""
    schema = Schema([ColSpec("double", name) for name in names])
    signature = ModelSignature.from_dict(json.loads(json.dumps(ModelSignature(schema, schema).to_dict())))

    columns = [Column(*json.loads(json.dumps(column.to_json()))) for column in read_columns(signature.inputs)]

    assert [column.name for column in columns] == [*map(str, names)]
    assert [(type(column.label), column.label) for column in columns] == [(type(name), name) for name in names]
    assert [column.name for column in read_outputs(signature.outputs).columns] == [*map(str, names)]
