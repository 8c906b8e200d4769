"""Sub-models that combine others, and sub-models whose predictions are the routing key."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, load_wine
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mmeframe import api
from mmeframe.errors import BadInputError, ConfigError, ModelError, ProblemsError, UnknownKeyError
from mmeframe.plugin import canonical
from mmeframe.plugin.manager import load_plugins
from mmeframe.rows.shares import fraction
from mmeframe.runtime import Router
from tests import fleets
from tests.conftest import Store

# A model that ships its own code, and answers with a frame.
OWN = '''
import pandas as pd
from sklearn.base import BaseEstimator

class Ends(BaseEstimator):
    """Answers with a lower and an upper end, in columns of the order that it was told."""
    def __init__(self, columns=("low", "high"), width=1.0):
        self.columns, self.width = columns, width
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        ends = {"low": X["x1"] - self.width, "high": X["x1"] + self.width}
        return pd.DataFrame({name: ends[name].to_numpy() for name in self.columns})
'''
ROUTED = ("routing=column", "routing.column=key")
PLUGINS = fleets.plugins()
ROWS = fleets.rows(120)[["x1", "x2"]].assign(x3=np.linspace(-1, 1, 120))

Keep = Callable[..., str]
Make = Callable[..., Router]


@pytest.fixture(scope="module")
def own(importable: Callable[..., Any]) -> Any:
    """The module of OWN."""
    return importable("own_ends", OWN)


def member(id_: str, path: str) -> str:
    """The override of a sub-model that no key reaches."""
    return f"+models.{id_}={{uri:'{path}',key:none}}"


def combined(id_: str, kind: str, of: str, more: str = "") -> str:
    """The override of a sub-model that combines others; its id is its key."""
    return f"+models.{id_}.combine={{kind:{kind},of:[{of}]{more}}}"


def problems(*overrides: str) -> list[str]:
    """What validate reports, without the hints."""
    with pytest.raises(ProblemsError) as caught:
        api.validate(*overrides, plugins=PLUGINS)
    return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]


# -- numbers ---------------------------------------------------------------------------------------------------------

X12, X23 = ["x1", "x2"], ["x3", "x2"]
MEMBERS = {
    "linear": (LinearRegression(), X12),
    "tree": (DecisionTreeRegressor(max_depth=3), X12),
    "boosted": (HistGradientBoostingRegressor(max_iter=4), X23),
    "tokyo": (DecisionTreeRegressor(max_depth=2), X23),
}
TARGET = 3 * ROWS["x1"] - ROWS["x2"] ** 2 + ROWS["x3"]
for _model, _columns in MEMBERS.values():
    _model.fit(ROWS[_columns], TARGET)
WEIGHTS = [3.0, 1.0, 0.5]


@pytest.fixture(scope="module")
def paths(keep: Keep) -> dict[str, str]:
    return {name: keep(model, ROWS[columns]) for name, (model, columns) in MEMBERS.items()}


@pytest.fixture(scope="module")
def cities(make: Make, paths: dict[str, str]) -> Router:
    """Members without a key, one with a key of its own, combinations of both and of combinations, one for all else."""
    return make(
        *ROUTED,
        "routing.levels=[[key],[]]",
        *(member(id_, paths[id_]) for id_ in ("linear", "tree", "boosted")),
        f"+models.tokyo={{uri:'{paths['tokyo']}'}}",
        combined("berlin", "mean", "linear,tree,boosted"),
        combined("paris", "median", "linear,tree,boosted"),
        combined("rome", "weighted", "linear,tree,boosted", ",weights:[3,1,0.5]"),
        combined("kyoto", "mean", "tokyo,tree"),
        combined("nested", "weighted", "berlin,kyoto,linear", ",weights:[1,2,1]"),
        "+models.tokyo_new={combine:{kind:median,of:[tokyo,nested]},key:{key:tokyo},arm:canary}",
        "+models.everyone={combine:{kind:mean,of:[nested,boosted]},key:{}}",
        "+traffic.arms.canary=0.5",
        "traffic.sticky=[user]",
        name="cities",
    )


def by_hand(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """What every sub-model of ``cities`` answers for all rows, by its original model or by numpy."""
    of = {name: model.predict(frame[columns]) for name, (model, columns) in MEMBERS.items()}
    three = [of["linear"], of["tree"], of["boosted"]]
    of["berlin"], of["paris"] = np.mean(three, axis=0), np.median(three, axis=0)
    of["rome"] = np.average(three, axis=0, weights=WEIGHTS)
    of["kyoto"] = np.mean([of["tokyo"], of["tree"]], axis=0)
    of["nested"] = np.average([of["berlin"], of["kyoto"], of["linear"]], axis=0, weights=[1, 2, 1])
    of["tokyo_new"] = np.median([of["tokyo"], of["nested"]], axis=0)
    of["everyone"] = np.mean([of["nested"], of["boosted"]], axis=0)
    return of


CITIES = ["berlin", "paris", "rome", "kyoto", "nested", "tokyo", "oslo"]


def batch(keys: list[str], n: int = 70) -> pd.DataFrame:
    return ROWS.head(n).assign(
        key=[keys[row % len(keys)] for row in range(n)], user=[f"user {row}" for row in range(n)]
    )


def owner(key: str, user: str) -> str:
    """The sub-model of a row: half of tokyo's users are in the canary arm, and nobody has oslo."""
    if key == "tokyo" and fraction("canary", [canonical(user)]) < 0.5:
        return "tokyo_new"
    return key if key != "oslo" else "everyone"


def test_each_row_has_its_combination(cities):
    """Every kind, combinations of combinations, in an arm and as the global sub-model, in one batch."""
    frame = batch(CITIES)
    ids = [owner(key, user) for key, user in zip(frame["key"], frame["user"], strict=True)]

    answer = cities.predict(frame, {"annotate": True})

    assert set(ids) == {*CITIES, "tokyo_new", "everyone"} - {"oslo"}
    assert answer["model_id"].tolist() == ids
    assert answer["arm"].tolist() == ["canary" if id_ == "tokyo_new" else "main" for id_ in ids]
    wanted = by_hand(frame)
    np.testing.assert_allclose(answer["prediction"], [wanted[id_][row] for row, id_ in enumerate(ids)], rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("key", ["berlin", "paris", "rome", "kyoto", "nested", "oslo"])
def test_one_combination_for_all_rows(cities, key, rows):
    """A batch of one key, and a row alone, have the values of numpy's own computation."""
    frame = batch([key], rows)

    np.testing.assert_allclose(cities.predict(frame), by_hand(frame)[owner(key, "")], rtol=1e-12)


@pytest.mark.parametrize("id_", ["linear", "nested", "tokyo_new", "everyone"])
def test_any_of_them_can_be_asked_by_id(cities, id_):
    """Past routing, with or without a key."""
    frame = batch(["nobody"], 9)

    np.testing.assert_allclose(cities.score(id_, frame), by_hand(frame)[id_], rtol=1e-12)


@pytest.mark.parametrize("name", ["linear", "tree", "boosted"])
def test_no_key_reaches_a_member_without_a_key(cities, name):
    """``key: none``: a row with the member's id as its key is a row of an unknown key."""
    answer = cities.predict(batch([name], 2), {"annotate": True})

    assert answer["model_id"].tolist() == ["everyone", "everyone"]


def test_a_combination_without_files_has_no_version(cities):
    """Its own record says whose answers it combines."""
    record = next(it for it in cities.records if it.id == "rome")

    assert (record.of, record.version, record.bytes) == (("linear", "tree", "boosted"), None, 0)
    assert cities.predict(batch(["rome"], 1), {"annotate": True})["model_version"].tolist() == [None]


def test_combinations_through_mlflow(cities, module_store):
    """MLflow's loader gives the same answers, in order."""
    with fleets.active(module_store.uri):
        loaded = mlflow.pyfunc.load_model("models:/cities/1")
    frame = batch(CITIES)

    assert loaded.predict(frame).tolist() == cities.predict(frame).tolist()


def test_combinations_of_a_table(cities, module_store, tmp_path):
    """``predict`` on a file, in pieces."""
    frame = batch(CITIES)
    frame.to_csv(tmp_path / "rows.csv", index=False)

    scored = api.predict_table(
        "models:/cities/1", tmp_path / "rows.csv", tmp_path / "out.csv", batch_rows=11, tracking_uri=module_store.uri
    )

    assert scored.reasons == {"exact": 60, "fallback": 10}
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["prediction"], cities.predict(frame), rtol=1e-9)


def test_a_members_column_is_needed(cities):
    """What one member needs, its combination needs; others do without."""
    frame = batch(["berlin", "tokyo"], 4)

    with pytest.raises(BadInputError, match=r"column 'x1' \(double\) is missing"):
        cities.predict(frame.drop(columns="x1"))
    assert np.isfinite(cities.score("tokyo", frame.drop(columns="x1"))).all()


@pytest.mark.build
def test_a_failing_member_fails_its_combination(make, paths):
    """With on_error: skip the rows of combinations that need it are lost, and no others."""
    router = make(
        *ROUTED,
        member("linear", paths["linear"]),
        f"+models.tokyo.uri={paths['tokyo']}",
        combined("pair", "mean", "tokyo,linear"),
        "output.on_error=skip",
    )
    frame = batch(["pair", "tokyo"], 4)
    frame.loc[0, "x1"] = np.nan

    answer = router.predict(frame, {"annotate": True})

    assert answer["reason"].tolist() == ["model_error", "exact", "model_error", "exact"]
    assert answer["model_id"].tolist() == ["pair", "tokyo", "pair", "tokyo"]
    assert np.isnan(answer["prediction"]).tolist() == [True, False, True, False]


# -- votes, probabilities, frames ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def voters(keep: Keep) -> list[str]:
    """Members that answer whatever the row is, one for each text."""
    return [
        member(
            f"says_{text}", keep(DummyClassifier(strategy="constant", constant=text).fit(ROWS, list("abc") * 40), ROWS)
        )
        for text in "abc"
    ]


@pytest.mark.build
def test_votes_of_text(make, keep, voters):
    """What most say; of equally many, what the one named first says."""
    other = DummyClassifier(strategy="constant", constant="c").fit(ROWS, ["b", "c"] * 60)
    router = make(
        *ROUTED,
        *voters,
        member("also_c", keep(other, ROWS)),
        combined("most", "vote", "says_a,says_c,also_c"),
        combined("tie", "vote", "says_b,says_a"),
        combined("tie_of_pairs", "vote", "says_b,says_c,also_c,twice_b"),
        combined("twice_b", "vote", "says_b"),
        combined("all_differ", "vote", "says_c,says_b,says_a"),
    )
    keys = ["most", "tie", "tie_of_pairs", "all_differ", "most"]

    answer = router.predict(ROWS.head(5).assign(key=keys))

    assert answer.tolist() == ["c", "b", "b", "c", "c"]
    assert [router.predict(ROWS.head(1).assign(key=key)).tolist() for key in keys[:2]] == [["c"], ["b"]]


@pytest.mark.build
def test_votes_of_numbers(make, keep):
    """Votes keep the type of the answers: whole numbers stay whole."""
    sizes = np.digitize(TARGET, [-1.0, 1.0])
    trees = [DecisionTreeClassifier(max_depth=depth).fit(ROWS, sizes) for depth in (1, 2, 3)]
    ids = [f"tree{number}" for number in range(3)]
    router = make(
        *ROUTED,
        *(member(id_, keep(tree, ROWS)) for id_, tree in zip(ids, trees, strict=True)),
        combined("vote", "vote", ",".join(ids)),
    )
    ballots = np.array([tree.predict(ROWS) for tree in trees])
    # Of three votes either two agree, or the first one counts.
    wanted = np.where(ballots[1] == ballots[2], ballots[1], ballots[0])

    answer = router.predict(ROWS.assign(key="vote"))

    assert answer.dtype.kind == "i"
    assert answer.tolist() == wanted.tolist()


@pytest.mark.build
def test_mean_of_probabilities(make, keep):
    """Classes are aligned before they are combined: what a member never saw has probability 0 in it."""
    labels = np.array(["low", "mid", "top"])[np.digitize(ROWS["x1"], [-0.5, 0.5])]
    models = {
        "all": LogisticRegression().fit(ROWS, labels),
        "lower": LogisticRegression().fit(ROWS[labels != "top"], labels[labels != "top"]),
    }
    router = make(
        *ROUTED,
        member("all", keep(models["all"], ROWS)),
        f"+models.lower.uri={keep(models['lower'], ROWS)}",
        combined("both", "mean", "all,lower"),
        "output.method=predict_proba",
    )

    answer = router.predict(ROWS.head(6).assign(key=["both", "lower"] * 3))

    alone = np.c_[models["lower"].predict_proba(ROWS.head(6)), np.zeros(6)]
    both = (models["all"].predict_proba(ROWS.head(6)) + alone) / 2
    assert answer.columns.tolist() == ["low", "mid", "top"]
    np.testing.assert_allclose(answer, np.where(np.arange(6)[:, None] % 2 == 0, both, alone), rtol=1e-9, atol=1e-12)


@pytest.mark.build
def test_mean_of_several_outputs(make, keep):
    """Answers of shape (rows, outputs) are combined number by number."""
    models = [LinearRegression().fit(ROWS, np.c_[TARGET * scale, TARGET + scale]) for scale in (1, 3)]
    router = make(
        *ROUTED,
        *(member(id_, keep(model, ROWS)) for id_, model in zip("ab", models, strict=True)),
        combined("both", "weighted", "a,b", ",weights:[3,1]"),
    )

    answer = router.predict(ROWS.head(5).assign(key="both"))

    own = [model.predict(ROWS.head(5)) for model in models]
    np.testing.assert_allclose(answer, np.average(own, axis=0, weights=[3, 1]), rtol=1e-12)


@pytest.mark.build
@pytest.mark.parametrize("keys", [["both", "both"], ["both", "wide"]], ids=["alone", "beside-a-member"])
def test_frames_are_combined_by_name(make, keep, own, keys):
    """A lower end is never added to an upper one, whatever order the columns of two members have."""
    code = {"code_paths": [own.__file__]}
    narrow, wide = own.Ends(width=1.0), own.Ends(("high", "low"), width=3.0)
    router = make(
        *ROUTED,
        member("narrow", keep(narrow, ROWS, **code)),
        f"+models.wide.uri={keep(wide, ROWS, **code)}",
        combined("both", "mean", "narrow,wide"),
        notes=None,
    )

    answer = router.predict(ROWS.head(2).assign(key=keys))

    width = [2.0 if key == "both" else 3.0 for key in keys]
    assert sorted(answer.columns) == ["high", "low"]
    np.testing.assert_allclose(answer["low"], ROWS["x1"].head(2) - width, rtol=1e-12)
    np.testing.assert_allclose(answer["high"], ROWS["x1"].head(2) + width, rtol=1e-12)


# -- combinations that are refused -----------------------------------------------------------------------------------


LINEAR, TOKYO = "+models.linear.uri=LINEAR", "+models.tokyo.uri=TOKYO"
WORDS = "+models.words={uri:WORDS,key:none}"


@pytest.fixture(scope="module")
def files(keep: Keep, paths: dict[str, str]) -> dict[str, str]:
    """The sub-models of the configs below: one double, the same again, text, and two numbers per row."""
    return {
        "LINEAR": paths["linear"],
        "TOKYO": paths["tokyo"],
        "WORDS": keep(DecisionTreeClassifier().fit(ROWS, ["a", "b"] * 60), ROWS),
        "TWO": keep(LinearRegression().fit(ROWS, np.c_[TARGET, TARGET]), ROWS),
    }


@pytest.mark.parametrize(
    ("models", "found"),
    [
        pytest.param(
            ["+models.a.combine={kind:mean,of:[b]}", "+models.b.combine={kind:mean,of:[a]}"],
            "models.a.combine.of: these combine one another: a -> b -> a.",
            id="cycle",
        ),
        pytest.param(
            ["+models.a.combine={kind:mean,of:[a]}"],
            "models.a.combine.of: these combine one another: a -> a.",
            id="itself",
        ),
        pytest.param(
            [LINEAR, "+models.pair.combine={kind:mean,of:[linaer]}"],
            "models.pair.combine.of: there is no sub-model 'linaer'.",
            id="unknown-id",
        ),
        pytest.param(
            [LINEAR, TOKYO, "+models.pair.combine={kind:weighted,of:[linear,tokyo],weights:[1]}"],
            "models.pair.combine.weights: there are 1 weights for 2 sub-models; write one for each, in order.",
            id="weights",
        ),
        pytest.param(
            [LINEAR, "+models.pair={uri:TOKYO,combine:{kind:mean,of:[linear]}}"],
            "models.pair.combine: a sub-model has files (uri) or combines others, not both.",
            id="uri-beside-combine",
        ),
        pytest.param(
            [LINEAR, "+models.pair.combine={kind:maen,of:[linear]}"],
            "models.pair.combine.kind: no combiner named 'maen'.",
            id="unknown-kind",
        ),
        pytest.param(
            [LINEAR, "+models.pair.combine={kind:mean}"],
            "models.pair.combine.of: it names no sub-models; list the ids whose answers are combined.",
            id="of-nobody",
        ),
        pytest.param(
            [LINEAR, "+models.pair.combine={kind:mean,of:[linear,linear]}"],
            "models.pair.combine.of: duplicate 'linear'.",
            id="twice",
        ),
        pytest.param(
            [LINEAR, "+models.pair.combine={of:[linear]}"],
            "models.pair.combine: choose a combiner: kind is missing.",
            id="no-kind",
        ),
        pytest.param(
            [LINEAR, "+models.lone={uri:TOKYO,key:none}"],
            "models.lone: nothing uses it: it has key: none, and no gate or combination names it.",
            id="nobody-uses-it",
        ),
        pytest.param(
            [LINEAR, "+models.lone={combine:{kind:mean,of:[linear]},key:none}"],
            "models.lone: nothing uses it: it has key: none, and no gate or combination names it.",
            id="nobody-uses-the-combination",
        ),
        pytest.param(
            [WORDS, "+models.pair.combine={kind:mean,of:[words]}"],
            "models.pair.combine: answers of type string cannot be combined as numbers.",
            id="mean-of-text",
        ),
        pytest.param(
            [LINEAR, WORDS, "+models.pair.combine={kind:vote,of:[linear,words]}"],
            "models.words: its prediction is string, and double in 'linear'.",
            id="vote-of-text-and-numbers",
        ),
        pytest.param(
            [LINEAR, "+models.two={uri:TWO,key:none}", "+models.pair.combine={kind:mean,of:[linear,two]}"],
            "models.two: it answers with 2 numbers per row and 'linear' with one value.",
            id="shapes",
        ),
    ],
)
def test_combinations_that_are_refused(module_store, files, models, found):
    """validate says where in the config, and says nothing else."""
    for word, path in files.items():
        models = [line.replace(f"uri:{word}", f"uri:'{path}'").replace(f"uri={word}", f"uri={path}") for line in models]

    assert problems("name=bad", *ROUTED, *models, module_store.override) == [found]


def test_a_mean_of_text_is_one_problem(module_store, files):
    """That the mean would be no number beside the others' follows from that, and is not said."""
    models = [
        f"+models.linear.uri={files['LINEAR']}",
        member("words", files["WORDS"]),
        combined("pair", "mean", "words"),
    ]

    assert problems("name=bad", *ROUTED, *models, module_store.override) == [
        "models.pair.combine: answers of type string cannot be combined as numbers."
    ]


def test_votes_on_probabilities_are_refused(module_store, keep):
    """A vote takes one answer per row: that there are several is known before a router is built that never answers."""
    model = keep(DecisionTreeClassifier().fit(ROWS, ["a", "b"] * 60), ROWS)
    models = [member("one", model), member("two", model), combined("pair", "vote", "one,two")]

    found = problems("name=bad", *ROUTED, *models, module_store.override, "output.method=predict_proba")

    assert [line.split(": ")[0] for line in found] == ["models.pair.combine"]


@pytest.mark.parametrize("option", ["loader:pyfunc", "flavor:sklearn"])
def test_options_of_files_are_none_of_a_combination(module_store, paths, option):
    """It has no files to load: an option that would do nothing is refused."""
    models = [member("linear", paths["linear"]), f"+models.pair={{combine:{{kind:mean,of:[linear]}},{option}}}"]

    found = problems("name=bad", *ROUTED, *models, module_store.override)

    assert [line.split(": ")[0] for line in found] == [f"models.pair.{option.split(':')[0]}"]


# -- gates: a sub-model predicts the key -----------------------------------------------------------------------------

WINE = load_wine(as_frame=True).frame
SEEN, USED = ["alcohol", "color_intensity"], ["alcohol", "hue", "proline"]
CLUSTERS = KMeans(3, n_init=3, random_state=0).fit(WINE[SEEN])
CLUSTER = CLUSTERS.predict(WINE[SEEN])
OF_CLUSTER = [WINE[rows] for rows in np.equal.outer(range(3), CLUSTER)]
BY_CLUSTER = [DecisionTreeRegressor(max_depth=3).fit(rows[USED], rows["ash"]) for rows in OF_CLUSTER]
GATED = ("routing=gate", "routing.model=clusters")


@pytest.fixture(scope="module")
def wine(keep: Keep) -> dict[str, str]:
    """The gate and three regressions, one for each of its clusters."""
    return {
        "clusters": keep(CLUSTERS, WINE[SEEN]),
        **{f"wine{it}": keep(model, WINE[USED]) for it, model in enumerate(BY_CLUSTER)},
    }


def regimes(wine: dict[str, str], keys: dict[str, Any]) -> list[str]:
    """The gate, and sub-models with these keys."""
    declared = [f"+models.{id_}={{uri:'{wine[id_]}',key:{{gate:{key}}}}}" for id_, key in keys.items()]
    return [*GATED, member("clusters", wine["clusters"]), *declared]


@pytest.fixture(scope="module")
def gated(make: Make, wine: dict[str, str]) -> Router:
    return make(*regimes(wine, {"wine0": 0, "wine1": 1, "wine2": 2}), name="gated")


def test_the_gate_decides(gated):
    """Every row goes to the sub-model of its cluster, and gets that one's answer: the gate's own is never seen."""
    answer = gated.predict(WINE, {"annotate": True})

    assert answer["model_id"].tolist() == [f"wine{it}" for it in CLUSTER]
    own = [BY_CLUSTER[it].predict(WINE[USED].iloc[[row]])[0] for row, it in enumerate(CLUSTER)]
    assert answer["prediction"].tolist() == own


def test_a_gate_decides_row_by_row(gated):
    """A row alone, and a batch of one cluster, get what they get among others."""
    whole = gated.predict(WINE)

    assert [gated.predict(WINE.iloc[[row]])[0] for row in range(0, 178, 20)] == whole[::20].tolist()
    assert gated.predict(WINE[CLUSTER == 1]).tolist() == whole[CLUSTER == 1].tolist()


def test_a_gate_through_mlflow(gated, module_store):
    """MLflow's loader gives the same."""
    with fleets.active(module_store.uri):
        loaded = mlflow.pyfunc.load_model("models:/gated/1")

    assert loaded.predict(WINE).tolist() == gated.predict(WINE).tolist()


def test_the_gates_columns_are_needed(gated):
    """Routing needs what the gate looks at, also where no other sub-model does."""
    with pytest.raises(BadInputError, match=r"column 'color_intensity' \(double\) is missing"):
        gated.predict(WINE.drop(columns="color_intensity"))


def test_a_gate_that_fails_fails_the_request(gated):
    """Without a key there is no sub-model to skip: the gate is named, and its library's text is not repeated."""
    frame = WINE.head(3).copy()
    frame.loc[1, "alcohol"] = np.nan

    with pytest.raises(ModelError) as caught:
        gated.predict(frame)

    assert str(caught.value) == (
        "clusters: its predict failed with ValueError.\n  Columns with missing values in its rows: alcohol."
    )


@pytest.mark.parametrize("ask", ["predict", "explain"])
def test_a_gate_is_not_asked_about_no_rows(gated, ask):
    """Libraries refuse tables without rows; a router answers them with nothing."""
    assert len(getattr(gated, ask)(WINE.head(0))) == 0


def test_a_gate_in_explain(gated):
    """What the gate said is the key part."""
    found = gated.explain(WINE.head(40))

    assert [it["key"]["gate"] for it in found] == [str(it) for it in CLUSTER[:40]]
    assert [it["model_id"] for it in found] == [f"wine{it}" for it in CLUSTER[:40]]


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        pytest.param({"wine0": 0, "wine1": 1, "wine2": 2}, (), id="all"),
        pytest.param(
            {"wine0": 0, "wine1": 1},
            ("routing.keys.gate: no sub-model is declared for '2', and every level uses this part.",),
            id="one-class-too-many",
        ),
        pytest.param(
            {"wine0": 0, "wine1": 1, "wine2": 3},
            (
                "routing.keys.gate: no row reaches 'wine2'. It gives: 0, 1, 2.",
                "routing.keys.gate: no sub-model is declared for '2', and every level uses this part.",
            ),
            id="one-of-each",
        ),
    ],
)
def test_classes_and_sub_models_are_compared(module_store, wine, keys, warned):
    """A class without a sub-model, and a sub-model without a class, are warned about."""
    assert api.validate("name=g", *regimes(wine, keys), module_store.override, plugins=PLUGINS).warnings == warned


def test_classes_that_fall_back_are_fine(module_store, wine):
    """A class without a sub-model of its own has the global one."""
    rest = f"+models.rest={{uri:'{wine['wine2']}',key:{{}}}}"

    fleet = api.validate(
        "name=g",
        *regimes(wine, {"wine0": 0}),
        rest,
        "routing.levels=[[gate],[]]",
        module_store.override,
        plugins=PLUGINS,
    )

    assert fleet.warnings == ()


def test_classes_of_which_none_has_a_sub_model(module_store, wine):
    """Nothing could ever be answered: validate refuses it, with both lists."""
    with pytest.raises(ProblemsError) as caught:
        api.validate(
            "name=g", *regimes(wine, {"wine0": "red", "wine1": "white"}), module_store.override, plugins=PLUGINS
        )

    assert str(caught.value) == (
        "routing.keys.gate: none of its keys has a sub-model.\n  It gives: 0, 1, 2. Declared: red, white."
    )


def test_a_gate_that_is_not_there(module_store, wine):
    """The nearest id is named."""
    with pytest.raises(ProblemsError) as caught:
        api.validate(
            "name=g", *regimes(wine, {"wine0": 0}), "routing.model=cluster", module_store.override, plugins=PLUGINS
        )

    assert "routing.keys.gate: there is no sub-model 'cluster'.\n  Did you mean 'clusters'?" in str(caught.value)


IRIS = load_iris(as_frame=True)
LEAVES = IRIS.data.set_axis(["sepal_length", "sepal_width", "petal_length", "petal_width"], axis=1)
SPECIES = np.array(["setosa", "versicolor", "virginica"])[IRIS.target]
PETALS = ["petal_length", "petal_width"]


@pytest.fixture(scope="module")
def species(make: Make, keep: Keep) -> tuple[Router, Any, dict[str, Any]]:
    """A classifier of text that decides which classifier of whole numbers gives the probabilities."""
    gate = make_pipeline(StandardScaler(), LogisticRegression()).fit(LEAVES[PETALS], SPECIES)
    wide = {name: (LEAVES["sepal_width"] > limit).astype(int) for name, limit in (("setosa", 3.4), ("virginica", 3.0))}
    models = {name: LogisticRegression().fit(LEAVES, labels) for name, labels in wide.items()}
    other = LogisticRegression().fit(LEAVES, 1 + (LEAVES["sepal_length"] > 6))
    router = make(
        "routing=gate",
        "routing.model=botanist",
        "routing.levels=[[gate],[]]",
        member("botanist", keep(gate, LEAVES[PETALS])),
        *(f"+models.{name}.uri={keep(model, LEAVES)}" for name, model in models.items()),
        f"+models.other={{uri:'{keep(other, LEAVES)}',key:{{}}}}",
        "output.method=predict_proba",
        name="species",
    )
    return router, gate, {**models, "other": other}


def test_a_gate_predicts_whatever_the_others_are_asked(species):
    """With output.method=predict_proba the gate still gives classes, and these are none of the answer's."""
    router, gate, models = species
    said = gate.predict(LEAVES[PETALS])
    ids = [name if name in models else "other" for name in said]

    answer = router.predict(LEAVES, {"annotate": True})

    assert set(ids) == {"setosa", "virginica", "other"}
    assert list(answer)[:3] == ["0", "1", "2"]
    assert answer["model_id"].tolist() == ids
    for row in range(0, 150, 7):
        own = dict(zip(models[ids[row]].classes_, models[ids[row]].predict_proba(LEAVES.iloc[[row]])[0], strict=True))
        assert [answer[name][row] for name in "012"] == pytest.approx([own.get(label, 0.0) for label in range(3)])


def test_a_gate_can_be_asked_by_id(species):
    """score() gives what the gate says, for whoever wants to look."""
    router, gate, _ = species

    assert router.score("botanist", LEAVES.head(9)).tolist() == gate.predict(LEAVES[PETALS].head(9)).tolist()


@pytest.mark.build
def test_an_unknown_class_is_an_unknown_key(make, wine):
    """A class without a sub-model and without a fallback is named with its rows."""
    warned = "routing.keys.gate: no sub-model is declared for '2', and every level uses this part."
    router = make(*regimes(wine, {"wine0": 0, "wine1": 1}), name="two_regimes", notes=(warned,))

    with pytest.raises(UnknownKeyError, match=f"no sub-model for {(CLUSTER == 2).sum()} rows: gate=2"):
        router.predict(WINE)


@pytest.mark.build
def test_a_combination_can_be_a_gate(make, keep):
    """Three classifiers vote on the species, and the species decides."""
    voters = {
        f"judge{depth}": DecisionTreeClassifier(max_depth=depth, random_state=0).fit(LEAVES[PETALS], SPECIES)
        for depth in (1, 2, 3)
    }
    answers = {
        name: LinearRegression().fit(LEAVES, IRIS.target + number) for number, name in enumerate(np.unique(SPECIES))
    }
    router = make(
        "routing=gate",
        "routing.model=jury",
        *(member(name, keep(model, LEAVES[PETALS])) for name, model in voters.items()),
        f"+models.jury={{combine:{{kind:vote,of:[{','.join(voters)}]}},key:none}}",
        *(f"+models.{name}.uri={keep(model, LEAVES)}" for name, model in answers.items()),
        name="jury",
    )
    ballots = np.array([model.predict(LEAVES[PETALS]) for model in voters.values()])
    verdict = np.where(ballots[1] == ballots[2], ballots[1], ballots[0])

    assert router.predict(LEAVES, {"annotate": True})["model_id"].tolist() == verdict.tolist()


# -- members with types and frames of their own ----------------------------------------------------------------------

# Members that ship their own code. What they do not like is an x1 above 5.
MEMBERS_OF_ITS_OWN = '''
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

class Own(BaseEstimator):
    def fit(self, X, y=None):
        return self

class Clips(Own):
    """Changes the frame that it is given."""
    def predict(self, X):
        X["x1"] = X["x1"].clip(-1, 1)
        X.loc[X.index[0], "x2"] = 1000.0
        return X["x1"].to_numpy()

class Reads(Own):
    """What it is given, as it is."""
    def predict(self, X):
        return (10 * X["x1"] + X["x2"]).to_numpy()

class LastDigits(Own):
    """The last three digits of a whole number."""
    def predict(self, X):
        return (X["id"] % 1000).to_numpy().astype(float)

class Sparse(Own):
    """No answer where it does not like the row."""
    def predict(self, X):
        return X["x1"].where(X["x1"] <= 5).to_numpy()

class Widens(Own):
    """Three answers for each row where it does not like one."""
    def predict(self, X):
        return np.ones((len(X), 3)) if (X["x1"] > 5).any() else 2 * X["x1"].to_numpy()

class Side(Own):
    """Whether x1 is above 0, as a whole number; raises where it does not like a row."""
    def predict(self, X):
        if (X["x1"] > 5).any():
            raise RuntimeError(f"cannot take s3cr3t {X['x1'].max()}")
        return (X["x1"] > 0).astype(int).to_numpy()

class Framed(Side):
    """The same in a frame of one column."""
    def predict(self, X):
        return pd.DataFrame({"side": super().predict(X)})
'''
# Combiners that raise, or give another number of answers, and an observer that keeps what it is told.
BLENDING = '''
import json
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from mmeframe.plugin import (
    MISSING, Combiner, CombinerConf, CombinerPlugin, Observer, ObserverConf, ObserverPlugin, hookimpl,
)

EVENTS = []

@dataclass
class BlendConf(CombinerConf):
    of: list[str] = field(default_factory=list)

class Fussy(Combiner[BlendConf]):
    """The sum, and an error that holds a row where an answer is missing."""
    def combine(self, answers):
        if np.isnan(answers).any():
            raise ValueError(f"cannot take s3cr3t {answers}")
        return np.sum(answers, axis=0)

class Short(Combiner[BlendConf]):
    """The sum, and only one of them where an answer is missing."""
    def combine(self, answers):
        return np.sum(answers, axis=0)[: 1 if np.isnan(answers).any() else None]

@dataclass
class StackConf(CombinerConf):
    table: str = MISSING

class Stack(Combiner[StackConf]):
    """The sum with the weights of a file."""
    def prepare(self):
        return {"weights": Path(self.conf.table).read_bytes()}
    def bind(self, context):
        self.weights = json.loads(bytes(context.files["weights"]))
    def combine(self, answers):
        return np.tensordot(self.weights, answers, 1)

@dataclass
class NoteConf(ObserverConf):
    pass

class Note(Observer[NoteConf]):
    def on_batch(self, event):
        EVENTS.append(("batch", event))
    def on_error(self, event):
        EVENTS.append(("error", event))

@hookimpl
def mmeframe_combiners():
    return [
        CombinerPlugin("fussy", BlendConf, f"{__name__}:Fussy", "a sum of what is there"),
        CombinerPlugin("short", BlendConf, f"{__name__}:Short", "a sum that loses rows"),
        CombinerPlugin("stack", StackConf, f"{__name__}:Stack", "a sum with the weights of a file"),
    ]

@hookimpl
def mmeframe_observers():
    return [ObserverPlugin("note", NoteConf, f"{__name__}:Note", "keeps what it is told")]
'''


@pytest.fixture(scope="module")
def members(importable: Callable[..., Any]) -> Any:
    """The module of MEMBERS_OF_ITS_OWN; beside it the module ``blending``."""
    importable("blending", BLENDING)
    return importable("own_members", MEMBERS_OF_ITS_OWN)


@pytest.fixture(scope="module")
def shipped(keep: Keep, members: Any) -> Callable[..., str]:
    """Save one of MEMBERS_OF_ITS_OWN by its name; returns its path."""
    rows = {"LastDigits": pd.DataFrame({"id": [1, 2]})}

    def save(name: str, frame: pd.DataFrame | None = None) -> str:
        frame = rows.get(name, ROWS[X12]) if frame is None else frame
        return keep(getattr(members, name)(), frame.copy(), code_paths=[members.__file__])

    return save


@pytest.fixture(scope="module")
def typed(make: Make, shipped: Callable[..., str], paths: dict[str, str]) -> Router:
    """Combinations of a member that changes its frame and others, and of a long and a double one."""
    return make(
        *ROUTED,
        member("clips", shipped("Clips")),
        member("reads", shipped("Reads")),
        member("linear", paths["linear"]),
        member("whole", shipped("LastDigits")),
        member("floating", shipped("LastDigits", pd.DataFrame({"id": [1.5, 2.5]}))),
        f"+models.tree.uri={paths['tree']}",
        combined("clipped", "mean", "clips,reads"),
        combined("clipped_array", "weighted", "clips,linear", ",weights:[0,1]"),
        combined("clipped_twice", "weighted", "clipped,reads", ",weights:[0,1]"),
        combined("digits", "mean", "whole,floating"),
        name="typed",
        notes=None,
    )


WILD = pd.DataFrame({"x1": [50.0, 0.5, -3.0], "x2": [1.0, 2.0, 3.0]})
UNCLIPPED = (10 * WILD["x1"] + WILD["x2"]).to_numpy()
OF_WILD = {
    "clipped": (WILD["x1"].clip(-1, 1).to_numpy() + UNCLIPPED) / 2,
    "clipped_array": MEMBERS["linear"][0].predict(WILD),
    "clipped_twice": UNCLIPPED,
}


@pytest.mark.parametrize("key", list(OF_WILD))
@pytest.mark.parametrize("beside", [[], ["tree", "clipped"]], ids=["one-key", "several"])
def test_a_member_that_changes_its_frame(typed, key, beside):
    """What one member writes into its rows, the next one does not see; nor does the caller, or a row alone."""
    frame = pd.concat([WILD.assign(key=it) for it in (key, *beside)], ignore_index=True)
    before = frame.copy()

    answer = typed.predict(frame)[:3]

    np.testing.assert_allclose(answer, OF_WILD[key], rtol=1e-12)
    np.testing.assert_allclose(typed.predict(frame.iloc[[0]]), OF_WILD[key][:1], rtol=1e-12)
    pd.testing.assert_frame_equal(frame, before)


BEYOND = 2**53 + 1


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"id": [BEYOND], "key": ["digits"]}, id="alone"),
        pytest.param({"id": [BEYOND, 7], "key": ["digits"] * 2}, id="batch"),
        pytest.param({"id": [BEYOND, 7], "key": ["digits", "tree"], "x1": [0.0] * 2, "x2": [0.0] * 2}, id="mixed"),
        pytest.param({"id": [BEYOND, None], "key": ["digits", "tree"], "x1": [0.0] * 2, "x2": [0.0] * 2}, id="missing"),
        pytest.param([{"id": BEYOND, "key": "digits"}, {"key": "tree", "x1": 0.0, "x2": 0.0}], id="records"),
        pytest.param(pd.DataFrame({"id": [BEYOND], "key": "digits"}), id="frame"),
    ],
)
def test_members_with_a_long_and_a_double(typed, sent):
    """Each gets its own type: the long one all digits, which end in 993, the double one a double that ends in 992."""
    assert typed.predict(sent)[0] == (993 + 992) / 2


# -- combinations and sub-models that fail ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blending(members: Any) -> Any:
    """The built-in plugins, and the module of BLENDING as with ``-p blending``."""
    return load_plugins(["blending"])


@pytest.fixture
def events(members: Any) -> Iterator[list[tuple[str, Any]]]:
    """What the observer is told while a test runs."""
    from blending import EVENTS

    EVENTS.clear()
    yield EVENTS
    EVENTS.clear()


@pytest.fixture(scope="module")
def failing(
    module_store: Store, shipped: Callable[..., str], paths: dict[str, str], blending: Any
) -> dict[str, Router]:
    """By output.on_error: combinations that fail on a missing answer, one whose answers change their shape, others."""
    found = {}
    for on_error in ("raise", "skip"):
        logged = api.build(
            f"name=failing_{on_error}",
            *ROUTED,
            "routing.on_unknown=skip",
            f"output.on_error={on_error}",
            "+observer@observers.note=note",
            member("sparse", shipped("Sparse")),
            member("reads", shipped("Reads")),
            combined("fussy", "fussy", "sparse,reads"),
            combined("short", "short", "sparse,reads"),
            combined("outer", "mean", "reads,fussy"),
            f"+models.widens.uri={shipped('Widens')}",
            f"+models.tree.uri={paths['tree']}",
            module_store.override,
            plugins=blending,
        )
        found[on_error] = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
    return found


@pytest.mark.build
def test_a_combiner_with_a_table(module_store, paths, blending, tmp_path):
    """What it prepares of the config's files is in the bundle; a table that is not there is found before a build."""
    for name, weights in (("a", "[1, 2]"), ("b", "[3, -1]")):
        (tmp_path / f"{name}.json").write_text(weights)
    tables = {"first": "a", "second": "b", "third": "b", "gone": "c"}
    stacked = {
        id_: combined(id_, "stack", "linear,tree", f",table:'{tmp_path}/{it}.json'") for id_, it in tables.items()
    }
    config = ["name=stacked", *ROUTED, *(member(id_, paths[id_]) for id_ in ("linear", "tree")), module_store.override]

    with pytest.raises(ProblemsError, match=r"models\.gone\.combine: stack cannot prepare: FileNotFoundError"):
        api.validate(*config, stacked.pop("gone"), plugins=blending)
    logged = api.build(*config, *stacked.values(), plugins=blending)
    for table in tmp_path.glob("*.json"):
        table.unlink()
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    linear, tree = (MEMBERS[id_][0].predict(ROWS[X12]) for id_ in ("linear", "tree"))
    for id_, expected in (("first", linear + 2 * tree), ("second", 3 * linear - tree), ("third", 3 * linear - tree)):
        np.testing.assert_allclose(router.predict(ROWS.assign(key=id_)), expected, rtol=1e-12)


def disliked(keys: list[str]) -> pd.DataFrame:
    """A row with an x1 of 9 for each key."""
    return pd.DataFrame({"x1": 9.0, "x2": 0.0, "key": keys})


FAILED = {
    "fussy": "fussy: its combiner failed with ValueError.",
    "short": "short: it gave 1 answer for 2 rows.",
    "outer": "fussy: its combiner failed with ValueError.",
    "widens": "widens: it returned 3 values per row; its signature declares 1.",
}


@pytest.mark.parametrize("key", list(FAILED))
@pytest.mark.parametrize("beside", [[], ["tree"]], ids=["one-key", "beside-another"])
def test_a_failure_names_who_failed(failing, key, beside, events):
    """on_error: raise: the combination whose combiner raised, or the sub-model; never the text, which may hold rows."""
    with pytest.raises(ModelError) as caught:
        failing["raise"].predict(disliked([key, key, *beside]))

    assert str(caught.value).splitlines()[0] == FAILED[key]
    assert "s3cr3t" not in str(caught.value)
    assert [(kind, event.error) for kind, event in events] == [("error", caught.value)]


@pytest.mark.parametrize("key", list(FAILED))
@pytest.mark.parametrize(
    "beside", [[], ["tree"], ["tree", "nobody"], ["widens", "tree"]], ids=lambda it: "+".join(it) or "one-key"
)
def test_a_failure_that_is_skipped(failing, key, beside, events):
    """on_error: skip: its rows are null with the reason model_error, whoever is beside them; others are answered."""
    router = failing["skip"]
    frame = disliked([key, key, *beside])

    answer = router.predict(frame, {"annotate": True})

    reasons = {"tree": "exact", "nobody": "unknown"}
    assert answer["reason"].tolist() == [reasons.get(it, "model_error") for it in frame["key"]]
    assert answer["model_id"].tolist() == [None if it == "nobody" else it for it in frame["key"]]
    tree = MEMBERS["tree"][0].predict(frame[X12])[0]
    np.testing.assert_array_equal(answer["prediction"], [tree if it == "tree" else np.nan for it in frame["key"]])
    assert {event.model_id for kind, event in events if kind == "error"} == {*frame["key"]} - {"tree", "nobody"}


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_combinations_that_fail_on_some_rows_answer_others(failing, on_error):
    """A batch without the rows that they do not like is answered as ever."""
    frame = pd.DataFrame({"x1": [1.0, 2.0, 1.0, 1.0], "x2": 3.0, "key": ["fussy", "short", "outer", "widens"]})

    # Reads gives 10 x1 + x2, Sparse x1.
    assert failing[on_error].predict(frame).tolist() == [14.0, 25.0, 13.5, 2.0]


# -- combinations and gates that are disabled ------------------------------------------------------------------------

DISABLED = "MMEFRAME_DISABLED_MODELS"


@pytest.fixture(scope="module")
def levelled(module_store: Store, paths: dict[str, str]) -> tuple[str, ...]:
    """The config of a pair, a combination of that pair, a member with a key of its own, and one for all else."""
    return (
        *ROUTED,
        "routing.levels=[[key],[]]",
        member("linear", paths["linear"]),
        f"+models.tokyo={{uri:'{paths['tokyo']}'}}",
        combined("pair", "mean", "tokyo,linear"),
        combined("nested", "mean", "pair,tokyo"),
        f"+models.everyone={{uri:'{paths['tree']}',key:{{}}}}",
        module_store.override,
    )


@pytest.fixture(scope="module")
def levelled_uri(levelled: tuple[str, ...]) -> str:
    return api.build("name=levelled", *levelled, plugins=PLUGINS).model_uri


ASKED = ["pair", "nested", "tokyo", "oslo"]


@pytest.mark.parametrize(
    ("disabled", "ids", "reasons"),
    [
        pytest.param("", ["pair", "nested", "tokyo", "everyone"], ["exact"] * 3 + ["fallback"], id="none"),
        pytest.param(
            "linear",
            ["everyone", "everyone", "tokyo", "everyone"],
            ["disabled", "disabled", "exact", "fallback"],
            id="member",
        ),
        pytest.param("tokyo", ["everyone"] * 4, ["disabled"] * 3 + ["fallback"], id="member-with-a-key"),
        pytest.param(
            "pair",
            ["everyone", "everyone", "tokyo", "everyone"],
            ["disabled", "disabled", "exact", "fallback"],
            id="itself",
        ),
        pytest.param(
            "nested",
            ["pair", "everyone", "tokyo", "everyone"],
            ["exact", "disabled", "exact", "fallback"],
            id="outermost",
        ),
    ],
)
def test_what_is_disabled_takes_its_combinations_out(levelled_uri, module_store, monkeypatch, disabled, ids, reasons):
    """Nobody is asked through a combination either: the next level answers, in a batch and alone."""
    monkeypatch.setenv(DISABLED, disabled)
    router = api.load_router(levelled_uri, tracking_uri=module_store.uri)
    frame = batch(ASKED, 4)

    answer = router.predict(frame, {"annotate": True})
    alone = [router.predict(frame.iloc[[row]], {"annotate": True}) for row in range(4)]

    assert (answer["model_id"].tolist(), answer["reason"].tolist()) == (ids, reasons)
    assert [(it["model_id"][0], it["reason"][0]) for it in alone] == list(zip(ids, reasons, strict=True))
    assert [(it["model_id"], it["reason"]) for it in router.explain(frame)] == list(zip(ids, reasons, strict=True))


def test_what_the_config_disables_takes_its_combinations_out(levelled, tmp_path):
    """disabled_models in the config, before anything is built."""
    batch(ASKED, 4).to_parquet(tmp_path / "rows.parquet")

    found = api.explain("name=off", *levelled, "disabled_models=[linear]", data=tmp_path / "rows.parquet")

    assert [it["model_id"] for it in found] == ["everyone", "everyone", "tokyo", "everyone"]
    assert [it["reason"] for it in found] == ["disabled", "disabled", "exact", "fallback"]


def test_a_gate_cannot_be_disabled_in_the_config(module_store, wine):
    """It decides where rows go: switched off, it would leave all of them without a key."""
    off = "disabled_models=[clusters]"

    assert problems("name=bad", *regimes(wine, {"wine0": 0, "wine1": 1, "wine2": 2}), off, module_store.override) == [
        "disabled_models: 'clusters' is a gate, and decides where rows go."
    ]


def test_a_gate_cannot_be_disabled_by_a_variable(gated, module_store, monkeypatch):
    """The router is not loaded."""
    monkeypatch.setenv(DISABLED, "wine0,clusters")

    with pytest.raises(ConfigError) as caught:
        api.load_router("models:/gated/1", tracking_uri=module_store.uri)

    assert str(caught.value) == (
        f"{DISABLED}: 'clusters' is a gate, and decides where rows go.\n  Disable the sub-models that it sends rows to."
    )


# -- gates that are combinations, and gates that fail ----------------------------------------------------------------


@pytest.fixture(scope="module")
def sides(
    module_store: Store, keep: Keep, shipped: Callable[..., str], paths: dict[str, str]
) -> dict[str, tuple[str, ...]]:
    """Configs whose gate lets others vote, by who votes; the key 2 has no sub-model but the global one."""
    clusters = [KMeans(3, n_init=2, random_state=seed).fit(ROWS[names]) for seed, names in ((0, X12), (1, ["x3"]))]
    trees = [
        DecisionTreeClassifier(max_depth=depth, random_state=0).fit(ROWS[X12], np.digitize(ROWS["x1"], [-0.5, 0.5]))
        for depth in (1, 2, 3)
    ]
    voters = {
        "clusters": [keep(clusters[0], ROWS[X12]), keep(clusters[1], ROWS[["x3"]])],
        "classifiers": [keep(tree, ROWS[X12]) for tree in trees],
        "frames": [shipped("Side"), shipped("Framed"), shipped("Framed")],
    }
    found = {}
    for name, voting in voters.items():
        ids = [f"voter{number}" for number in range(len(voting))]
        found[name] = (
            "routing=gate",
            "routing.model=jury",
            "routing.levels=[[gate],[]]",
            *(member(id_, path) for id_, path in zip(ids, voting, strict=True)),
            f"+models.jury={{combine:{{kind:vote,of:[{','.join(ids)}]}},key:none}}",
            f"+models.zero={{uri:'{paths['linear']}',key:{{gate:0}}}}",
            f"+models.one={{uri:'{paths['tree']}',key:{{gate:1}}}}",
            f"+models.rest={{uri:'{paths['tokyo']}',key:{{}}}}",
            module_store.override,
        )
    return found


@pytest.mark.build
@pytest.mark.parametrize("voting", ["clusters", "classifiers", "frames"])
def test_a_vote_as_gate_is_explained_before_it_is_built(sides, module_store, voting, tmp_path):
    """What explain and coverage say of the config alone is what the router does, and what they say of that."""
    ROWS.to_parquet(tmp_path / "rows.parquet")
    config, data = (f"name=jury_of_{voting}", *sides[voting]), {"data": tmp_path / "rows.parquet", "plugins": PLUGINS}
    explained, covered = api.explain(*config, **data), api.coverage(*config, **data)

    uri = api.build(*config, plugins=PLUGINS).model_uri
    router = api.load_router(uri, tracking_uri=module_store.uri)
    answer = router.predict(ROWS, {"annotate": True})

    assert [it["model_id"] for it in explained] == answer["model_id"].tolist()
    assert [it["reason"] for it in explained] == answer["reason"].tolist()
    assert [it["key"] for it in explained] == [it["key"] for it in router.explain(ROWS)]
    assert {"zero", "one"} <= set(answer["model_id"])
    assert covered["rows"] == covered["covered"] == 120
    assert covered["reasons"] == dict(pd.Series(answer["reason"]).value_counts())
    assert covered == api.coverage(module_store.override, model=uri, **data)
    assert [router.explain(ROWS.iloc[[row]])[0]["key"] for row in range(0, 120, 17)] == [
        it["key"] for it in explained[::17]
    ]


@pytest.mark.build
@pytest.mark.parametrize("answers", ["two-numbers", "frame", "text", "probabilities"])
def test_a_vote_as_gate_of_other_answers(make, sides, keep, own, answers):
    """What the others answer with is nothing to the gate: its members' answers need not have that shape."""
    models = {
        "two-numbers": lambda: keep(LinearRegression().fit(ROWS, np.c_[TARGET, -TARGET]), ROWS),
        "frame": lambda: keep(own.Ends(), ROWS, code_paths=[own.__file__]),
        "text": lambda: keep(DecisionTreeClassifier(max_depth=2).fit(ROWS, ["a", "b"] * 60), ROWS),
    }
    path = models["text" if answers == "probabilities" else answers]()
    method = "predict_proba" if answers == "probabilities" else "predict"
    gate = [line for line in sides["classifiers"] if "gate:" not in line and "+models.rest" not in line]
    keys = {"zero": "{gate:0}", "one": "{gate:1}", "rest": "{}"}

    declared = [f"+models.{id_}={{uri:'{path}',key:{key}}}" for id_, key in keys.items()]
    router = make(*gate, *declared, f"output.method={method}", notes=None)
    answer = router.predict(ROWS)

    # All three keys have one sub-model's files.
    np.testing.assert_array_equal(np.asarray(answer), np.asarray(router.score("rest", ROWS)))


@pytest.fixture(scope="module")
def sided(
    module_store: Store, shipped: Callable[..., str], paths: dict[str, str], blending: Any
) -> Callable[[str, bool], Router]:
    """Build and load a router whose gate fails where x1 is above 5. voted: as one of two sub-models that vote."""
    names = (f"sided_{number}" for number in itertools.count())

    def build(on_error: str, voted: bool) -> Router:
        side = shipped("Side")
        gate = [member("side", side)]
        if voted:
            gate = [*(member(id_, side) for id_ in "ab"), "+models.side={combine:{kind:vote,of:[a,b]},key:none}"]
        logged = api.build(
            f"name={next(names)}",
            "routing=gate",
            "routing.model=side",
            *gate,
            f"+models.left={{uri:'{paths['linear']}',key:{{gate:0}}}}",
            f"+models.right={{uri:'{paths['tree']}',key:{{gate:1}}}}",
            f"output.on_error={on_error}",
            "+observer@observers.note=note",
            module_store.override,
            plugins=blending,
        )
        return api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    return build


@pytest.mark.build
@pytest.mark.parametrize(("voted", "failed"), [(False, "side"), (True, "a")], ids=["sub-model", "combination"])
def test_a_gate_that_fails_and_is_skipped(sided, voted, failed, events):
    """No row has a key: all are null with the reason model_error, and observers are told once."""
    router = sided("skip", voted)
    events.clear()
    frame = pd.DataFrame({"x1": [9.0, 1.0, -1.0], "x2": 0.5})

    answer = router.predict(frame, {"annotate": True})

    assert answer["reason"].tolist() == ["model_error"] * 3
    assert answer["model_id"].tolist() == answer["arm"].tolist() == [None] * 3
    assert np.isnan(answer["prediction"]).all()
    (error,), (told,) = ([event for kind, event in events if kind == what] for what in ("error", "batch"))
    assert (error.model_id, error.rows, error.shadow, type(error.error)) == (failed, 3, False, ModelError)
    assert (told.rows, dict(told.models), dict(told.reasons)) == (3, {}, {"model_error": 3})
    assert router.predict(frame.iloc[1:], {"annotate": True})["model_id"].tolist() == ["right", "left"]


@pytest.mark.build
@pytest.mark.parametrize(("voted", "failed"), [(False, "side"), (True, "a")], ids=["sub-model", "combination"])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_gate_that_fails_and_raises(sided, voted, failed, rows, events):
    """on_error: raise fails the request, and observers are told, too."""
    router = sided("raise", voted)
    events.clear()

    with pytest.raises(ModelError) as caught:
        router.predict(pd.DataFrame({"x1": [9.0] * rows, "x2": 0.5}))

    assert str(caught.value) == f"{failed}: its predict failed with RuntimeError."
    ((kind, error),) = events
    assert (kind, error.model_id, error.rows, error.shadow) == ("error", failed, rows, False)
    assert error.error is caught.value
