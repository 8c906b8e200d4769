"""No row depends on the other rows of its batch, or on how it was sent: features, keys, skipped rows, arms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mmeframe.errors import BadInputError, ModelError
from mmeframe.plugin import canonical
from mmeframe.rows.shares import fraction
from mmeframe.runtime import Router
from tests import fleets
from tests.conftest import Store

# Models that ship their own code.
OWN = '''
import pandas as pd
from sklearn.base import BaseEstimator

class Own(BaseEstimator):
    def fit(self, X, y=None):
        return self

class Nanoseconds(Own):
    """A time as a whole number, which depends on the unit that pandas holds it in."""
    def predict(self, X):
        assert str(X["t"].dtype) == "datetime64[ns]", X["t"].dtype
        return X["t"].astype("int64").to_numpy()

class LastDigits(Own):
    """The last three digits of a whole number."""
    def predict(self, X):
        return (X["id"] % 1000).to_numpy().astype(float)

class Same(Own):
    """The whole number itself."""
    def predict(self, X):
        return X["id"].to_numpy()

class Named(Own):
    """Twice x1, a text and a truth, in columns."""
    def predict(self, X):
        return pd.DataFrame({"double": X["x1"].to_numpy() * 2, "text": "t", "true": True})
'''
ROUTED = ("routing=column", "routing.column=key", "routing.on_unknown=skip")
PLUGINS = fleets.plugins()
NUMBERS = fleets.rows(60)[["x1", "x2"]]
ANNOTATED = {"annotate": True}

Keep = Callable[..., str]
Make = Callable[..., Router]


@pytest.fixture(scope="module")
def own(importable: Callable[..., Any]) -> Any:
    """The module of OWN."""
    return importable("own_independence", OWN)


@pytest.fixture(scope="module")
def keep(module_store: Store, own: Any) -> Keep:
    """Save an estimator with an input example, and with its code where it is of OWN."""

    def save(model: Any, rows: pd.DataFrame) -> str:
        code = {"code_paths": [own.__file__]} if type(model).__module__ == own.__name__ else {}
        return fleets.keep(module_store.folder, model, rows, input_example=rows.head(2), **code)

    return save


TEXTS = pd.DataFrame({"s": pd.Series(["a", "b", np.nan] * 4, dtype="str")})
OF_TEXT = make_pipeline(OneHotEncoder(), LinearRegression()).fit(TEXTS, [1.0, 2.0, 100.0] * 4)
BOOSTED = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5).fit(
    NUMBERS.assign(x1=NUMBERS["x1"].where(np.arange(60) % 3 > 0)), NUMBERS["x1"]
)
LINEAR = fleets.fitted(1)


@pytest.fixture(scope="module")
def router(make: Make, keep: Keep, own: Any) -> Router:
    """Keys text (a text that may be missing), boosted and linear (numbers, as arrays), last (a whole number)."""
    whole = pd.DataFrame({"id": [1, 2]})
    return make(
        *ROUTED,
        f"+models.text.uri={keep(OF_TEXT, TEXTS)}",
        f"+models.boosted.uri={keep(BOOSTED, NUMBERS)}",
        f"+models.linear.uri={keep(LINEAR, NUMBERS)}",
        f"+models.last.uri={keep(own.LastDigits(), whole)}",
    )


def rows_alone(router: Router, frame: pd.DataFrame) -> list[Any]:
    """The answer of each row in a batch of its own."""
    return [router.predict(frame.iloc[[row]])[0] for row in range(len(frame))]


# -- a text that is missing ------------------------------------------------------------------------------------------

THREE = {"key": ["text"] * 3}
FRAMES = {
    "text": pd.DataFrame({"s": pd.Series(["a", None, "b"], dtype="str"), **THREE}),
    "objects-NaN": pd.DataFrame({"s": np.array(["a", np.nan, "b"], object), **THREE}),
    "objects-None": pd.DataFrame({"s": np.array(["a", None, "b"], object), **THREE}),
    "objects-NA": pd.DataFrame({"s": np.array(["a", pd.NA, "b"], object), **THREE}),
    "string": pd.DataFrame({"s": pd.array(["a", None, "b"], dtype="string"), **THREE}),
    "category": pd.DataFrame({"s": pd.Categorical(["a", None, "b"]), **THREE}),
}


def test_the_models_are_told_apart_by_missing_values():
    """A precondition of the tests below: the bare models answer a missing value with something of its own."""
    np.testing.assert_allclose(OF_TEXT.predict(TEXTS.head(3)), [1.0, 2.0, 100.0], rtol=1e-9)
    one, missing = BOOSTED.predict(pd.DataFrame({"x1": [1.0, np.nan], "x2": 0.0}))
    assert one != missing


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_missing_text_in_a_frame(router, frame):
    """In a batch, and alone, it is answered as the bare model answers NaN."""
    expected = OF_TEXT.predict(pd.DataFrame({"s": pd.Series(["a", np.nan, "b"], dtype="str")})).tolist()

    assert router.predict(frame).tolist() == expected
    assert rows_alone(router, frame) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param([{"s": None, "key": "text"}], [100.0], id="one-record"),
        pytest.param([{"s": None, "key": "text"}, {"s": "a", "key": "text"}], [100.0, 1.0], id="records"),
        pytest.param([{"s": None, "key": "text"}, {"s": None, "key": "text"}], [100.0, 100.0], id="records-of-None"),
        pytest.param([{"s": "a", "key": "text"}, {"key": "text"}], [1.0, 100.0], id="records-without"),
        pytest.param({"s": [None], "key": ["text"]}, [100.0], id="column-of-one"),
        pytest.param({"s": ["b", None], "key": ["text"] * 2}, [2.0, 100.0], id="columns"),
        pytest.param({"s": [None, None], "key": ["text"] * 2}, [100.0, 100.0], id="columns-of-None"),
        pytest.param({"s": [float("nan"), "b"], "key": ["text"] * 2}, [100.0, 2.0], id="columns-NaN"),
        pytest.param({"s": np.array([None, "b"], object), "key": ["text"] * 2}, [100.0, 2.0], id="arrays"),
    ],
)
def test_a_missing_text_in_rows_and_columns(router, sent, expected):
    """JSON's null comes as None or as NaN, whatever stands beside it: it is one value."""
    np.testing.assert_allclose(router.predict(sent), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("others", "texts"),
    [
        pytest.param(["text"], [None], id="another-missing-one"),
        pytest.param(["text"], ["a"], id="a-text"),
        pytest.param(["linear"], [None], id="alone-in-its-group"),
        pytest.param(["linear", "boosted"], ["a", "b"], id="texts-of-others"),
        pytest.param(["linear", "text", "text"], [None, None, None], id="a-group-of-missing-ones"),
        pytest.param(["nobody"], [None], id="beside-a-skipped-row"),
    ],
)
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=["None", "NaN", "NA"])
def test_a_missing_text_in_any_company(router, others, texts, missing):
    """Its group may have nothing but missing texts, and other groups what they like."""
    sent = [missing, *(missing if text is None else text for text in texts)]
    frame = pd.DataFrame({"s": np.array(sent, object), "x1": 1.0, "x2": 0.0, "key": ["text", *others]})

    assert router.predict(frame)[0] == pytest.approx(100.0, rel=1e-9)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_missing_text_is_no_missing_number(router, rows):
    """A column of text is none of numbers, also where nothing stands in it and a row is alone."""
    frame = pd.DataFrame({"x1": pd.Series([None] * rows, dtype="str"), "x2": 0.0, "key": "boosted"})

    with pytest.raises(BadInputError, match=r"^column 'x1' must be double: it is str"):
        router.predict(frame)


# -- a time ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clock(make: Make, keep: Keep, own: Any) -> Router:
    """The key time: a model that sees the unit of its times. The key whole: one of other columns."""
    times = pd.DataFrame({"t": pd.to_datetime(["2020-01-05", "2020-01-06"]).astype("M8[ns]")})
    whole = pd.DataFrame({"id": [1, 2]})
    return make(
        *ROUTED, f"+models.time.uri={keep(own.Nanoseconds(), times)}", f"+models.whole.uri={keep(own.Same(), whole)}"
    )


NOON = pd.Timestamp("2020-01-05T12:00").value
ISO = ["2020-01-05T12:00:00", "2020-01-05T12:00:00.123456789"]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param(["2020-01-05T12:00"], [NOON], id="text"),
        pytest.param(ISO, [NOON, NOON + 123456789], id="seconds-beside-nanoseconds"),
        pytest.param(["2020-01-05T12:00", "2020-01-05T12:00:00.5"], [NOON, NOON + 500_000_000], id="two-precisions"),
        pytest.param(["2020-01-05T13:00:00+01:00", "2020-01-05T14:00:00+02:00"], [NOON, NOON], id="two-offsets"),
        pytest.param(["2020-01-05T12:00:00", "2020-01-05T12:00:00Z"], [NOON, NOON], id="naive-beside-Z"),
        pytest.param(["2020-01-05T12:00:00", "2020-01-05T13:00:00+01:00"], [NOON, NOON], id="naive-beside-an-offset"),
        pytest.param(pd.to_datetime(ISO[:1]).astype("M8[s]"), [NOON], id="M8[s]"),
        pytest.param(pd.to_datetime(ISO[:1]).astype("M8[ms]"), [NOON], id="M8[ms]"),
        pytest.param(pd.to_datetime(ISO[:1] * 2).astype("M8[us]"), [NOON, NOON], id="M8[us]"),
        pytest.param(pd.DatetimeIndex(np.array(ISO, "M8[ns]")), [NOON, NOON + 123456789], id="M8[ns]"),
        pytest.param(pd.to_datetime(["2020-01-05T13:00+01:00"]).astype("M8[us, UTC]"), [NOON], id="M8[us, UTC]"),
        pytest.param(
            pd.to_datetime(["2020-01-05T12:00Z"]).tz_convert("Asia/Tokyo").as_unit("s"), [NOON], id="M8[s, Asia/Tokyo]"
        ),
        pytest.param(
            np.array([pd.Timestamp("2020-01-05T12:00"), pd.Timestamp("2020-01-05T13:00+01:00")], object),
            [NOON, NOON],
            id="timestamps",
        ),
        pytest.param(pd.Categorical(ISO), [NOON, NOON + 123456789], id="category-of-text"),
        pytest.param(pd.Categorical(pd.to_datetime(ISO[:1]).astype("M8[s]")), [NOON], id="category-of-times"),
    ],
)
def test_a_time_is_in_nanoseconds(clock, times, expected):
    """Without a zone, whatever unit or offset was sent: alone, among others, and beside another sub-model's rows."""
    frame = pd.DataFrame({"t": times, "id": 1, "key": "time"})
    mixed = pd.concat([frame, frame.assign(key="whole")], ignore_index=True)

    assert clock.predict(frame).tolist() == expected
    assert rows_alone(clock, frame) == expected
    assert clock.predict(mixed)[: len(frame)].tolist() == expected


def test_times_in_records(clock):
    """As JSON sends them, with two offsets in one batch."""
    rows = [{"t": "2020-01-05T13:00:00+01:00", "key": "time"}, {"t": "2020-01-05T14:00:00+02:00", "key": "time"}]

    assert clock.predict(rows).tolist() == [NOON, NOON]
    assert [clock.predict([row]).tolist() for row in rows] == [[NOON], [NOON]]


# -- a category of whole numbers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered(make: Make, keep: Keep) -> Router:
    """Whole numbers as keys; those beyond 2 ** 53 are one double."""
    path = keep(LINEAR, NUMBERS)
    keys = {"one": 1, "low": 2**53, "high": 2**53 + 1}
    return make(*ROUTED, *(f"+models.{id_}={{uri:'{path}',key:{{key:{key}}}}}" for id_, key in keys.items()))


def test_a_missing_category_of_whole_numbers_is_no_key(numbered):
    """Beside columns of whole numbers, too: pandas would make INT64_MIN of it where a row is alone."""
    frame = pd.DataFrame({"key": pd.Categorical([1, None], categories=[1, 9]), "x1": [0, 0], "x2": [0, 0]})

    whole = numbered.predict(frame, ANNOTATED)
    alone = numbered.predict(frame.iloc[[1]], ANNOTATED)

    assert whole["reason"].tolist() == ["exact", "missing_key"]
    assert alone["reason"].tolist() == ["missing_key"]
    assert [it["reason"] for it in numbered.explain(frame.iloc[[1]])] == ["missing_key"]


def of_category(key: str, column: str = "x1") -> pd.DataFrame:
    """A one and a missing value in a category of whole numbers, beside whole numbers."""
    numbers = {"x1": [0, 0], "x2": [0, 0], "id": [5, 5]}
    return pd.DataFrame({**numbers, column: pd.Categorical([1, None], categories=[1, 9]), "key": key})


def test_a_missing_category_of_whole_numbers_is_nan(router):
    """A model that takes missing numbers answers as for NaN: alone, in a batch, and beside another sub-model."""
    expected = BOOSTED.predict(pd.DataFrame({"x1": [1.0, np.nan], "x2": 0.0})).tolist()
    frame = of_category("boosted")

    assert router.predict(frame).tolist() == expected
    assert rows_alone(router, frame) == expected
    assert router.predict(pd.concat([frame, of_category("text").assign(s="a")]))[:2].tolist() == expected


@pytest.mark.parametrize("rows", [[1], [0, 1]], ids=["alone", "batch"])
@pytest.mark.parametrize("beside", [[], ["text"]], ids=["own-key", "beside-another"])
def test_a_model_that_refuses_missing_numbers(router, rows, beside):
    """It never sees a number in the place of the missing one, but fails as for NaN."""
    frame = pd.concat([of_category("linear").iloc[rows], *(of_category(key).iloc[:1].assign(s="a") for key in beside)])

    with pytest.raises(ModelError, match=r"^linear: its predict failed with ValueError\."):
        router.predict(frame)


@pytest.mark.parametrize("rows", [[1], [0, 1]], ids=["alone", "batch"])
@pytest.mark.parametrize("beside", [[], ["text"]], ids=["own-key", "beside-another"])
def test_a_whole_number_cannot_be_missing(router, rows, beside):
    """A column of type long has no value for it: the row is refused, and no INT64_MIN takes its place."""
    frame = of_category("last", "id").iloc[rows]
    frame = pd.concat([frame, *(of_category(key).iloc[:1].assign(s="a", id=7) for key in beside)])

    with pytest.raises(BadInputError, match=r"column 'id' must be long: 1 values are missing, and integers have no"):
        router.predict(frame)


# -- keys beyond 2 ** 53 ---------------------------------------------------------------------------------------------

LARGE = [2**53, 2**53 + 1, None]
OTHERS = {"x1": [1.0] * 3, "x2": [1.0] * 3}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([{"key": key, "x1": 1.0, "x2": 1.0} for key in LARGE], id="records"),
        pytest.param([{"x1": 1.0, "x2": 1.0} | ({"key": key} if key else {}) for key in LARGE], id="records-without"),
        pytest.param({"key": LARGE, **OTHERS}, id="columns"),
        pytest.param({"key": tuple(LARGE), **OTHERS}, id="tuples"),
        pytest.param({"key": np.array(LARGE, object), **OTHERS}, id="arrays"),
        pytest.param({"key": [*LARGE[:2], float("nan")], **OTHERS}, id="columns-NaN"),
        pytest.param(pd.DataFrame({"key": pd.array(LARGE, dtype="Int64"), **OTHERS}), id="Int64"),
        pytest.param(pd.DataFrame({"key": np.array(LARGE, object), **OTHERS}), id="objects"),
    ],
)
def test_large_keys_keep_their_digits(numbered, sent):
    """Beside a missing one pandas would make doubles of them, and both the same."""
    answer = numbered.predict(sent, ANNOTATED)

    assert answer["model_id"].tolist() == ["low", "high", None]
    assert answer["reason"].tolist() == ["exact", "exact", "missing_key"]


@pytest.mark.parametrize(("key", "id_"), [(2**53, "low"), (2**53 + 1, "high"), (-(2**53) - 1, None)])
@pytest.mark.parametrize("other", [None, 0.5, "1", 1], ids=["None", "float", "text", "int"])
def test_a_large_key_in_any_company(numbered, key, id_, other):
    """In records and in columns: whatever stands beside it, and alone."""
    records = [{"key": value, "x1": 1.0, "x2": 1.0} for value in (key, other)]
    columns = {"key": [key, other], "x1": [1.0, 1.0], "x2": [1.0, 1.0]}

    found = [numbered.predict(sent, ANNOTATED)["model_id"][0] for sent in (records, columns, records[:1])]

    assert found == [id_] * 3


# -- rows that are skipped -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named(make: Make, keep: Keep, own: Any) -> Router:
    """Sub-models that answer with a number, a text and a truth."""
    path = keep(own.Named(), NUMBERS)
    return make(*ROUTED, *(f"+models.{key}.uri={path}" for key in "ab"))


@pytest.mark.parametrize("nonsense", ["text", True, None, 10**400, 1j], ids=repr)
@pytest.mark.parametrize("keys", [["linear"], ["linear", "boosted"], ["linear", "text"]], ids="+".join)
def test_features_of_a_skipped_row_fail_nobody(router, keys, nonsense):
    """Nobody reads them: the others are answered as without the row, whether by arrays or by frames."""
    sent = pd.DataFrame({"x1": 1.5, "x2": -0.5, "s": "a", "key": [*keys, "nobody"]}).astype({"x1": object})
    sent.loc[len(keys), "x1"] = nonsense
    expected = router.predict(sent.iloc[:-1].astype({"x1": float})).tolist()

    answer = router.predict(sent, ANNOTATED)

    assert answer["reason"].tolist() == [*["exact"] * len(keys), "unknown"]
    assert answer["prediction"][:-1].tolist() == expected
    assert np.isnan(answer["prediction"][-1])


def test_features_of_a_skipped_row_alone(router):
    """The same where nobody is beside it."""
    answer = router.predict(pd.DataFrame({"x1": ["nonsense"], "x2": ["nonsense"], "key": ["nobody"]}), ANNOTATED)

    assert answer["reason"].tolist() == ["unknown"]
    assert np.isnan(answer["prediction"]).tolist() == [True]


@pytest.mark.parametrize(
    "keys",
    [["nobody"], ["nobody", "nobody"], ["nobody", "a"], ["nobody", "a", "b"], [None, "b"]],
    ids=["alone", "all", "beside-one", "beside-two", "without-a-key"],
)
def test_nulls_of_a_skipped_row_in_a_frame(named, keys):
    """None for text and booleans, NaN for numbers, whether or not other rows are answered."""
    answer = named.predict(pd.DataFrame({"x1": 1.5, "x2": 0.0, "key": np.array(keys, object)}))

    found = answer.iloc[0]
    assert np.isnan(found["double"])
    assert (found["text"], found["true"]) == (None, None)
    answered = [key in ("a", "b") for key in keys]
    assert [(it.double, it.text, it.true) for it in answer[answered].itertuples()] == [(3.0, "t", True)] * sum(answered)


# -- arms ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halved(make: Make, keep: Keep, own: Any) -> Router:
    """Half of all rows in the arm new, by all columns of the sub-models: a time, and a float of 32 bits."""
    rows = pd.DataFrame({"t": pd.to_datetime(["2020-01-05"] * 2).astype("M8[ns]"), "f": np.array([0.5, 1.5], "f4")})
    path = keep(own.Nanoseconds(), rows)
    return make(
        *ROUTED,
        f"+models.main.uri={path}",
        f"+models.fresh={{uri:'{path}',key:{{key:main}},arm:new}}",
        "+traffic.arms.new=0.5",
    )


TIMES = pd.date_range("2020-01-05T12:00", periods=24, freq="h").as_unit("ns")
# None of them is a float of 32 bits.
FLOATS = np.arange(24) / 10 + 0.1
DECLARED = [(canonical(value), canonical(time)) for value, time in zip(FLOATS.astype("f4"), TIMES, strict=True)]
ARMS = ["new" if fraction("new", [time, value]) < 0.5 else "main" for value, time in DECLARED]


@pytest.mark.parametrize(
    "floats",
    [
        pytest.param(FLOATS.astype("f4"), id="float32"),
        pytest.param(FLOATS, id="float64"),
        pytest.param(FLOATS.astype(object), id="objects"),
        pytest.param(pd.array(FLOATS, dtype="Float64"), id="Float64"),
    ],
)
@pytest.mark.parametrize(
    "times",
    [
        pytest.param(TIMES, id="ns"),
        pytest.param(TIMES.as_unit("s"), id="s"),
        pytest.param(TIMES.tz_localize("UTC"), id="UTC"),
        pytest.param(TIMES.tz_localize("UTC").tz_convert("Asia/Tokyo"), id="Asia/Tokyo"),
        pytest.param(TIMES.strftime("%Y-%m-%dT%H:%M"), id="text"),
        pytest.param(TIMES.strftime("%Y-%m-%d %H:%M:%S.000Z"), id="text-Z"),
        pytest.param((TIMES + pd.Timedelta("2h")).strftime("%Y-%m-%dT%H:%M+02:00"), id="text-offset"),
        pytest.param(TIMES.astype(object), id="timestamps"),
    ],
)
def test_the_arm_is_that_of_the_declared_values(halved, times, floats):
    """Columns that sub-models have are hashed as these have them, in a batch and alone."""
    frame = pd.DataFrame({"t": times, "f": floats, "key": "main"})

    whole = halved.predict(frame, ANNOTATED)["arm"].tolist()
    alone = [halved.predict(frame.iloc[[row]], ANNOTATED)["arm"][0] for row in range(0, 24, 5)]

    assert set(ARMS) == {"main", "new"}
    assert whole == ARMS
    assert alone == ARMS[::5]


def test_the_arm_of_records(halved):
    """JSON has neither times nor floats of 32 bits."""
    texts = TIMES.strftime("%Y-%m-%dT%H:%M:%SZ")
    rows = [{"t": text, "f": value, "key": "main"} for text, value in zip(texts, FLOATS.tolist(), strict=True)]

    assert halved.predict(rows, ANNOTATED)["arm"].tolist() == ARMS
    assert [halved.predict([row], ANNOTATED)["arm"][0] for row in rows[:6]] == ARMS[:6]
