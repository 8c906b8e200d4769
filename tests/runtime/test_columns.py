"""Sub-models with columns of their own: a row is never refused, or changed, for what another one needs."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mmeframe import api
from tests import fleets

pytestmark = pytest.mark.build

ROUTED = ("routing=column", "routing.column=k", "+source@sources.s=registry", "sources.s.name='m_{k}'")


def log(key: int, frame: pd.DataFrame) -> None:
    """A model that answers with its only column."""
    model = LinearRegression(fit_intercept=False).fit(frame, frame.iloc[:, 0])
    fleets.log_sklearn(model, f"m_{key}", frame)


def test_whole_numbers_of_one_sub_model_may_be_missing_in_others_rows(store):
    """Two sub-models with a long column each share a batch: each row brings only its own."""
    log(1, pd.DataFrame({"p": [1, 2, 3]}))
    log(2, pd.DataFrame({"q": [1, 2, 3]}))
    router = api.load_router(api.build("name=r", *ROUTED).model_uri)

    answer = router.predict(pd.DataFrame([{"k": 1, "p": 3}, {"k": 2, "q": 5}]))

    np.testing.assert_allclose(answer, [3.0, 5.0])


def test_a_missing_value_in_ones_own_row_is_refused(store):
    """What a row's own sub-model needs is still checked."""
    log(1, pd.DataFrame({"p": [1, 2, 3]}))
    log(2, pd.DataFrame({"q": [1, 2, 3]}))
    router = api.load_router(api.build("name=r", *ROUTED).model_uri)

    with pytest.raises(Exception, match="column 'q' must be long: 1 values are missing"):
        router.predict(pd.DataFrame([{"k": 1, "p": 3}, {"k": 2}]).assign(q=[1.0, np.nan]))


def test_a_promoted_column_keeps_its_values(store):
    """long in one sub-model and double in another: each row is converted from what was sent."""
    log(1, pd.DataFrame({"p": [1, 2, 3]}))
    log(2, pd.DataFrame({"p": [1.0, 2.0, 3.0]}))
    router = api.load_router(api.build("name=r", *ROUTED).model_uri)
    seen = []
    with closing(router.residency.acquire([0])) as held:
        model = next(held)[0]
    original = model.predict
    model.predict = lambda frame: seen.append(frame) or original(frame)

    router.predict(pd.DataFrame({"k": [1, 2], "p": [2**53 + 1, 1]}))

    assert seen[0]["p"].tolist() == [2**53 + 1]
    assert seen[0]["p"].dtype == np.dtype("int64")


@pytest.mark.parametrize("rows", [0, 3])
def test_a_batch_without_answers_has_their_shape(store, rows):
    """Whether a few rows or all of them are skipped, the answer has as many columns."""
    frame = fleets.rows(20)[["x1", "x2"]]
    model = LinearRegression().fit(frame, frame)
    fleets.log_sklearn(model, "m_1", frame)
    router = api.load_router(api.build("name=r", *ROUTED, "routing.on_unknown=skip").model_uri)

    answer = router.predict(frame.head(rows).assign(k=9))

    assert answer.shape == (rows, 2)
    assert np.isnan(answer).all()


def test_text_answers_of_skipped_rows_are_none(store):
    """A batch of only unknown keys gets the null of its declared type."""
    from sklearn.tree import DecisionTreeClassifier

    frame = fleets.rows(20)[["x1", "x2"]]
    model = DecisionTreeClassifier().fit(frame, np.where(frame["x1"] > 0, "up", "down"))
    fleets.log_sklearn(model, "m_1", frame, serialization_format="cloudpickle")
    router = api.load_router(api.build("name=r", *ROUTED, "routing.on_unknown=skip").model_uri)

    assert router.predict(frame.head(2).assign(k=9)).tolist() == [None, None]
