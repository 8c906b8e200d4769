"""No row depends on the other rows of its batch, nor on how it was sent."""

from __future__ import annotations

import itertools
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mmeframe import api
from mmeframe.errors import BadInputError, ModelError, ProblemsError
from mmeframe.plugin.manager import load_plugins
from mmeframe.runtime import Router
from mmeframe.runtime.batch import as_batch
from mmeframe.spec import Column
from tests import fleets
from tests.conftest import Store

OWN = """
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

class Own(BaseEstimator):
    def fit(self, X, y=None):
        return self

class Seconds(Own):
    '''The seconds of a time, which depend on its unit.'''
    def predict(self, X):
        return X["t"].astype("int64").to_numpy() / 1e9

class Last(Own):
    '''The last three digits of a whole number.'''
    def predict(self, X):
        return (X["id"] % 1000).to_numpy().astype(float)

class Clips(Own):
    '''Changes the frame that it is given.'''
    def predict(self, X):
        X["x1"] = X["x1"].clip(-5, 5)
        return X["x1"].to_numpy()

class Wide(Own):
    '''One value per row, and three where x1 is large.'''
    def predict(self, X):
        return np.ones((len(X), 3)) if (X["x1"] > 100).any() else X["x1"].to_numpy()

class Named(Own):
    '''A number, a text and a truth.'''
    def predict(self, X):
        return pd.DataFrame({"num": X["x1"].to_numpy(), "txt": "t", "yes": True})
"""
COLUMN = ("routing=column", "routing.column=k")
PLUGINS = load_plugins([])
Keep = Callable[..., str]
Make = Callable[..., Router]


@pytest.fixture(scope="module")
def store(template_store, tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("neighbours")
    shutil.copy(template_store / "mlflow.db", folder / "mlflow.db")
    return Store(folder)


@pytest.fixture(scope="module")
def own(store) -> Iterator[Any]:
    """The module of OWN, importable."""
    home = store.folder / "code"
    home.mkdir()
    (home / "own_neighbours.py").write_text(OWN)
    sys.path.insert(0, str(home))
    import own_neighbours

    yield own_neighbours
    sys.path.remove(str(home))


@pytest.fixture(scope="module")
def keep(store, own) -> Keep:
    """Save an estimator as a plain MLflow model folder; returns its path."""
    numbers = itertools.count()

    def save(model: Any, rows: pd.DataFrame) -> str:
        path = store.folder / f"model_{next(numbers)}"
        code = {"code_paths": [own.__file__]} if type(model).__module__ == own.__name__ else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.sklearn.save_model(
                model,
                str(path),
                signature=infer_signature(rows, model.predict(rows.copy())),
                input_example=rows.head(2),
                pip_requirements=fleets.pins(),
                serialization_format="cloudpickle",
                **code,
            )
        return str(path)

    return save


@pytest.fixture(scope="module")
def make(store) -> Make:
    """Build a router and load it."""
    names = (f"neighbours_{number}" for number in itertools.count())

    def build(*overrides: str) -> Router:
        logged = api.build(f"name={next(names)}", *overrides, store.override, plugins=PLUGINS)
        return api.load_router(logged.model_uri, tracking_uri=store.uri)

    return build


NUMBERS = fleets.rows(40)[["x1", "x2"]]


# -- features --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(make, keep) -> tuple[Any, Router]:
    """A model of a text that may be missing, and a router of it and another."""
    rows = pd.DataFrame({"s": pd.Series(["a", "b", np.nan] * 4, dtype="str")})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LinearRegression()).fit(rows, [1.0, 2.0, 100.0] * 4)
    path = keep(model, rows)
    other = keep(Ridge().fit(NUMBERS, NUMBERS["x1"]), NUMBERS)
    return model, make(*COLUMN, f"+models.text.uri={path}", f"+models.other.uri={other}")


SENT = {
    "frame": pd.DataFrame({"s": pd.Series(["a", None, None], dtype="str"), "k": ["text"] * 3}),
    "objects": pd.DataFrame({"s": np.array(["a", None, np.nan], object), "k": ["text"] * 3}),
    "category": pd.DataFrame({"s": pd.Categorical(["a", None, None]), "k": ["text"] * 3}),
    "records": [{"s": "a", "k": "text"}, {"s": None, "k": "text"}, {"s": None, "k": "text"}],
    "columns": {"s": ["a", None, None], "k": ["text"] * 3},
}


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_a_missing_text_is_the_same_text(texts, sent):
    """Whether None, NaN or NA was sent, and whether a row beside it has a text: it is what the model learnt from."""
    _, router = texts

    np.testing.assert_allclose(router.predict(sent), [1.0, 100.0, 100.0], rtol=1e-9)


@pytest.mark.parametrize("others", [["text"], ["other"], ["other", "text"]])
def test_a_missing_text_in_any_company(texts, others):
    """Alone, beside rows of another sub-model, and in a group that has nothing but missing texts."""
    _, router = texts
    keys = ["text", *others]
    frame = pd.DataFrame({"s": [None] * len(keys), "x1": 1.0, "x2": 1.0, "k": keys})

    assert router.predict(frame)[0] == pytest.approx(100.0)
    assert router.predict(frame.head(1))[0] == pytest.approx(100.0)


@pytest.fixture(scope="module")
def times(make, keep, own) -> Router:
    rows = pd.DataFrame({"t": pd.to_datetime(["2020-01-05", "2020-01-06"]).astype("M8[ns]")})
    return make("routing.levels=[[]]", f"+models.all={{uri:'{keep(own.Seconds(), rows)}',key:{{}}}}")


DAY = 1578182400.0


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        pytest.param(["2020-01-05T00:00:00"], [DAY], id="text"),
        pytest.param(
            ["2020-01-05", "2020-01-05T00:00:00.123456789"], [DAY, DAY + 0.123456789], id="beside-nanoseconds"
        ),
        pytest.param(pd.to_datetime(["2020-01-05"]).astype("M8[s]"), [DAY], id="seconds"),
        pytest.param(pd.to_datetime(["2020-01-05"]).astype("M8[us]"), [DAY], id="microseconds"),
        pytest.param(["2020-01-05T01:00:00+01:00", "2020-01-05T02:00:00+02:00"], [DAY, DAY], id="two-offsets"),
        pytest.param(["2020-01-05T00:00:00", "2020-01-05T00:00:00Z"], [DAY, DAY], id="without-and-with-one"),
    ],
)
def test_a_time_is_in_nanoseconds(times, sent, seconds):
    """As MLflow's ``datetime`` is, whatever else is in the batch; a sub-model that counts the unit sees no other."""
    assert times.predict(pd.DataFrame({"t": sent})).tolist() == pytest.approx(seconds, abs=1e-6)


def test_children_of_a_combination_get_their_own_types_and_frames(make, keep, own):
    """A whole number beyond 2 ** 53 reaches the child that has it as one; what a child writes, no other sees."""
    whole, floating = pd.DataFrame({"id": [1, 2]}), pd.DataFrame({"id": [1.5, 2.5]})
    paths = {
        "whole": keep(own.Last(), whole),
        "floating": keep(own.Last(), floating),
        "clips": keep(own.Clips(), NUMBERS),
        "ridge": keep(Ridge().fit(NUMBERS, NUMBERS["x1"]), NUMBERS),
    }
    members = [f"+models.{name}={{uri:'{path}',key:none}}" for name, path in paths.items()]
    pairs = (
        "+models.types={combine:{kind:weighted,of:[whole,floating],weights:[1,0]},key:{k:types}}",
        "+models.frames={combine:{kind:weighted,of:[clips,ridge],weights:[0,1]},key:{k:frames}}",
    )
    router = make(*COLUMN, *members, *pairs)

    exact = router.predict({"id": [2**53 + 1], "k": ["types"]})
    clipped = router.predict(pd.DataFrame({"x1": [50.0, 2.0], "x2": 0.0, "k": "frames"}))

    assert exact.tolist() == [float((2**53 + 1) % 1000)]
    alone = router.score("ridge", pd.DataFrame({"x1": [50.0, 2.0], "x2": 0.0}))
    np.testing.assert_allclose(clipped, alone, rtol=1e-9)


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyed(make, keep, own) -> Router:
    """Keys that doubles cannot tell apart; one that answers oddly, one with named answers; a key that nobody has."""
    ridge = keep(Ridge().fit(NUMBERS, NUMBERS["x1"]), NUMBERS)
    models = (
        f"+models.low={{uri:'{ridge}',key:{{k:{2**53}}}}}",
        f"+models.high={{uri:'{ridge}',key:{{k:{2**53 + 1}}}}}",
    )
    wide = f"+models.wide={{uri:'{keep(own.Wide(), NUMBERS)}',key:{{k:7}}}}"
    return make(*COLUMN, *models, wide, "routing.on_unknown=skip", "output.on_error=skip")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([{"k": 2**53 + 1, "x1": 1.0, "x2": 1.0}, {"k": None, "x1": 1.0, "x2": 1.0}], id="records"),
        pytest.param({"k": [2**53 + 1, None], "x1": [1.0, 1.0], "x2": [1.0, 1.0]}, id="columns"),
    ],
)
def test_large_numbers_keep_their_digits(keyed, sent):
    """Beside a missing one pandas would make them doubles."""
    answer = keyed.predict(sent, {"annotate": True})

    assert answer["model_id"].tolist() == ["high", None]
    assert answer["reason"].tolist() == ["exact", "missing_key"]


def test_a_missing_category_of_whole_numbers(keyed):
    """One row beside other whole numbers: pandas would make INT64_MIN of it."""
    frame = pd.DataFrame({"k": pd.Categorical([7, None], categories=[7, 9]), "x1": [0, 0], "x2": [0, 0]})

    reasons = [keyed.predict(frame.iloc[rows], {"annotate": True})["reason"].tolist() for rows in ([0, 1], [1])]

    assert reasons == [["exact", "missing_key"], ["missing_key"]]


def test_a_missing_category_is_no_feature():
    """Nor is it a number for a sub-model that takes arrays."""
    frame = pd.DataFrame({"x1": pd.Categorical([7, None], categories=[7, 9]), "x2": [0, 0]})
    columns = (Column("x1", "double"), Column("x2", "double"))

    for rows in ([1], [0, 1]):
        found = as_batch(frame.iloc[rows]).matrix(columns)
        assert found is None or np.isnan(found[-1, 0])


# -- rows without an answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [[0], [0, 7]])
def test_features_of_a_row_without_a_sub_model(keyed, keys):
    """Nobody reads them: what is wrong with them is no reason to refuse the others."""
    values = np.array(["bad", 1.0][: len(keys)], object)

    answer = keyed.predict(pd.DataFrame({"k": keys, "x1": values, "x2": 0.0}), {"annotate": True})

    assert answer["reason"].tolist() == ["unknown", "exact"][: len(keys)]


@pytest.mark.parametrize("keys", [[7], [7, 2**53]])
def test_an_answer_of_another_shape_is_a_failure(keyed, keys):
    """Alone or in company, and only of the sub-model that gives it."""
    frame = pd.DataFrame({"k": keys, "x1": [200.0, 1.0][: len(keys)], "x2": 0.0})

    assert keyed.predict(frame, {"annotate": True})["reason"].tolist() == ["model_error", "exact"][: len(keys)]


@pytest.mark.parametrize("keys", [["z"], ["a", "z"]])
def test_nulls_of_named_answers(make, keep, own, keys):
    """None among texts and booleans, NaN among numbers, whether all rows are without an answer or some."""
    path = keep(own.Named(), NUMBERS)
    router = make(*COLUMN, f"+models.a.uri={path}", f"+models.b.uri={path}", "routing.on_unknown=skip")

    answer = router.predict(pd.DataFrame({"k": keys, "x1": 1.0, "x2": 0.0}))

    assert np.isnan(answer["num"].iloc[-1])
    assert [answer[name].iloc[-1] for name in ("txt", "yes")] == [None, None]


# -- gates and combinations that fail, or are switched off -----------------------------------------------------------


@pytest.fixture(scope="module")
def chain(make, keep, own) -> tuple[str, ...]:
    """A gate that fails where x1 is large, and a combination of two."""
    from sklearn.tree import DecisionTreeClassifier

    gate = keep(DecisionTreeClassifier(max_depth=1).fit(NUMBERS, NUMBERS["x1"] > 0), NUMBERS)
    ridge = keep(Ridge().fit(NUMBERS, NUMBERS["x1"]), NUMBERS)
    return (
        "+routing@routing.keys.side=gate",
        "routing.keys.side.model=gate",
        "routing.levels=[[side],[]]",
        f"+models.gate={{uri:'{gate}',key:none}}",
        f"+models.one={{uri:'{ridge}',key:none}}",
        f"+models.two={{uri:'{ridge}',key:none}}",
        "+models.both={combine:{kind:mean,of:[one,two]},key:{side:'True'}}",
        f"+models.all={{uri:'{ridge}',key:{{}}}}",
    )


def test_a_member_that_is_disabled_disables_its_combination(make, chain):
    """It gets no rows, not as part of another one either."""
    router = make(*chain, "disabled_models=[one]")

    answer = router.predict(pd.DataFrame({"x1": [2.0, -2.0], "x2": 0.0}), {"annotate": True})

    assert answer["model_id"].tolist() == ["all", "all"]
    assert answer["reason"].tolist() == ["disabled", "fallback"]


def test_a_gate_cannot_be_disabled(store, chain):
    """It decides where rows go."""
    with pytest.raises(ProblemsError, match=r"^disabled_models: 'gate' is a gate, and decides where rows go\."):
        api.validate("name=bad", *chain, "disabled_models=[gate]", store.override, plugins=PLUGINS)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_gate_that_fails(make, chain, on_error):
    """It fails for all rows: the request, or the rows with a reason."""
    router = make(*chain, f"output.on_error={on_error}")
    frame = pd.DataFrame({"x1": [np.inf, 1.0], "x2": 0.0})

    if on_error == "raise":
        with pytest.raises(ModelError, match="gate: its predict failed with ValueError"):
            router.predict(frame)
        return
    answer = router.predict(frame, {"annotate": True})
    assert answer["reason"].tolist() == ["model_error"] * 2
    assert np.isnan(answer["prediction"]).all()


@pytest.mark.parametrize("value", [["a"], ["a", "b"], np.array([1, 2]), {"a": 1}, ("a", "b")])
def test_a_parameter_is_one_value(make, keep, value):
    """A list would route row by row, or fail, by its length."""
    ridge = keep(Ridge().fit(NUMBERS, NUMBERS["x1"]), NUMBERS)
    router = make("routing=param", "routing.param=k", f"+models.a.uri={ridge}", f"+models.b.uri={ridge}")

    with pytest.raises(BadInputError, match="must be one value"):
        router.predict(NUMBERS.head(2), {"k": value})
