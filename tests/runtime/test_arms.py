"""Arms in a real router: which rows they take, and that a row stays where it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import api
from mmeframe.errors import BadInputError
from mmeframe.runtime import Router
from tests import fleets
from tests.rows.test_shares import by_contract

# Every day, and a global sub-model; a source would leave out the models that variants name.
DAYS = (
    "routing=column",
    "routing.column=dow",
    "routing.levels=[[dow],[]]",
    *(f"+models.day_{day}={{uri:'models:/day_{day}@champion',key:{{dow:{day}}}}}" for day in range(7)),
    "+models.everyone={uri:'models:/all_days@champion',key:{}}",
)
# Two arms for Monday, one for Tuesday and for the global sub-model, none for other days.
VARIANTS = (
    "+models.monday_blue={uri:'models:/day_4@champion',key:{dow:0},arm:blue}",
    "+models.monday_canary={uri:'models:/day_5@champion',key:{dow:0},arm:canary}",
    "+models.tuesday_canary={uri:'models:/day_6@champion',key:{dow:1},arm:canary}",
    "+models.everyone_canary={uri:'models:/day_3@champion',key:{},arm:canary}",
)
# The seed of the estimator behind each id.
SEEDS = {"monday_blue": 4, "monday_canary": 5, "tuesday_canary": 6, "everyone_canary": 3, "everyone": 20}
SEEDS |= {f"day_{day}": day for day in range(7)}

Load = Callable[[str], Router]


@pytest.fixture(scope="module")
def logged(week) -> Any:
    """Arms by user; they get their shares where the router is loaded."""
    arms = ("+traffic.arms={blue:0,canary:0}", "traffic.sticky=user")
    return api.build("name=arms_by_user", *DAYS, *VARIANTS, *arms, week.override)


@pytest.fixture(scope="module")
def load(logged, week) -> Load:
    """The router with other shares: ``load("canary=0.1,blue=0")``."""
    return loader(logged.model_uri, week.uri)


@pytest.fixture(scope="module")
def narrowed(week) -> Load:
    """Arms by all columns of the sub-models; canary for Monday and for the global sub-model only."""
    arms = ("+traffic.arms={blue:0,canary:0}", "+traffic.only.canary=[0,{}]")
    built = api.build("name=arms_narrowed", *DAYS, *VARIANTS, *arms, week.override)
    return loader(built.model_uri, week.uri)


def loader(uri: str, store: str) -> Load:
    def load(shares: str) -> Router:
        with fleets.active(store):
            loaded = mlflow.pyfunc.load_model(uri, model_config={"traffic_arms": shares}, suppress_warnings=True)
        return loaded.unwrap_python_model().router

    return load


def users(n: int, dow: Any = 0) -> pd.DataFrame:
    """Rows of users 0, 1, 2 ... with a key, or with keys."""
    return fleets.rows(n).assign(user=np.arange(n), dow=dow)


def arms(router: Router, frame: pd.DataFrame) -> list[str]:
    return router.predict(frame, {"annotate": True})["arm"].tolist()


def expected(values: list[str | None], blue: float, canary: float) -> str:
    """The arm of a Monday row: arms are tried in the order of their names, each with a number of its own."""
    if by_contract("blue", values) < blue:
        return "blue"
    return "canary" if by_contract("canary", values) < canary else "main"


# -- shares ----------------------------------------------------------------------------------------------------------


def test_a_share_of_nothing(load):
    """An arm whose share is 0 takes no row."""
    assert set(arms(load("canary=0,blue=0"), users(2000))) == {"main"}


def test_a_share_of_everything(load):
    """An arm whose share is 1 takes every row of every key that has it, and no other."""
    found = load("canary=1").predict(users(2000, np.arange(2000) % 9), {"annotate": True})

    taken = {0: "monday_canary", 1: "tuesday_canary", 7: "everyone_canary", 8: "everyone_canary"}
    assert found["model_id"].tolist() == [taken.get(row % 9, f"day_{row % 9}") for row in range(2000)]
    assert found["arm"].tolist() == ["canary" if row % 9 in taken else "main" for row in range(2000)]


def test_a_tenth(load):
    """Of 20,000 users a share of 0.1 takes a tenth, within five standard deviations: those that the contract names."""
    found = arms(load("canary=0.1"), users(20_000))

    assert found == [expected([str(user)], 0, 0.1) for user in range(20_000)]
    assert abs(found.count("canary") - 2000) < 5 * np.sqrt(20_000 * 0.1 * 0.9)


def test_two_arms(load):
    """The first in name order takes its share of all rows, the next its share of what is left."""
    found = arms(load("blue=0.3,canary=0.5"), users(20_000))

    assert found == [expected([str(user)], 0.3, 0.5) for user in range(20_000)]
    assert abs(found.count("blue") - 6000) < 5 * np.sqrt(20_000 * 0.3 * 0.7)
    assert abs(found.count("canary") - 7000) < 5 * np.sqrt(20_000 * 0.35 * 0.65)


@pytest.mark.parametrize("key", [1, 8], ids=["another-key", "the-global-sub-model"])
def test_a_key_with_one_of_the_arms(load, key):
    """An arm that a key does not have takes none of its rows, and leaves them to the arms that it has."""
    found = arms(load("blue=0.5,canary=0.2"), users(3000, key))

    assert found == [expected([str(user)], 0, 0.2) for user in range(3000)]


def test_a_key_without_arms(load):
    """A key without an arm uses its main sub-model, whatever the shares are."""
    found = load("blue=0.5,canary=0.5").predict(users(100, 2), {"annotate": True})

    assert set(found["model_id"]) == {"day_2"}
    assert set(found["arm"]) == {"main"}


def test_raising_one_share(load):
    """From 0 to 1, every step keeps the rows that the arm has, and nobody else moves."""
    before: set[int] = set()
    for share in (0, 0.01, 0.1, 0.11, 0.5, 0.999, 1):
        found = arms(load(f"canary={share}"), users(3000))
        taken = {user for user, arm in enumerate(found) if arm == "canary"}
        assert taken >= before
        assert {arm for user, arm in enumerate(found) if user not in taken} <= {"main"}
        before = taken

    assert len(before) == 3000


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_raising_one_of_two_shares(load, data):
    """Rows move only into the arm whose share was raised; all others stay where they are."""
    share = st.integers(0, 100)
    low = data.draw(st.fixed_dictionaries({"blue": share, "canary": share}).filter(lambda it: sum(it.values()) <= 100))
    arm = data.draw(st.sampled_from(["blue", "canary"]))
    high = {**low, arm: data.draw(st.integers(low[arm], 100 - sum(low.values()) + low[arm]))}
    frame = users(1500)

    before, after = (
        np.array(arms(load(",".join(f"{name}={share / 100}" for name, share in it.items())), frame))
        for it in (low, high)
    )

    assert set(after[before != after]) <= {arm}
    assert set(after[before == arm]) <= {arm}


# -- the same row ----------------------------------------------------------------------------------------------------

SHARES = "blue=0.3,canary=0.4"
N = 300
SAME = [expected([str(user)], 0.3, 0.4) for user in range(N)]


def test_neighbours_order_and_index(load):
    """A row is in the same arm in whatever batch it comes, in any order, under any index, alone too."""
    router, frame = load(SHARES), users(N)
    order = np.random.default_rng(1).permutation(N)

    assert arms(router, frame) == SAME
    assert arms(router, frame.iloc[order]) == [SAME[user] for user in order]
    assert arms(router, frame.set_axis([3] * N)) == SAME
    assert [arm for at in range(0, N, 7) for arm in arms(router, frame.iloc[at : at + 7])] == SAME
    assert [arms(router, frame.iloc[user : user + 1])[0] for user in range(N)] == SAME


def test_among_rows_of_other_keys(load):
    """What goes before and after a row, to which sub-models, changes nothing."""
    frame = users(N * 2, np.repeat([0, 5], N)).assign(user=np.tile(np.arange(N), 2))
    order = np.random.default_rng(2).permutation(N * 2)

    found = arms(load(SHARES), frame.iloc[order])

    assert [arm for row, arm in zip(order, found, strict=True) if row < N] == [SAME[row] for row in order if row < N]


FORMS = [
    pytest.param(np.arange(N), id="int64"),
    pytest.param(np.arange(N, dtype="uint16"), id="uint16"),
    pytest.param(np.arange(N, dtype="float64"), id="float64"),
    pytest.param(np.arange(N, dtype="float32"), id="float32"),
    pytest.param(np.array([str(user) for user in range(N)], object), id="text"),
    pytest.param(pd.array([str(user) for user in range(N)], dtype="string"), id="string"),
    pytest.param(pd.array(range(N), dtype="Int64"), id="Int64"),
    pytest.param(pd.array([str(user) for user in range(N)], dtype="string[pyarrow]"), id="arrow"),
    pytest.param(pd.Categorical(range(N), range(N - 1, -1, -1)), id="category"),
    pytest.param(np.array([[user, float(user), str(user)][user % 3] for user in range(N)], object), id="mixed"),
]


@pytest.mark.parametrize("values", FORMS)
def test_forms_of_the_sticky_values(load, values):
    """7, 7.0 and "7" are one user, in every type of column, in a batch and alone."""
    router, frame = load(SHARES), users(N).assign(user=values)

    assert arms(router, frame) == SAME
    assert [arms(router, frame.iloc[user : user + 1])[0] for user in range(0, N, 10)] == SAME[::10]


@pytest.mark.process
def test_another_process(load, logged, week, tmp_path):
    """A row is in the same arm in another process, with other hashes of Python's own, after another load."""
    users(N).to_parquet(tmp_path / "rows.parquet")
    program = (
        "import sys, json, pandas as pd; from mmeframe import api;"
        f"router = api.load_router({logged.model_uri!r}, tracking_uri={week.uri!r});"
        f"answer = router.predict(pd.read_parquet({str(tmp_path / 'rows.parquet')!r}), {{'annotate': True}});"
        "print(json.dumps([answer['arm'].tolist(), answer['model_id'].tolist()]))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "4711", "MMEFRAME_TRAFFIC_ARMS": SHARES}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)

    here = load(SHARES).predict(users(N), {"annotate": True})
    assert json.loads(done.stdout.splitlines()[-1]) == [here["arm"].tolist(), here["model_id"].tolist()]
    assert here["arm"].tolist() == SAME


# -- what decides ----------------------------------------------------------------------------------------------------


def test_a_user_stays_together(load):
    """Rows of one user are in one arm, whatever else they hold, and whichever key they have of those with the arm."""
    frame = users(N * 3, np.repeat([0, 1, 8], N)).assign(user=np.tile(np.arange(N), 3))

    by_key = np.array(arms(load("canary=0.4"), frame)).reshape(3, N)

    assert by_key[0].tolist() == by_key[1].tolist() == by_key[2].tolist()
    assert set(by_key[0]) == {"main", "canary"}


def test_other_columns_do_not_matter(load):
    """Neither features nor columns that nobody knows move a row; nor does the order of the columns."""
    frame = users(N).assign(x1=7.0, x2=-1.0, more="text")

    assert arms(load(SHARES), frame[["more", "user", "dow", "x2", "x1"]]) == SAME


def test_a_missing_user(load):
    """Rows without a user are one user, None and NaN alike."""
    router = load(SHARES)

    found = arms(router, users(4).assign(user=np.array([None, np.nan, pd.NaT, pd.NA], object)))
    alone = arms(router, users(1).assign(user=[None]))

    assert found == [expected([None], 0.3, 0.4)] * 4
    assert alone == [expected([None], 0.3, 0.4)]


@pytest.mark.parametrize("n_rows", [1, 5])
def test_a_sticky_column_that_was_not_sent(load, n_rows):
    """It is bad input that names the column: a row is never put into an arm by less than was asked for."""
    with pytest.raises(BadInputError) as caught:
        load(SHARES).predict(users(n_rows).drop(columns="user").assign(usr=1))

    assert str(caught.value) == "column 'user' is missing.\n  Did you mean 'usr'? Columns sent: dow, usr, x1, x2."


def test_all_columns_by_default(narrowed):
    """Without ``traffic.sticky`` the values of all columns of the union schema decide, in its order, and no others."""
    frame = users(N).assign(x1=np.arange(N) % 50, x2=np.arange(N) % 7 / 4)
    wanted = [expected([str(row % 50), f"{row % 7 / 4:g}"], 0.3, 0.4) for row in range(N)]

    assert arms(narrowed(SHARES), frame) == wanted
    assert arms(narrowed(SHARES), frame[["dow", "x2", "x1"]].assign(user=1)) == wanted
    assert len(set(wanted)) == 3


@pytest.mark.parametrize("dtype", ["int64", "int8", "float64", "float32", "Int64", "Float64", "int64[pyarrow]", object])
def test_types_of_the_deciding_columns(narrowed, dtype):
    """The same numbers decide alike in every type that a column of features may have."""
    frame = users(N).assign(x1=pd.array(np.arange(N) % 50, dtype=dtype), x2=1.5)

    wanted = [expected([str(row % 50), "1.5"], 0.3, 0.4) for row in range(N)]
    assert arms(narrowed(SHARES), frame) == wanted
    assert [arms(narrowed(SHARES), frame.iloc[row : row + 1])[0] for row in range(5)] == wanted[:5]


# -- only some keys --------------------------------------------------------------------------------------------------


def test_only_some_keys(narrowed):
    """``traffic.only`` leaves an arm to the keys that it names, the global sub-model's too: others use main."""
    found = narrowed("canary=1").predict(users(9, np.arange(9)), {"annotate": True})

    assert found["arm"].tolist() == ["canary", *["main"] * 6, "canary", "canary"]
    assert found["model_id"].tolist()[:2] == ["monday_canary", "day_1"]


def test_an_arm_that_is_not_narrowed(narrowed):
    """Narrowing one arm does nothing to another."""
    assert arms(narrowed("blue=1"), users(4, [0, 1, 2, 8])) == ["blue", "main", "main", "main"]


# -- answers ---------------------------------------------------------------------------------------------------------


def test_annotated_answers(load):
    """Answers say the variant, its version and arm; the reason is the level's; the values are the variant's own."""
    frame = users(120, np.tile([0, 1, 2, 8], 30))

    found = load("blue=0.5,canary=0.5").predict(frame, {"annotate": True})

    assert list(found) == ["prediction", "model_id", "model_version", "reason", "arm"]
    assert set(found["model_version"]) == {"1"}
    assert found["reason"].tolist() == ["exact", "exact", "exact", "fallback"] * 30
    named = {"monday_blue": "blue", "monday_canary": "canary", "tuesday_canary": "canary", "everyone_canary": "canary"}
    assert found["arm"].tolist() == [named.get(id_, "main") for id_ in found["model_id"]]
    assert set(found["model_id"]) == {*named, "day_0", "day_1", "day_2", "everyone"}
    for row, id_ in enumerate(found["model_id"]):
        features, model = frame[["x1", "x2"]].iloc[[row]], fleets.fitted(SEEDS[id_])
        bound = 4 * 2 * np.finfo(float).eps * (np.abs(features.to_numpy() * model.coef_).sum() + abs(model.intercept_))
        assert abs(found["prediction"][row] - model.predict(features)[0]) <= bound


def test_explained(load):
    """An explanation names the arm that took the row, and the main sub-model whose place it took."""
    router = load("canary=1")

    monday, unknown = router.explain(users(2, [0, 9]))

    assert monday["route"] == [{"level": "dow", "found": "day_0, arm canary: monday_canary"}]
    assert (monday["model_id"], monday["arm"], monday["reason"]) == ("monday_canary", "canary", "exact")
    assert unknown["route"] == [
        {"level": "dow", "found": "no sub-model"},
        {"level": "global", "found": "everyone, arm canary: everyone_canary"},
    ]
    assert (unknown["model_id"], unknown["arm"], unknown["reason"]) == ("everyone_canary", "canary", "fallback")


@pytest.mark.parametrize(
    ("disabled", "found"),
    [
        pytest.param("monday_canary", ("day_0", "main", "disabled"), id="the-arm"),
        pytest.param("day_0", ("monday_canary", "canary", "exact"), id="main"),
        pytest.param("day_0,monday_canary", ("everyone_canary", "canary", "disabled"), id="both"),
        pytest.param("day_0,monday_canary,everyone_canary", ("everyone", "main", "disabled"), id="the-next-arm-too"),
    ],
)
def test_disabled(load, monkeypatch, disabled, found):
    """A row of a disabled arm goes to main, then to the next level, where arms count again."""
    monkeypatch.setenv("MMEFRAME_DISABLED_MODELS", disabled)

    answer = load("canary=1").predict(users(2), {"annotate": True})

    assert [(answer["model_id"][row], answer["arm"][row], answer["reason"][row]) for row in range(2)] == [found] * 2


# -- what MLflow knows of it -----------------------------------------------------------------------------------------


def test_the_stored_example_is_answered(logged, load, week):
    """The example request has the sticky columns too: whoever sends it gets an answer."""
    with fleets.active(week.uri):
        example = mlflow.pyfunc.load_model(logged.model_uri, suppress_warnings=True).input_example

    assert len(arms(load("canary=1"), example)) == len(example)


@pytest.mark.build
def test_a_declared_signature_has_the_sticky_columns(week):
    """With ``signature.mode=union`` MLflow hands over declared columns only: the sticky ones must be among them."""
    traffic = ("+traffic.arms.canary=0.4", "traffic.sticky=user", "signature.mode=union")
    built = api.build("name=arms_union", *DAYS, *VARIANTS, *traffic, week.override)
    with fleets.active(week.uri):
        model = mlflow.pyfunc.load_model(built.model_uri, suppress_warnings=True)

    found = model.predict(users(N), {"annotate": True})

    assert list(found["arm"]) == [expected([str(user)], 0, 0.4) for user in range(N)]
