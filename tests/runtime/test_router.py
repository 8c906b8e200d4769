"""A router in process: which sub-model scores which row, with what, and why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from mmeframe import api
from mmeframe.errors import BadInputError, MissingError, ModelError, UnknownKeyError
from mmeframe.runtime import Router
from tests import fleets, inputs


@pytest.fixture(scope="module")
def router(week) -> Router:
    """Weekday by column, else the global sub-model."""
    logged = api.build("name=in_process", *fleets.WEEK, week.override)
    return api.load_router(logged.model_uri, tracking_uri=week.uri)


@pytest.fixture(scope="module")
def strict(week) -> Router:
    """Weekday by column, and nothing else."""
    overrides = ("name=strict", "routing=column", "routing.column=dow", "+source@sources.days=registry")
    logged = api.build(*overrides, "sources.days.name='day_{dow}'", week.override)
    return api.load_router(logged.model_uri, tracking_uri=week.uri)


@pytest.fixture(scope="module")
def skipping(week) -> Router:
    """The strict router, but unknown keys are skipped."""
    overrides = ("name=skipping", "routing=column", "routing.column=dow", "routing.on_unknown=skip")
    source = ("+source@sources.days=registry", "sources.days.name='day_{dow}'")
    logged = api.build(*overrides, *source, week.override)
    return api.load_router(logged.model_uri, tracking_uri=week.uri)


SEEDS = {"everyone": 20, **{f"day_{day}": day for day in range(7)}}


def own_answers(frame: pd.DataFrame, ids: list[str]) -> np.ndarray:
    """Each row scored alone by the estimator that its id names."""
    features = frame[["x1", "x2"]].astype(float)
    return np.array([fleets.fitted(SEEDS[id_]).predict(features.iloc[[row]])[0] for row, id_ in enumerate(ids)])


def rounding(frame: pd.DataFrame, ids: list[str]) -> np.ndarray:
    """How far a linear model's answer for each row may move with the batch's size and layout (docs/architecture.md)."""
    bounds = []
    for row, id_ in zip(frame[["x1", "x2"]].to_numpy(float), ids, strict=True):
        model = fleets.fitted(SEEDS[id_])
        bounds.append(4 * len(row) * np.finfo(float).eps * (np.abs(row * model.coef_).sum() + abs(model.intercept_)))
    return np.array(bounds)


@pytest.mark.parametrize(("frame", "ids", "reasons"), inputs.ANSWERED)
def test_each_row_goes_to_its_sub_model(router, frame, ids, reasons):
    """Ids, reasons and values are right for every kind of key column, in the order of the rows."""
    answer = router.predict(frame, {"annotate": True})

    assert answer["model_id"].tolist() == ids
    assert answer["reason"].tolist() == reasons
    assert np.all(np.abs(answer["prediction"] - own_answers(frame, ids)) <= rounding(frame, ids))


@pytest.mark.parametrize(("frame", "text"), inputs.REFUSED)
def test_bad_batches_are_refused_with_the_column(router, frame, text):
    """The message names the column and what is wrong with it."""
    with pytest.raises(BadInputError) as caught:
        router.predict(frame)

    assert text in str(caught.value)


def test_messages_hold_no_data(router):
    """A refused batch may hold personal data: none of it is repeated."""
    frame = pd.DataFrame({"x1": ["Jane Doe"], "x2": [1.0], "dow": [1]})

    with pytest.raises(BadInputError) as caught:
        router.predict(frame)

    assert "Jane" not in str(caught.value)


def test_the_answer_is_an_array_without_annotations(router):
    """A plain answer is a bare array, one value per row."""
    answer = router.predict(fleets.rows(14))

    assert isinstance(answer, np.ndarray)
    assert answer.shape == (14,)


def test_annotations_say_who_answered(router):
    """Annotated answers have these columns, in this order."""
    answer = router.predict(fleets.rows(3), {"annotate": True})

    assert list(answer) == ["prediction", "model_id", "model_version", "reason", "arm"]
    assert answer["model_version"].tolist() == ["1", "1", "1"]
    assert answer["arm"].tolist() == ["main", "main", "main"]


def test_unknown_keys_raise_and_are_named_shortly(strict):
    """A few keys, the number of rows, and what exists; however many keys are unknown."""
    frame = pd.DataFrame({"x1": np.zeros(1000), "x2": np.zeros(1000), "dow": np.arange(1000)})

    with pytest.raises(UnknownKeyError) as caught:
        strict.predict(frame)

    text = str(caught.value)
    assert "no sub-model for 993 rows: dow=7; dow=8; dow=9; dow=10; dow=11 ..." in text
    assert "0, 1, 2, 3, 4, 5, 6" in text
    assert len(text) < 400


def test_rows_without_a_key_are_bad_input(strict):
    """Missing keys are not unknown keys: the caller forgot something."""
    with pytest.raises(BadInputError, match="2 rows have no routing key"):
        strict.predict(pd.DataFrame({"x1": [1.0, 2.0], "x2": [1.0, 2.0], "dow": [None, None]}))


def test_skipped_rows_are_null_with_their_reason(skipping):
    """on_unknown=skip answers NaN, and says why."""
    frame = pd.DataFrame({"x1": [1.0, 1.0, 1.0], "x2": [0.0, 0.0, 0.0], "dow": [2.0, 9.0, np.nan]})

    answer = skipping.predict(frame, {"annotate": True})

    assert answer["reason"].tolist() == ["exact", "unknown", "missing_key"]
    assert np.isnan(answer["prediction"]).tolist() == [False, True, True]
    assert answer["model_id"].tolist() == ["day_2", None, None]


def test_a_batch_of_only_skipped_rows_is_all_null(skipping):
    """No sub-model is asked, and the answer still has one value per row."""
    answer = skipping.predict(pd.DataFrame({"x1": [1.0, 2.0], "x2": [1.0, 2.0], "dow": [8, 9]}))

    assert np.isnan(answer).tolist() == [True, True]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_do_not_depend_on_their_neighbours(router, seed):
    """Permuting and cutting a batch changes neither the sub-model nor the reason; values stay within rounding."""
    frame = fleets.rows(50, seed)
    frame.loc[::9, "dow"] = 11
    order = np.random.default_rng(seed).permutation(50)
    whole = router.predict(frame, {"annotate": True})

    pieces = [router.predict(frame.iloc[part], {"annotate": True}) for part in np.array_split(order, 7)]

    assert np.concatenate([piece["model_id"] for piece in pieces]).tolist() == whole["model_id"][order].tolist()
    assert np.concatenate([piece["reason"] for piece in pieces]).tolist() == whole["reason"][order].tolist()
    values = np.concatenate([piece["prediction"] for piece in pieces])
    moved = np.abs(values - whole["prediction"][order])
    assert np.all(moved <= rounding(frame, whole["model_id"].tolist())[order])


TWO_ROWS = [{"x1": 0.5, "x2": 0.0, "dow": 1}, {"x1": 1.0, "x2": 2.0, "dow": 2}]
TWO_COLUMNS = {"x1": [0.5, 1.0], "x2": [0.0, 2.0], "dow": [1, 2]}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(TWO_COLUMNS, id="dict-of-lists"),
        pytest.param({name: np.array(values) for name, values in TWO_COLUMNS.items()}, id="dict-of-arrays"),
        pytest.param(TWO_ROWS, id="records"),
        pytest.param([{k: np.array(v) for k, v in row.items()} for row in TWO_ROWS], id="records-of-0-d-arrays"),
    ],
)
def test_rows_come_in_any_shape_that_mlflow_hands_over(router, data):
    """The same rows give the same answer as a frame."""
    frame = pd.DataFrame(TWO_COLUMNS)

    assert router.predict(data).tolist() == router.predict(frame).tolist()


def test_score_asks_one_sub_model_past_routing(router):
    """Any sub-model can be asked by its id."""
    frame = fleets.rows(4)

    ids = ["everyone"] * 4
    assert np.all(np.abs(router.score("everyone", frame) - own_answers(frame, ids)) <= rounding(frame, ids))


def test_score_of_an_unknown_id_offers_the_nearest(router):
    """The error names what exists."""
    with pytest.raises(MissingError, match="Did you mean 'everyone'"):
        router.score("everone", fleets.rows(1))


def test_a_failing_sub_model_is_named(router):
    """The library's text may hold data: its type is told, which columns have gaps, and the cause is chained."""
    frame = pd.DataFrame({"x1": [np.nan], "x2": [1.0], "dow": [3]})

    with pytest.raises(ModelError) as caught:
        router.predict(frame)

    assert str(caught.value) == (
        "day_3: its predict failed with ValueError.\n  Columns with missing values in its rows: x1."
    )
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_unknown_parameter_is_refused(router):
    """In process nothing drops it: a misspelt parameter does nothing silently."""
    with pytest.raises(BadInputError, match=r"there is no parameter 'anotate'.\n  Did you mean 'annotate'\?"):
        router.predict(fleets.rows(2), {"anotate": True})


def test_threads_share_a_router(router):
    """Concurrent calls get the answers of calls in turn."""
    frames = [fleets.rows(30, seed) for seed in range(16)]
    alone = [router.predict(frame).tolist() for frame in frames]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda frame: router.predict(frame).tolist(), frames))

    assert together == alone


@pytest.mark.build
def test_mlflow_gets_its_own_errors(week):
    """Through PyFuncModel an unknown key is a 404 and bad input a 400, as MLflow's servers need them."""
    import mlflow.pyfunc

    with fleets.active(week.uri):
        overrides = ("name=codes", "routing=column", "routing.column=dow", "+source@sources.days=registry")
        logged = api.build(*overrides, "sources.days.name='day_{dow}'", week.override)
        model = mlflow.pyfunc.load_model(logged.model_uri)

    with pytest.raises(MlflowException) as unknown:
        model.predict(pd.DataFrame({"x1": [1.0], "x2": [1.0], "dow": [9]}))
    with pytest.raises(MlflowException) as bad:
        model.predict(pd.DataFrame({"x1": [1.0], "dow": [1]}))

    assert unknown.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert bad.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.fixture(scope="module")
def by_param(week) -> Router:
    """Weekday by a parameter of the request."""
    models = [f"+models.day_{day}={{uri:'models:/day_{day}@champion',key:{{day:{day}}}}}" for day in range(2)]
    logged = api.build("name=by_param", "routing=param", "routing.param=day", *models, week.override)
    return api.load_router(logged.model_uri, tracking_uri=week.uri)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([1], id="list-of-one"),
        pytest.param([0, 1], id="list"),
        pytest.param([], id="empty-list"),
        pytest.param((0, 1), id="tuple"),
        pytest.param(np.array([1]), id="array-of-one"),
        pytest.param(np.array([0, 1]), id="array"),
        pytest.param(pd.Series([0, 1]), id="series"),
        pytest.param([[1]], id="nested"),
    ],
)
@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("ask", ["predict", "explain"])
def test_a_routing_parameter_is_one_value(by_param, value, rows, ask):
    """It is for all rows: a list is refused whatever its length, also where it has one value for each row."""
    with pytest.raises(BadInputError) as caught:
        getattr(by_param, ask)(fleets.rows(2).head(rows), {"day": value})

    assert str(caught.value).splitlines()[0] == (
        f"parameter 'day': a routing key must be one value, not {type(value).__name__}."
    )


@pytest.mark.parametrize("value", [1, "1", np.int64(1), np.array(1), 1.0], ids=["int", "text", "int64", "0-d", "float"])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_routing_parameter_in_its_forms(by_param, value, rows):
    """One value is one value, as Python, numpy and MLflow hand it over."""
    answer = by_param.predict(fleets.rows(rows), {"day": value, "annotate": True})

    assert answer["model_id"].tolist() == ["day_1"] * rows
