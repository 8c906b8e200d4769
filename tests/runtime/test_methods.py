"""What sub-models are asked (``output.method``), what comes back, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mmeframe import api
from mmeframe.cli import main
from mmeframe.errors import BadInputError, ModelError, ProblemsError
from mmeframe.plugin import canonical
from mmeframe.runtime import Router
from tests import fleets, servers
from tests.conftest import Store

# A model that ships its own code: it answers with a frame, and refuses rows that it does not like.
OWN = '''
import pandas as pd
from sklearn.base import BaseEstimator

class Range(BaseEstimator):
    """Answers with a lower and an upper end, in columns of the order that it was told."""
    def __init__(self, columns=("low", "high")):
        self.columns = columns
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        ends = {"low": X["x1"] - 1, "high": X["x1"] + 1}
        return pd.DataFrame({name: ends[name].to_numpy() for name in self.columns})

class Picky(BaseEstimator):
    """Doubles x1, and raises with the row in its text where x1 is above 5."""
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        if (X["x1"] > 5).any():
            raise RuntimeError(f"cannot take s3cr3t {X['x1'].max()}")
        return X["x1"].to_numpy() * 2
'''
ROUTED = ("routing=column", "routing.column=key")
ROWS = fleets.rows(120)[["x1", "x2"]]
# 0, 1, 2 and 10: as text 10 would stand before 2.
LABELS = np.array([0, 1, 2, 10])[np.digitize(ROWS["x1"], [-0.7, 0.0, 0.7])]
PLUGINS = fleets.plugins()
Keep = Callable[..., str]
Make = Callable[..., Router]


@pytest.fixture(scope="module")
def own(importable: Callable[..., Any]) -> Any:
    """The module of OWN."""
    return importable("own_estimators", OWN)


def routed(models: dict[str, str]) -> tuple[str, ...]:
    """Overrides of a router of sub-models by id, which is also their key."""
    return (*ROUTED, *(f"+models.{id_}.uri={path}" for id_, path in models.items()))


@pytest.fixture(scope="module")
def refused(module_store: Store) -> Callable[..., str]:
    """The report of validate on a config that it refuses."""

    def report(models: dict[str, str], *overrides: str) -> str:
        with pytest.raises(ProblemsError) as caught:
            api.validate("name=bad", *routed(models), module_store.override, *overrides, plugins=PLUGINS)
        return str(caught.value)

    return report


def lines(report: str) -> list[str]:
    """The problems of a report, without their hints."""
    return [line for line in report.splitlines() if not line.startswith("  ")]


def classifier(labels: Any, known: Any = None) -> LogisticRegression:
    """A classifier of ROWS that has seen only rows with some labels."""
    seen = np.isin(labels, known) if known is not None else np.ones(len(labels), bool)
    return LogisticRegression().fit(ROWS[seen], np.asarray(labels)[seen])


def expected(models: dict[str, Any], rows: pd.DataFrame, method: str, classes: list[Any], fill: float) -> np.ndarray:
    """Each row by its own model's method; ``fill`` where that has never seen a class."""
    found = np.full((len(rows), len(classes)), fill)
    for row, key in enumerate(rows["key"]):
        answer = getattr(models[key], method)(rows[["x1", "x2"]].iloc[[row]])[0]
        for label, value in zip(models[key].classes_, answer, strict=True):
            found[row, classes.index(label)] = value
    return found


# -- classes ---------------------------------------------------------------------------------------------------------

FEW, SOME, ALL = classifier(LABELS, [0, 1, 2]), classifier(LABELS, [1, 2, 10]), classifier(LABELS)
PIPE = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS % 10)
NUMBERED = {"few": FEW, "some": SOME, "all": ALL, "pipe": PIPE}
MIXED = ROWS.head(12).assign(key=["few", "some", "all", "pipe"] * 3)


@pytest.fixture(scope="module")
def numbered(keep: Keep) -> dict[str, str]:
    return {name: keep(model, ROWS) for name, model in NUMBERED.items()}


@pytest.fixture(scope="module")
def proba(make: Make, numbered: dict[str, str]) -> Router:
    return make(*routed(numbered), "output.method=predict_proba", name="proba")


@pytest.mark.build
@pytest.mark.parametrize(
    ("method", "fill"), [("predict_proba", 0.0), ("predict_log_proba", -np.inf), ("decision_function", np.nan)]
)
def test_classes_are_aligned(make, numbered, method, fill):
    """Columns are all classes of the fleet, numbers by size; a class that a sub-model never saw has its own null."""
    router = make(*routed(numbered), f"output.method={method}")

    answer = router.predict(MIXED)

    assert answer.columns.tolist() == ["0", "1", "2", "10"]
    assert answer.dtypes.tolist() == [np.float64] * 4
    wanted = expected(NUMBERED, MIXED, method, [0, 1, 2, 10], fill)
    np.testing.assert_allclose(answer.to_numpy(), wanted, rtol=1e-9, atol=1e-12)
    assert np.array_equal(answer.to_numpy() == fill, wanted == fill)


@pytest.mark.parametrize("key", list(NUMBERED))
@pytest.mark.parametrize("rows", [1, 5])
def test_one_sub_model_for_all_rows(proba, key, rows):
    """A batch of one key has the same columns as a batch of many."""
    frame = ROWS.head(rows).assign(key=key)

    answer = proba.predict(frame)

    assert answer.columns.tolist() == ["0", "1", "2", "10"]
    wanted = expected(NUMBERED, frame, "predict_proba", [0, 1, 2, 10], 0.0)
    np.testing.assert_allclose(answer.to_numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_probabilities_keep_the_index(proba):
    """A frame of answers has the index of the rows."""
    frame = MIXED.set_axis(range(100, 112))

    assert proba.predict(frame).index.tolist() == list(range(100, 112))


def test_no_rows_have_all_classes(proba):
    """Without rows no sub-model is asked, and the columns are still there."""
    answer = proba.predict(MIXED.head(0))

    assert (answer.columns.tolist(), len(answer)) == (["0", "1", "2", "10"], 0)


def test_annotated_probabilities(proba):
    """Annotated answers have a column for each class, then the four notes."""
    answer = proba.predict(MIXED, {"annotate": True})

    assert list(answer) == ["0", "1", "2", "10", "model_id", "model_version", "reason", "arm"]
    assert answer["model_id"].tolist() == MIXED["key"].tolist()
    assert answer["10"].tolist() == proba.predict(MIXED)["10"].tolist()


def test_probabilities_through_mlflow(proba, module_store):
    """MLflow's own loader gives the same frame, and the signature declares its columns."""
    with fleets.active(module_store.uri):
        loaded = mlflow.pyfunc.load_model("models:/proba/1")

    pd.testing.assert_frame_equal(loaded.predict(MIXED), proba.predict(MIXED))
    assert loaded.metadata.signature.outputs.input_names() == ["0", "1", "2", "10"]


@pytest.mark.process
def test_probabilities_over_http(proba, module_store, tmp_path):
    """MLflow's server answers with one record per row, a value for each class."""
    env = {"MLFLOW_TRACKING_URI": module_store.uri}
    with servers.mlflow_serve("models:/proba/1", cwd=tmp_path, env=env) as endpoint:
        reply = endpoint.json(MIXED)

    assert reply.status == 200
    assert reply.body["predictions"] == proba.predict(MIXED).to_dict("records")


@pytest.mark.parametrize(("suffix", "read"), [(".csv", pd.read_csv), (".parquet", pd.read_parquet)])
def test_probabilities_of_a_table(proba, module_store, tmp_path, suffix, read):
    """``mmeframe predict`` writes a column for each class, behind the rows and before the notes."""
    MIXED.to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / f"scored{suffix}"
    argv = ["predict", "model=models:/proba/1", f"data={tmp_path / 'rows.csv'}", f"--out={out}", module_store.override]

    code = main([*argv, "predict.batch_rows=5", '--params={"annotate": true}'])

    scored = read(out)
    notes = ["model_id", "model_version", "reason", "arm"]
    assert (code, scored.columns.tolist()) == (0, ["x1", "x2", "key", "0", "1", "2", "10", *notes])
    np.testing.assert_allclose(scored[["0", "1", "2", "10"]], proba.predict(MIXED), rtol=1e-9, atol=1e-12)
    assert scored["model_id"].tolist() == MIXED["key"].tolist()


@pytest.mark.build
@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        pytest.param([["low", "mid"], ["mid", "top"]], ["low", "mid", "top"], id="words"),
        pytest.param([["2", "10"], ["9", "10"]], ["2", "9", "10"], id="numbers-as-text"),
        pytest.param([["2", "10"], ["2", "10"]], ["2", "10"], id="numbers-as-text-all-known"),
        pytest.param([[2.0, 10.0], [2.0, 10.0]], ["2", "10"], id="whole-floats"),
        pytest.param([[False, True], [False, True]], ["False", "True"], id="bools"),
    ],
)
def test_every_probability_stands_under_its_class(make, keep, texts, classes):
    """Whatever order scikit-learn keeps its classes in, a column holds the values of the class that names it."""
    models = {
        key: LogisticRegression().fit(ROWS, np.array(labels)[(ROWS["x1"] > 0).astype(int)])
        for key, labels in zip(["one", "two"], texts, strict=True)
    }
    router = make(*routed({key: keep(it, ROWS) for key, it in models.items()}), "output.method=predict_proba")
    frame = ROWS.head(6).assign(key=["one", "two"] * 3)

    answer = router.predict(frame)

    assert sorted(answer.columns) == sorted(classes)
    for row, key in enumerate(frame["key"]):
        of = dict(
            zip(map(canonical, models[key].classes_), models[key].predict_proba(ROWS.iloc[[row]])[0], strict=True)
        )
        assert answer.iloc[row].to_dict() == pytest.approx({name: of.get(name, 0.0) for name in classes}, abs=1e-12)
    assert answer.columns.tolist() == classes


@pytest.mark.build
def test_whole_floats_are_the_class_of_their_integers(make, keep):
    """One sub-model learnt 0 and 1, the other 0.0 and 1.0: as with keys these are two classes, not four."""
    labels = (ROWS["x1"] > 0).astype(int)
    paths = {
        "ints": keep(LogisticRegression().fit(ROWS, labels), ROWS),
        "floats": keep(LogisticRegression().fit(ROWS, labels.astype(float)), ROWS),
    }
    router = make(*routed(paths), "output.method=predict_proba")

    answer = router.predict(ROWS.head(2).assign(key=["ints", "floats"]))

    assert answer.columns.tolist() == ["0", "1"]
    assert answer.sum(axis=1).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.build
def test_sub_models_that_know_one_class_each(make, keep):
    """The first shop sells only a, the second only b: together they have two classes."""
    one, two = (DecisionTreeClassifier().fit(ROWS, [label] * len(ROWS)) for label in "ab")
    router = make(*routed({"one": keep(one, ROWS), "two": keep(two, ROWS)}), "output.method=predict_proba")

    answer = router.predict(ROWS.head(3).assign(key=["one", "two", "one"]))

    assert answer.to_dict("list") == {"a": [1.0, 0.0, 1.0], "b": [0.0, 1.0, 0.0]}


@pytest.mark.build
def test_skipped_rows_have_no_probabilities(make, numbered):
    """A row without a sub-model is null in every class, which is not the 0.0 of an unknown class."""
    router = make(*routed(numbered), "output.method=predict_proba", "routing.on_unknown=skip")

    answer = router.predict(ROWS.head(3).assign(key=["few", "nobody", "all"]))

    assert answer.isna().to_numpy().tolist() == [[False] * 4, [True] * 4, [False] * 4]
    assert router.predict(ROWS.head(2).assign(key="nobody")).shape == (2, 4)


@pytest.mark.build
def test_pairs_of_classes_are_no_classes(make, keep):
    """A one-against-one SVC has as many pairs as classes where it knows three: its columns are not named after them."""
    model = SVC(decision_function_shape="ovo").fit(ROWS, LABELS % 10)
    router = make(*routed({"pairs": keep(model, ROWS)}), "output.method=decision_function")

    answer = router.predict(ROWS.head(4).assign(key="pairs"))

    assert isinstance(answer, np.ndarray)
    np.testing.assert_allclose(answer, model.decision_function(ROWS.head(4)), rtol=1e-9, atol=1e-12)


# -- other methods, and those that are not there ---------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize(
    ("method", "model"),
    [
        pytest.param("transform", make_pipeline(StandardScaler(), PolynomialFeatures(2)), id="transform"),
        pytest.param("decision_function", LogisticRegression(), id="binary-decision"),
    ],
)
def test_any_method_that_answers_row_by_row(make, keep, method, model):
    """One value or several per row: the sub-model's own, without names."""
    model.fit(ROWS, LABELS > 1)
    own = getattr(model, method)(ROWS)
    router = make(*routed({"a": keep(model, ROWS, own)}), f"output.method={method}")

    answer = router.predict(ROWS.assign(key="a"))

    assert isinstance(answer, np.ndarray)
    np.testing.assert_allclose(answer, own, rtol=1e-9, atol=1e-12)


def test_a_sub_model_without_the_method_is_refused(refused, keep, numbered):
    """validate names the sub-model and its nearest method; a pipeline has the methods of its last step."""
    ridge = keep(Ridge().fit(ROWS, LABELS), ROWS)
    piped = keep(make_pipeline(StandardScaler(), Ridge()).fit(ROWS, LABELS), ROWS)

    text = refused({**numbered, "ridge": ridge, "piped": piped}, "output.method=predict_proba")

    assert "models.ridge: it has no method 'predict_proba' (output.method).\n  Did you mean 'predict'?" in text
    assert "models.piped: it has no method 'predict_proba' (output.method).\n  Did you mean 'predict'?" in text


def test_only_what_is_wrong_is_reported(refused, keep, numbered):
    """That a sub-model without the method also answers in another shape follows from that, and is not said."""
    ridge = keep(Ridge().fit(ROWS, LABELS), ROWS)

    text = refused({**numbered, "ridge": ridge}, "output.method=predict_proba")

    assert lines(text) == ["models.ridge: it has no method 'predict_proba' (output.method)."]


@pytest.mark.parametrize(
    ("method", "found"),
    [
        pytest.param(
            "predict_prob",
            "models.few: it has no method 'predict_prob' (output.method).\n  Did you mean 'predict_proba'?",
            id="misspelt",
        ),
        pytest.param(
            "fit",
            "models.few: its fit refused the example rows (TypeError: LogisticRegression.fit() missing 1 required",
            id="not-of-rows-alone",
        ),
        pytest.param("_get_tags", "output.method: name a method of the sub-models, ", id="private"),
        pytest.param("predict.proba", "output.method: name a method of the sub-models, ", id="no-name"),
    ],
)
def test_methods_that_cannot_be_asked(refused, numbered, method, found):
    """A method takes rows, and answers with a value or a row for each."""
    assert found in refused({"few": numbered["few"]}, f"output.method={method}")


@pytest.mark.parametrize(
    "second", [pytest.param([0.0], id="as-many-classes"), pytest.param([-0.7, 0.7], id="more-classes")]
)
def test_classifiers_of_several_targets_are_refused(refused, keep, second):
    """A list of arrays, one for each target, is no table."""
    targets = np.c_[ROWS["x1"] > 0, np.digitize(ROWS["x2"], second)].astype(int)
    model = DecisionTreeClassifier(max_depth=2).fit(ROWS, targets)

    text = refused({"both": keep(model, ROWS)}, "output.method=predict_proba")

    assert text.startswith("models.both: its predict_proba gives ")


def test_one_value_and_several_do_not_mix(refused, keep, numbered):
    """decision_function gives one number for two classes, and one for each of more."""
    binary = keep(LogisticRegression().fit(ROWS, LABELS > 1), ROWS)

    text = refused({"binary": binary, "few": numbered["few"]}, "output.method=decision_function")

    assert lines(text) == ["models.few: it answers with 3 columns and 'binary' with one value."]


def test_a_class_named_like_a_note_is_refused(refused, keep):
    """Annotated answers have a column ``arm`` of their own."""
    model = LogisticRegression().fit(ROWS, np.where(ROWS["x1"] > 0, "arm", "leg"))

    text = refused({"limbs": keep(model, ROWS)}, "output.method=predict_proba")

    assert lines(text) == ["models.limbs: its answers have a column 'arm', which annotated answers use."]


# -- what predict answers --------------------------------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize(
    ("targets", "kind", "null"),
    [
        pytest.param([np.where(ROWS["x1"] > 0, "yes", "no"), np.where(ROWS["x1"] > 0, "possibly", "no")], "U", None),
        pytest.param([LABELS, LABELS + 2**53], "i", None),
        pytest.param([LABELS > 0, LABELS > 1], "b", None),
        pytest.param([LABELS.astype(float), LABELS + 0.25], "f", np.nan),
    ],
    ids=["text", "int", "bool", "float"],
)
def test_answers_of_predict(make, keep, targets, kind, null):
    """Text, whole numbers and booleans come back as they are; a row without a sub-model gets their null."""
    tree = DecisionTreeRegressor if kind == "f" else DecisionTreeClassifier
    models = {key: tree(max_depth=3).fit(ROWS, target) for key, target in zip("ab", targets, strict=True)}
    paths = {key: keep(model, ROWS) for key, model in models.items()}
    router = make(*routed(paths), "routing.on_unknown=skip")
    frame = ROWS.head(6).assign(key=["a", "b", "b", "a", "b", "a"])

    answer = router.predict(frame)
    skipped = router.predict(frame.assign(key=["a", "b", "nobody", "a", "b", "a"]))

    own = [models[key].predict(ROWS.iloc[[row]])[0] for row, key in enumerate(frame["key"])]
    assert answer.tolist() == own
    assert answer.dtype.kind in (kind, "O")
    assert pd.isna(skipped).tolist() == [False, False, True, False, False, False]
    assert skipped[2] is None if null is None else np.isnan(skipped[2])
    assert [value for row, value in enumerate(skipped) if row != 2] == [own[row] for row in (0, 1, 3, 4, 5)]


@pytest.mark.build
def test_several_numbers_per_row(make, keep, module_store, tmp_path):
    """Multi-output regressions answer with shape (rows, outputs), and a table has a column for each."""
    models = {
        key: LinearRegression().fit(ROWS, np.c_[scale * ROWS["x1"], ROWS["x2"] + scale])
        for key, scale in (("a", 1), ("b", 10))
    }
    router = make(*routed({key: keep(it, ROWS) for key, it in models.items()}), name="two_outputs")
    frame = ROWS.head(4).assign(key=["b", "a", "a", "b"])
    frame.to_csv(tmp_path / "rows.csv", index=False)

    answer = router.predict(frame)
    scored = api.predict_table(
        "models:/two_outputs/1", tmp_path / "rows.csv", tmp_path / "out.csv", keep="none", tracking_uri=module_store.uri
    )

    scale = np.array([10, 1, 1, 10])
    np.testing.assert_allclose(answer, np.c_[scale * frame["x1"], frame["x2"] + scale], rtol=1e-9, atol=1e-12)
    table = pd.read_csv(str(scored.out))
    assert table.columns.tolist() == ["prediction_0", "prediction_1"]
    np.testing.assert_allclose(table, answer, rtol=1e-12)


@pytest.fixture(scope="module")
def framed(make: Make, keep: Keep, own: Any) -> Router:
    """Two sub-models that answer with frames, whose columns stand in different orders."""
    code = {"code_paths": [own.__file__]}
    paths = {
        "up": keep(own.Range(), ROWS, **code),
        "down": keep(own.Range(("high", "low")), ROWS, **code),
    }
    return make(*routed(paths), "routing.on_unknown=skip", name="framed")


def test_frames_are_put_together_by_name(framed):
    """Each value stands under its name, whatever order its sub-model has."""
    frame = ROWS.head(4).assign(key=["up", "down", "nobody", "up"]).set_axis([7, 5, 3, 1])

    answer = framed.predict(frame)

    assert answer.index.tolist() == [7, 5, 3, 1]
    wanted = frame["x1"].where(frame["key"] != "nobody")
    np.testing.assert_array_equal(answer["low"], wanted - 1)
    np.testing.assert_array_equal(answer["high"], wanted + 1)


@pytest.mark.parametrize("keys", [["up", "up"], ["down", "down"], ["down", "up"], ["nobody", "nobody"]])
def test_frames_have_one_order_of_columns(framed, keys):
    """The declared one: it does not depend on which sub-models a batch happens to meet."""
    declared = [column.name for column in framed.bundle.manifest.answer.columns]

    answer = framed.predict(ROWS.head(2).assign(key=keys))

    assert answer.columns.tolist() == declared


def test_annotated_frames(framed):
    """The columns of the frame, then the notes."""
    answer = framed.predict(ROWS.head(2).assign(key=["down", "up"]), {"annotate": True})

    assert sorted(answer) == sorted(["low", "high", "model_id", "model_version", "reason", "arm"])
    assert answer["low"].tolist() == (ROWS["x1"].head(2) - 1).tolist()


# -- a sub-model that fails ------------------------------------------------------------------------------------------

FAILING = pd.DataFrame({"x1": [1.0, 9.0, 2.0, 3.0], "x2": 0.0, "key": ["picky", "picky", "calm", "nobody"]})


@pytest.fixture(scope="module")
def fragile(keep: Keep, own: Any) -> dict[str, str]:
    """One that raises for x1 above 5, one that refuses NaN, one that takes everything."""
    return {
        "picky": keep(own.Picky(), ROWS, code_paths=[own.__file__]),
        "strict": keep(LinearRegression().fit(ROWS, 3 * ROWS["x1"]), ROWS),
        "calm": keep(HistGradientBoostingRegressor(max_iter=3).fit(ROWS, ROWS["x1"]), ROWS),
    }


@pytest.fixture(scope="module")
def skipping(make: Make, fragile: dict[str, str]) -> Router:
    return make(*routed(fragile), "output.on_error=skip", "routing.on_unknown=skip", name="skipping")


def test_a_failing_sub_model_loses_its_rows_only(skipping):
    """on_error: skip: null with the reason ``model_error``, the sub-model still named; other rows are as ever."""
    calm = skipping.score("calm", FAILING.iloc[[2]])[0]

    answer = skipping.predict(FAILING, {"annotate": True})

    assert answer["reason"].tolist() == ["model_error", "model_error", "exact", "unknown"]
    assert answer["model_id"].tolist() == ["picky", "picky", "calm", None]
    assert answer["arm"].tolist() == ["main", "main", "main", None]
    assert np.isnan(answer["prediction"]).tolist() == [True, True, False, True]
    assert answer["prediction"][2] == calm


@pytest.mark.parametrize("rows", [1, 3])
def test_a_batch_in_which_every_row_fails(skipping, rows):
    """All null, in the declared shape; the next batch is answered as if nothing had been."""
    answer = skipping.predict(pd.DataFrame({"x1": [9.0] * rows, "x2": 0.0, "key": "picky"}), {"annotate": True})

    assert np.isnan(answer["prediction"]).tolist() == [True] * rows
    assert answer["reason"].tolist() == ["model_error"] * rows
    assert skipping.predict(FAILING.iloc[[0]]).tolist() == [2.0]


def test_a_library_that_refuses_nan(skipping):
    """A linear model refuses NaN, which a boosted tree takes: only the first one's rows are lost."""
    frame = pd.DataFrame({"x1": [np.nan, np.nan, 1.0], "x2": [0.0, 0.0, 0.0], "key": ["strict", "calm", "calm"]})

    answer = skipping.predict(frame, {"annotate": True})

    assert answer["reason"].tolist() == ["model_error", "exact", "exact"]
    assert np.isnan(answer["prediction"]).tolist() == [True, False, False]


def test_wrong_rows_are_no_failure_of_a_sub_model(skipping):
    """A missing column is the caller's error, and refused, whatever on_error says."""
    with pytest.raises(BadInputError, match=r"column 'x2' \(double\) is missing"):
        skipping.predict(FAILING.drop(columns="x2"))


@pytest.mark.build
def test_probabilities_of_a_failing_sub_model(make, keep, numbered):
    """Null in every class."""
    nan = ROWS.head(3).assign(key=["few", "some", "few"])
    nan.loc[1, "x1"] = np.nan
    router = make(*routed(numbered), "output.method=predict_proba", "output.on_error=skip")

    answer = router.predict(nan)

    assert answer.isna().to_numpy().tolist() == [[False] * 4, [True] * 4, [False] * 4]


def test_counts_of_a_scored_table_tell_failures(skipping, module_store, tmp_path, capsys):
    """``mmeframe predict`` says how many rows failed."""
    FAILING.to_csv(tmp_path / "rows.csv", index=False)

    code = main(["predict", "model=models:/skipping/1", f"data={tmp_path / 'rows.csv'}", module_store.override])

    assert code == 0
    assert capsys.readouterr().err == "scored 4 rows (exact 1, model_error 2, unknown 1)\n"


@pytest.mark.build
def test_a_failing_sub_model_fails_the_request(make, fragile):
    """on_error: raise names the sub-model and the kind of error; its text, which may hold rows, is only chained."""
    router = make(*routed(fragile))

    with pytest.raises(ModelError) as caught:
        router.predict(FAILING.head(3))

    assert str(caught.value) == "picky: its predict failed with RuntimeError."
    assert "s3cr3t 9.0" in str(caught.value.__cause__)


# -- arrays instead of frames ----------------------------------------------------------------------------------------

TARGET = 3 * ROWS["x1"] - ROWS["x2"]
TAKE_ARRAYS = {
    "ridge": Ridge(),
    "tree": DecisionTreeRegressor(max_depth=4),
    "forest": RandomForestRegressor(5, random_state=0),
    "boosted": GradientBoostingRegressor(n_estimators=5),
    "histograms": HistGradientBoostingRegressor(max_iter=5),
    "pipeline": make_pipeline(StandardScaler(), Ridge()),
    "deep_pipeline": make_pipeline(SimpleImputer(), PolynomialFeatures(2), StandardScaler(), Ridge()),
    "voting": VotingRegressor([("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=2))]),
    "bagging": BaggingRegressor(Ridge(), 3, random_state=0),
    "neighbours": KNeighborsRegressor(3),
}
NEED_FRAMES = {
    "by_name": make_pipeline(
        ColumnTransformer([("scaled", StandardScaler(), ["x1"])], remainder="passthrough"), Ridge()
    ),
    "by_place": make_pipeline(ColumnTransformer([("scaled", StandardScaler(), [0])], remainder="passthrough"), Ridge()),
    "by_function": make_pipeline(FunctionTransformer(lambda frame: frame[["x2", "x1"]]), Ridge()),
}
EXACT = ("tree", "forest", "boosted", "histograms")
ESTIMATORS = {name: model.fit(ROWS, TARGET) for name, model in {**TAKE_ARRAYS, **NEED_FRAMES}.items()}


@pytest.fixture(scope="module")
def mixed(make: Make, keep: Keep) -> Router:
    """Sub-models of two doubles, some of which need frames."""
    return make(*routed({name: keep(model, ROWS) for name, model in ESTIMATORS.items()}), name="mixed")


def own_answers(frame: pd.DataFrame) -> np.ndarray:
    """Each row's original model on its own rows of a frame of doubles."""
    found = np.empty(len(frame))
    for key in frame["key"].unique():
        rows = (frame["key"] == key).to_numpy()
        found[rows] = ESTIMATORS[key].predict(frame.loc[rows, ["x1", "x2"]].astype(np.float64))
    return found


def test_which_sub_models_take_arrays(mixed):
    """Those that never look at the names of their columns; the build has tried."""
    found = {record.id: record.form for record in mixed.records}

    assert found == {**dict.fromkeys(TAKE_ARRAYS, "array"), **dict.fromkeys(NEED_FRAMES, "frame")}


@pytest.mark.build
@pytest.mark.parametrize(
    "column", [pytest.param([1, 2, 3] * 40, id="long"), pytest.param(["a", "b", "c"] * 40, id="text")]
)
def test_columns_that_are_no_doubles_need_frames(make, keep, column):
    """Only sub-models of doubles take arrays: another column would lose its type in one."""
    frame = ROWS.assign(x2=column)
    model = make_pipeline(ColumnTransformer([("hot", OneHotEncoder(), ["x2"])], remainder="passthrough"), Ridge())
    model = model if isinstance(column[0], str) else Ridge()
    router = make(*routed({"a": keep(model.fit(frame, TARGET), frame)}))

    assert [record.form for record in router.records] == ["frame"]
    answer = router.predict(frame.head(5).assign(key="a"))
    np.testing.assert_allclose(answer, model.predict(frame.head(5)), rtol=1e-12)


@pytest.mark.build
def test_outputs_as_frames_need_frames(make, keep):
    """A step that hands on frames makes the next one look for names: it would warn on every call."""
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), Ridge()).fit(ROWS, TARGET)
    router = make(*routed({"a": keep(model, ROWS)}))

    answer = router.predict(ROWS.head(5).assign(key="a"))

    np.testing.assert_allclose(answer, model.predict(ROWS.head(5)), rtol=1e-12)


@pytest.mark.parametrize("key", list(ESTIMATORS))
def test_one_key_is_answered_as_by_the_original(mixed, key):
    """A batch, and each row alone: trees to the last bit, and nobody warns about names."""
    frame = ROWS.head(9).assign(key=key)

    whole = mixed.predict(frame)
    alone = np.concatenate([mixed.predict(frame.iloc[[row]]) for row in range(9)])

    if key in EXACT:
        assert whole.tolist() == alone.tolist() == own_answers(frame).tolist()
    np.testing.assert_allclose(whole, own_answers(frame), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(alone, own_answers(frame), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("keys", [list(ESTIMATORS), list(TAKE_ARRAYS)], ids=["some-need-frames", "all-take-arrays"])
def test_many_keys_are_answered_as_by_the_originals(mixed, keys):
    """Rows of all sub-models in one batch, whether or not some of them need frames."""
    frame = fleets.rows(200, 3)[["x1", "x2"]].assign(key=[keys[row % len(keys)] for row in range(200)])

    answer = mixed.predict(frame)

    exact = frame["key"].isin(EXACT).to_numpy()
    assert answer[exact].tolist() == own_answers(frame)[exact].tolist()
    np.testing.assert_allclose(answer, own_answers(frame), rtol=1e-12, atol=1e-12)


BASE = pd.DataFrame({"x1": [0.5, -1.0, 2.0, 3.0], "x2": [1.0, 0.0, -2.0, 4.0]})
BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("sent", "means"),
    [
        pytest.param(BASE[["x2", "x1"]], BASE, id="another-order"),
        pytest.param(BASE.assign(note="text")[["note", "x2", "x1"]], BASE, id="more-columns"),
        pytest.param(BASE.assign(x2=[1, 0, -2, 4]), BASE, id="ints-for-doubles"),
        pytest.param(pd.DataFrame({"x1": [1, 2, 3, 4], "x2": [0, 1, 0, 1]}), None, id="only-ints"),
        pytest.param(BASE.astype("float32"), BASE, id="float32"),
        pytest.param(BASE.astype(object), BASE, id="objects"),
        pytest.param(BASE.astype("Float64"), BASE, id="nullable-floats"),
        pytest.param(BASE.assign(x2=pd.array([1, 0, -2, 4], dtype="Int64")), BASE, id="nullable-ints"),
        pytest.param(BASE.assign(x1=BASE["x1"].astype("category")), BASE, id="category"),
        pytest.param(pd.DataFrame({"x1": [BIG, -BIG, 0, 1], "x2": BIG}), None, id="ints-beyond-2**53"),
        pytest.param(BASE.assign(x1=[BIG, -BIG, 0, 1]), None, id="large-ints-beside-floats"),
        pytest.param(BASE.assign(x1=pd.Series([2**70, 1, 2, 3], dtype=object)), None, id="ints-beyond-64-bits"),
    ],
)
@pytest.mark.parametrize("keys", [["histograms"] * 4, ["tree", "histograms", "tree", "by_name"]], ids=["one", "many"])
def test_however_doubles_are_sent(mixed, sent, means, keys):
    """Other types that mean the same numbers give the bits that the originals give for doubles; rows alone, too."""
    frame = sent.assign(key=keys)
    wanted = own_answers((sent if means is None else means).assign(key=keys)).tolist()

    alone = [mixed.predict(frame.iloc[[row]])[0] for row in range(4)]

    np.testing.assert_allclose(mixed.predict(frame), wanted, rtol=1e-12)
    np.testing.assert_allclose(alone, wanted, rtol=1e-12)
    exact = [row for row, key in enumerate(keys) if key in EXACT]
    assert (
        [mixed.predict(frame)[row] for row in exact] == [alone[row] for row in exact] == [wanted[row] for row in exact]
    )


@pytest.mark.parametrize("kind", ["float64", "Float64", "object"])
def test_missing_numbers(mixed, kind):
    """NaN, NA and None are NaN to a model that takes missing values."""
    frame = pd.DataFrame({"x1": pd.array([0.5, np.nan, 1.0], dtype=kind), "x2": 1.0, "key": "histograms"})
    if kind == "object":
        frame["x1"] = frame["x1"].where(frame["x1"].notna(), None)
    wanted = own_answers(frame.assign(x1=[0.5, np.nan, 1.0])).tolist()

    assert mixed.predict(frame).tolist() == wanted
    assert mixed.predict(frame.iloc[[1]]).tolist() == wanted[1:2]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    ("column", "found"),
    [
        pytest.param(True, "column 'x1' must be double: it is bool.", id="bool"),
        pytest.param(
            pd.Series([True] * 3, dtype=object), "column 'x1' must be double: it holds booleans.", id="objects"
        ),
        pytest.param(
            pd.Series([True] * 3, dtype="boolean"), "column 'x1' must be double: it is boolean.", id="nullable"
        ),
        pytest.param("1.5", "column 'x1' must be double: it ", id="text"),
        pytest.param(1j, "column 'x1' must be double: it is complex128.", id="complex"),
        pytest.param(pd.Series([10**400] * 3, dtype=object), "column 'x1' must be double: ", id="too-large"),
    ],
)
@pytest.mark.parametrize("keys", [["ridge"] * 3, ["ridge", "tree", "by_name"]], ids=["one-key", "several"])
def test_what_is_no_double_is_refused(mixed, rows, column, found, keys):
    """A boolean is no number here either, though numpy would make it one."""
    frame = pd.DataFrame({"x1": column, "x2": [1.0, 2.0, 3.0], "key": keys}).head(rows)

    with pytest.raises(BadInputError) as caught:
        mixed.predict(frame)

    assert str(caught.value).startswith(found)


def test_all_columns_bools_are_refused(mixed):
    """Also where no column is a number, so that the whole array is of booleans."""
    with pytest.raises(BadInputError, match="column 'x1' must be double: it is bool"):
        mixed.predict(pd.DataFrame({"x1": [True, False], "x2": [False, True], "key": "ridge"})[["x1", "x2", "key"]])


def test_the_callers_frame_is_left_alone(mixed):
    """Arrays may be the caller's own memory: nothing writes to it."""
    frame = fleets.rows(20)[["x1", "x2"]].assign(key="pipeline")
    before = frame.copy()

    mixed.predict(frame)

    pd.testing.assert_frame_equal(frame, before)
