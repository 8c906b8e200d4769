"""Labels of rows: a sub-model sees 0 to n - 1 on every path, and the caller's come back on the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmeframe.plugin import Observer, ObserverConf
from mmeframe.runtime import Router
from mmeframe.runtime.router import Answer
from tests import fleets
from tests.causes import causes
from tests.conftest import Store

# Models whose answers go wrong where rows bring labels of their own.
OWN = '''
import pandas as pd
from sklearn.base import BaseEstimator

class Own(BaseEstimator):
    def __init__(self, times=10.0):
        self.times = times
    def fit(self, X, y=None):
        return self

class Beside(Own):
    """Sets a Series beside its frame, as encoders and feature makers do."""
    def predict(self, X):
        assert list(X.index) == list(range(len(X))), X.index
        made = X.copy()
        made["made"] = pd.Series(made["x"].to_numpy() * self.times)
        return made["made"].to_numpy()

class Sorted(Own):
    """Answers in the order of its values; labels say which row each is for."""
    def predict(self, X):
        return (X["x"] * self.times).sort_values(ascending=False)

class SortedFrame(Own):
    """The same with two columns."""
    def predict(self, X):
        return pd.DataFrame({"a": X["x"] * self.times, "b": -X["x"]}).sort_values("b")

class Fails(Own):
    """Fails for the last of the rows; the build does not ask for that one."""
    def predict(self, X):
        assert 4.0 not in X["x"].tolist()
        return X["x"].to_numpy()

class Gate(Own):
    """Which of two keys, by a Series that is set beside the frame."""
    def predict(self, X):
        made = X.copy()
        made["key"] = pd.Series(["b" if x > 2 else "a" for x in X["x"]])
        return made["key"].to_numpy()
'''
X = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
KEYED = X.assign(key=["a", "b", "a", "b"])
INDEXES = {
    "plain": pd.RangeIndex(4),
    "offset": pd.RangeIndex(7, 11),
    "reversed": pd.Index([3, 2, 1, 0]),
    "texts": pd.Index(["p", "q", "r", "s"]),
    "equal": pd.Index([5, 5, 5, 5]),
    "floats": pd.Index([0.5, 1.5, 2.5, 3.5]),
    "times": pd.date_range("2024-01-01", periods=4),
    "levels": pd.MultiIndex.from_product([["u", "v"], [0, 1]]),
}
ROUTED = ("routing=column", "routing.column=key")
Made = Callable[..., Router]
Saved = Callable[..., str]


@pytest.fixture(scope="module")
def own(importable: Callable[..., Any]) -> Any:
    """The module of OWN."""
    return importable("own_labels", OWN)


@pytest.fixture(scope="module")
def saved(module_store: Store, own: Any) -> Saved:
    """The path of a model of OWN, logged with an example whose labels are not in order: (name, times=10) -> path."""

    def save(name: str, times: float = 10.0, answers: Any = None) -> str:
        example = X.set_axis([2, 0, 3, 1])
        return fleets.keep(
            module_store.folder,
            getattr(own, name)(times),
            X,
            answers,
            input_example=example,
            code_paths=[own.__file__],
        )

    return save


@pytest.fixture(scope="module")
@causes("process")
def routers(make: Made, saved: Saved) -> dict[str, Router]:
    """One router for each way to a sub-model; the answer of row x is 10 * x, of key b 20 * x."""
    beside, twice = saved("Beside"), saved("Beside", 20.0)
    pair = [f"+models.a.uri={beside}", f"+models.b.uri={twice}"]
    return {
        "groups": make(*ROUTED, *pair, name="groups"),
        "waves": make(*ROUTED, *pair, "residency=lazy", "residency.max_models=1", name="waves"),
        "isolated": make(*ROUTED, *pair, "isolation=process", name="isolated"),
        "sorted": make(
            *ROUTED, f"+models.a.uri={saved('Sorted')}", f"+models.b.uri={saved('Sorted', 20.0)}", name="sorted"
        ),
        "arms": make(
            *ROUTED,
            *[f"+models.{key}.uri={saved('Beside', 99.0)}" for key in "ab"],
            f"+models.a2={{uri:'{beside}',key:{{key:a}},arm:new}}",
            f"+models.b2={{uri:'{twice}',key:{{key:b}},arm:new}}",
            "+traffic.arms.new=1.0",
            name="arms",
        ),
        "combined": make(
            *ROUTED,
            f"+models.low={{uri:'{beside}',key:none}}",
            f"+models.high={{uri:'{saved('Sorted', 30.0)}',key:none}}",
            "+models.a.combine={kind:weighted,of:[low,high],weights:[1.0,0.0]}",
            "+models.b.combine={kind:mean,of:[low,high]}",
            name="combined",
        ),
    }


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
@pytest.mark.parametrize("way", ["groups", "waves", "isolated", "sorted", "combined"])
def test_interleaved_rows_have_the_answers_that_they_have_alone(routers, way, index):
    """Whatever the labels of a batch: rows of two sub-models, of one, and each alone."""
    router, frame = routers[way], KEYED.set_axis(index)

    assert router.predict(frame).tolist() == [10.0, 40.0, 30.0, 80.0]
    assert router.predict(frame.assign(key="a")).tolist() == [10.0, 20.0, 30.0, 40.0]
    assert [router.predict(frame.iloc[[row]])[0] for row in range(4)] == [10.0, 40.0, 30.0, 80.0]


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_answers_in_columns_have_the_callers_labels(make_frames, index):
    """Rows of the answer are those of the request, each under its own label."""
    answer = make_frames.predict(KEYED.set_axis(index))

    assert answer.index.equals(index)
    assert answer["a"].tolist() == [10.0, 40.0, 30.0, 80.0]
    assert answer["b"].tolist() == [-1.0, -2.0, -3.0, -4.0]


@pytest.fixture(scope="module")
def make_frames(make: Made, saved: Saved) -> Router:
    """A router of sub-models that answer with frames in an order of their own."""
    return make(
        *ROUTED,
        f"+models.a.uri={saved('SortedFrame')}",
        f"+models.b.uri={saved('SortedFrame', 20.0)}",
        name="frames",
    )


@pytest.mark.build
@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_a_gate_sees_labels_in_order(make, saved, index):
    """What decides the key is a sub-model, too."""
    if "gated" not in _GATED:
        _GATED["gated"] = make(
            "routing=gate",
            "routing.model=which",
            f"+models.which={{uri:'{saved('Gate')}',key:none}}",
            f"+models.a.uri={saved('Beside')}",
            f"+models.b.uri={saved('Beside', 20.0)}",
            name="gated",
            notes=None,
        )

    assert _GATED["gated"].predict(X.set_axis(index)).tolist() == [10.0, 20.0, 60.0, 80.0]


_GATED: dict[str, Router] = {}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([3, 1, 0, 2], [30.0, 20.0, 40.0, 10.0], id="permutation"),
        pytest.param([3.0, 1.0, 0.0, 2.0], [30.0, 20.0, 40.0, 10.0], id="permutation-of-floats"),
        pytest.param([4, 3, 2, 1], [10.0, 20.0, 30.0, 40.0], id="other-numbers"),
        pytest.param([0, 0, 1, 2], [10.0, 20.0, 30.0, 40.0], id="twice"),
        pytest.param(["3", "1", "0", "2"], [10.0, 20.0, 30.0, 40.0], id="texts"),
    ],
)
def test_an_answer_follows_its_labels_where_they_are_those_of_the_rows(labels, expected):
    """A permutation of the rows' labels is an order; any other labels say nothing, and answers are taken in turn."""
    from mmeframe.rows.answers import as_prediction

    answers = pd.Series([10.0, 20.0, 30.0, 40.0], labels)

    assert as_prediction(answers, 4, "m").tolist() == expected
    assert as_prediction(answers.to_frame("a"), 4, "m")["a"].tolist() == expected


def test_arms_see_labels_in_order(routers):
    """A row that an arm takes is scored among the rows of that arm only."""
    assert routers["arms"].predict(KEYED.set_axis([9, 8, 7, 6])).tolist() == [10.0, 40.0, 30.0, 80.0]


@pytest.mark.build
def test_rows_beside_a_sub_model_that_fails(make, saved):
    """on_error=skip leaves the other rows their answers."""
    router = make(
        *ROUTED,
        f"+models.a.uri={saved('Beside')}",
        f"+models.b.uri={saved('Fails', answers=np.ones(4))}",
        "output.on_error=skip",
        name="skipping",
    )

    np.testing.assert_array_equal(router.predict(KEYED.set_axis([9, 8, 7, 6])), [10.0, np.nan, 30.0, np.nan])


class Seen(Observer[ObserverConf]):
    """Keeps what shadows answered."""

    answers: list[list[float]] = []  # noqa: RUF012 - one list for the one test

    def on_shadow(self, event: Any) -> None:
        self.answers.append(event.shadow_answers.tolist())


@pytest.mark.build
def test_shadows_see_labels_in_order(make, saved, monkeypatch):
    """Rows of a shadow arm are a part of the batch, taken out after the answer."""
    from mmeframe import api

    built = make(
        *ROUTED,
        f"+models.a.uri={saved('Beside')}",
        f"+models.b.uri={saved('Beside')}",
        f"+models.b2={{uri:'{saved('Beside', 20.0)}',key:{{key:b}},arm:new}}",
        "traffic.shadow=[new]",
        "+observer@observers.log=log",
        name="shadowed",
        notes=None,
    )
    monkeypatch.setenv("MMEFRAME_OBSERVERS", f"{Seen.__module__}:Seen")
    router = api.load_router(str(built.bundle.folder.parents[1]))
    answer: Answer = router.answer(KEYED.set_axis([9, 8, 7, 6]))
    router.background.wait()

    assert answer.values.tolist() == [10.0, 20.0, 30.0, 40.0]
    assert Seen.answers == [[40.0, 80.0]]
