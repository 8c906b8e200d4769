"""Routing with arms and disabled sub-models, against an obvious reference; and what it says of rows that are lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import api
from mmeframe.builtin.column import ColumnConf, ColumnStrategy
from mmeframe.builtin.param import ParamConf, ParamStrategy
from mmeframe.errors import BadInputError, MmeframeError, PluginError, UnknownKeyError, count
from mmeframe.route.explain import Coverage
from mmeframe.route.routing import Arms, ModelIndex, Parts, Routing
from mmeframe.route.table import NO_TARGET, RouteTable
from mmeframe.rows.batch import as_batch
from mmeframe.runtime import Router
from mmeframe.sections import RoutingSpec, TrafficSpec
from mmeframe.spec import Column, ComponentSpec, KeyPart, SubModelEntry
from tests.rows.test_shares import by_contract

COLUMN = ComponentSpec("column", "mmeframe.builtin.column:ColumnStrategy", "mmeframe.builtin.column:ColumnConf")
# Columns of the union schema. y is optional, and never sent here.
UNION = ("x", "y")
TEXTS = tuple(Column(name, "string") for name in UNION)
NO_TRAFFIC = TrafficSpec()
Row = dict[str, str | None]


@dataclass(frozen=True)
class Fleet:
    """Sub-models at levels, what a deployment made of them, and rows."""

    levels: Sequence[Sequence[str]]
    models: Sequence[SubModelEntry]
    traffic: TrafficSpec = NO_TRAFFIC
    disabled: frozenset[str] = frozenset()
    rows: Sequence[Row] = ()
    on_unknown: str = "skip"
    parts: Sequence[str] = field(default=("p", "q", "r", "s"))


def members(fleet: Fleet) -> ModelIndex:
    models = fleet.models
    return ModelIndex(
        models.__getitem__,
        {model.id: number for number, model in enumerate(models)}.get,
        [model.routed for model in models],
        {number: model.of for number, model in enumerate(models) if model.of},
    )


def route_table(fleet: Fleet) -> RouteTable:
    numbers = [number for number, model in enumerate(fleet.models) if model.routed]
    models = [fleet.models[number] for number in numbers]
    keys = {part: [(model.key or {}).get(part) for model in models] for part in fleet.parts}
    texts = {part: [None if value is None else str(value) for value in column] for part, column in keys.items()}
    return RouteTable.of(fleet.parts, fleet.levels, texts, numbers, [model.arm for model in models])


def made(fleet: Fleet, strategies: Mapping[str, Any] | None = None, union: Sequence[Column] = TEXTS) -> Routing:
    """The routing of a fleet whose key parts are in the columns of the same names."""
    return Routing(
        RoutingSpec(tuple(KeyPart(part, COLUMN) for part in fleet.parts), tuple(fleet.levels), fleet.on_unknown),
        members(fleet),
        route_table(fleet),
        Parts(
            strategies or {part: ColumnStrategy(ColumnConf(part)) for part in fleet.parts},
            {},
            lambda model_id, batch: None,
        ),
        Arms(fleet.traffic, fleet.disabled, union),
    )


def table(fleet: Fleet, rows: Sequence[Row]) -> pd.DataFrame:
    """Rows with the columns of a fleet; texts, as a request has them, None where one is missing."""
    return pd.DataFrame({name: [row[name] for row in rows] for name in (*fleet.parts, "u", "x")}, dtype=object)


Found = tuple[str | None, str | None, str]


def reached(routing: Routing, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> list[Found]:
    """Sub-model, arm and reason of every row."""
    routed = routing.reach(as_batch(frame), params or {})
    found = []
    for target, reason in zip(
        np.broadcast_to(routed.target, (len(frame),)).tolist(),
        np.broadcast_to(routed.reason, (len(frame),)).tolist(),
        strict=True,
    ):
        model = None if target == NO_TARGET else routing.models.at(target)
        found.append((model and model.id, model and model.arm, routing.table.reasons[reason]))
    return found


def of_key(fleet: Fleet, key: Row, arm: str) -> SubModelEntry | None:
    return next((it for it in fleet.models if it.routed and it.arm == arm and it.key == key), None)


def chosen(fleet: Fleet, main: SubModelEntry, row: Row) -> SubModelEntry:
    """The arm that takes a row of a main sub-model: the first in name order whose share the row's number is below."""
    sticky = fleet.traffic.sticky or UNION
    for arm, share in sorted(fleet.traffic.arms.items()):
        variant = of_key(fleet, dict(main.key or {}), arm)
        narrowed = arm in fleet.traffic.only and main.key not in fleet.traffic.only[arm]
        if variant and not narrowed and by_contract(arm, [row.get(name) for name in sticky]) < share:
            return variant
    return main


def reference(fleet: Fleet, row: Row) -> Found:
    """Sections 7 and 8 of the design, row by row."""
    refused = False
    for number, level in enumerate(fleet.levels):
        key = {part: row[part] for part in level}
        main = None if None in key.values() else of_key(fleet, key, "main")
        if main is None:
            continue
        taken = chosen(fleet, main, row)
        if taken.id in fleet.disabled:
            refused = True
            taken = main
        if taken.id in fleet.disabled:
            continue
        said = "fallback" if not level else f"level:{','.join(level)}" if number else "exact"
        return taken.id, taken.arm, "disabled" if refused else said
    lost = "missing_key" if None in [row[part] for level in fleet.levels for part in level] else "unknown"
    return None, None, "disabled" if refused else lost


VALUES = ["7", "07", "a"]
SHARES = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """One to four parts, any levels, two arms for some keys and some keys only, anything disabled."""
    parts = ["p", "q", "r", "s"][: draw(st.integers(1, 4))]
    subsets = [level for size in range(len(parts) + 1) for level in combinations(parts, size)]
    levels = draw(st.lists(st.sampled_from(subsets), min_size=1, max_size=5, unique=True))
    keys = st.sampled_from(levels).flatmap(
        lambda level: st.fixed_dictionaries({part: st.sampled_from(VALUES) for part in level})
    )
    mains = draw(st.lists(keys, min_size=1, max_size=8, unique_by=lambda key: frozenset(key.items())))
    models = [SubModelEntry(f"m{number}", "", key) for number, key in enumerate(mains)]
    only = {}
    for arm in ("blue", "canary"):
        places = draw(st.lists(st.integers(0, len(mains) - 1), unique=True))
        models += [SubModelEntry(f"m{at}~{arm}", "", mains[at], arm=arm) for at in places]
        if places and draw(st.booleans()):
            only[arm] = tuple(mains[at] for at in draw(st.lists(st.sampled_from(places), unique=True)))
    models += [SubModelEntry(f"gate{number}", "", {}, routed=False) for number in range(draw(st.integers(0, 2)))]
    models = draw(st.permutations(models))
    sticky = draw(st.sampled_from([(), ("u",), ("x", "u")]))
    traffic = TrafficSpec({arm: draw(SHARES) for arm in ("blue", "canary")}, sticky, only)
    disabled = frozenset(draw(st.lists(st.sampled_from([model.id for model in models]), max_size=4)))
    row = {part: st.sampled_from([*VALUES, "zz", None]) for part in parts}
    row |= {name: st.sampled_from(["1", "2", "3", "4", "5", None]) for name in ("u", "x")}
    rows = draw(st.lists(st.fixed_dictionaries(row), max_size=15))
    return Fleet(levels, models, traffic, disabled, rows, parts=parts)


@settings(max_examples=200, deadline=None)
@given(fleet=fleets())
def test_like_the_reference(fleet):
    """Any fleet, with any arms and any of it disabled, sends every row where the slow, obvious loop does."""
    assert reached(made(fleet), table(fleet, fleet.rows)) == [reference(fleet, row) for row in fleet.rows]


@settings(max_examples=100, deadline=None)
@given(fleet=fleets(), data=st.data())
def test_neighbours_change_nothing(fleet, data):
    """Permuted, cut, repeated or alone, under any index: a row keeps its sub-model, its arm and its reason."""
    routing, frame = made(fleet), table(fleet, fleet.rows)
    order = data.draw(st.lists(st.integers(0, max(len(frame) - 1, 0)), max_size=20 if len(frame) else 0))
    cut = data.draw(st.integers(0, len(order)))

    pieces = [frame.iloc[order[:cut]], frame.iloc[order[cut:]].set_axis([7] * (len(order) - cut))]

    found = [one for piece in pieces for one in reached(routing, piece)]
    assert found == [reference(fleet, fleet.rows[at]) for at in order]
    alone = [reached(routing, frame.iloc[at : at + 1])[0] for at in range(len(frame))]
    assert alone == [reference(fleet, row) for row in fleet.rows]


@settings(max_examples=100, deadline=None)
@given(fleet=fleets(), data=st.data())
def test_parameters_go_the_way_of_columns(fleet, data):
    """A request whose key comes from parameters goes where rows with these values go, its arms too."""
    params = data.draw(st.fixed_dictionaries({part: st.sampled_from([*VALUES, "zz"]) for part in fleet.parts}))
    rows = [{**row, **params} for row in fleet.rows]
    routing = made(fleet, {part: ParamStrategy(ParamConf(part)) for part in fleet.parts})

    found = reached(routing, table(fleet, rows).drop(columns=fleet.parts), params)

    assert found == [reference(fleet, row) for row in rows]


@settings(max_examples=100, deadline=None)
@given(fleet=fleets())
def test_explained_like_the_reference(fleet):
    """The explanation has the key, the answer and the reason of every row, and stops at the level that answered."""
    explained = made(fleet).explain(as_batch(table(fleet, fleet.rows)), {})

    assert [it["row"] for it in explained] == list(range(len(fleet.rows)))
    assert [it["key"] for it in explained] == [{part: row[part] for part in fleet.parts} for row in fleet.rows]
    expected = [reference(fleet, row) for row in fleet.rows]
    assert [(it["model_id"], it["arm"], it["reason"]) for it in explained] == expected
    names = ["+".join(level) or "global" for level in fleet.levels]
    for it, (id_, _, _) in zip(explained, expected, strict=True):
        steps = [step["level"] for step in it["route"]]
        answered = next((model for model in fleet.models if model.id == id_), None)
        end = len(names) - 1 if answered is None else [set(level) for level in fleet.levels].index(set(answered.key))
        assert steps == names[: end + 1]
        assert it["route"][-1]["found"].endswith(str(id_)) == (id_ is not None)


@settings(max_examples=100, deadline=None)
@given(fleet=fleets())
def test_lost_rows_are_refused(fleet):
    """With ``on_unknown: raise`` a batch is refused exactly if one of its rows has no sub-model; with their number.

    It is bad input if all of them lack a part of the key, an unknown key otherwise.
    """
    fleet = replace(fleet, on_unknown="raise", disabled=frozenset())
    found = [reference(fleet, row) for row in fleet.rows]
    lost = [reason for id_, _, reason in found if id_ is None]
    routing, batch = made(fleet), as_batch(table(fleet, fleet.rows))

    if not lost:
        targets = np.broadcast_to(routing.route(batch, {}).target, (len(fleet.rows),))
        assert [routing.models.at(target).id for target in targets] == [id_ for id_, _, _ in found]
        return
    missing, rows = set(lost) == {"missing_key"}, count(len(lost), "row")
    expected = f"{rows} (has|have) no routing key" if missing else f"no sub-model for {rows}: "
    with pytest.raises(BadInputError if missing else UnknownKeyError, match=f"^{expected}"):
        routing.route(batch, {})


# -- disabled --------------------------------------------------------------------------------------------------------

CANARIES = [
    SubModelEntry("m", "", {"p": "a", "q": "b"}),
    SubModelEntry("m~canary", "", {"p": "a", "q": "b"}, arm="canary"),
    SubModelEntry("p", "", {"p": "a"}),
    SubModelEntry("p~canary", "", {"p": "a"}, arm="canary"),
    SubModelEntry("all", "", {}),
]


@pytest.mark.parametrize(
    ("share", "disabled", "found"),
    [
        pytest.param(0.0, [], ("m", "main", "exact"), id="nothing"),
        pytest.param(1.0, [], ("m~canary", "canary", "exact"), id="an-arm"),
        pytest.param(1.0, ["m~canary"], ("m", "main", "disabled"), id="from-the-arm-to-main"),
        pytest.param(1.0, ["m"], ("m~canary", "canary", "exact"), id="the-arm-needs-no-main"),
        pytest.param(0.0, ["m~canary"], ("m", "main", "exact"), id="an-arm-without-traffic"),
        pytest.param(0.0, ["m"], ("p", "main", "disabled"), id="from-main-to-the-next-level"),
        pytest.param(1.0, ["m", "m~canary"], ("p~canary", "canary", "disabled"), id="to-the-next-level's-arm"),
        pytest.param(1.0, ["m", "m~canary", "p~canary"], ("p", "main", "disabled"), id="to-the-next-level's-main"),
        pytest.param(0.0, ["m", "p"], ("all", "main", "disabled"), id="to-the-global-one"),
        pytest.param(0.0, ["m", "p", "all"], (None, None, "disabled"), id="to-none"),
    ],
)
def test_the_way_of_a_disabled_sub_model(share, disabled, found):
    """To the main arm, then to the next level and its arms; the reason is ``disabled`` whichever answers, or none."""
    fleet = Fleet([["p", "q"], ["p"], []], CANARIES, TrafficSpec({"canary": share}), frozenset(disabled))
    row = {"p": "a", "q": "b", "r": None, "s": None, "u": "1", "x": "1"}

    assert reached(made(fleet), table(fleet, [row] * 2)) == [found] * 2
    assert reached(made(fleet), table(fleet, [row])) == [found]


def test_an_arm_is_not_called_disabled_where_its_row_was_turned_away_before():
    """A row that comes from a level before is told of an arm only if it would have been in it."""
    fleet = Fleet([["p", "q"], ["p"]], CANARIES[:4], TrafficSpec({"canary": 0.5}, ("u",)), frozenset(["m", "p~canary"]))
    fleet = replace(fleet, models=[it for it in fleet.models if it.id != "m~canary"], parts=["p", "q"])
    rows = [{"p": "a", "q": "b", "u": str(user), "x": "1"} for user in range(10)]

    explained = made(fleet).explain(as_batch(table(fleet, rows)), {})

    in_arm = [by_contract("canary", [row["u"]]) < 0.5 for row in rows]
    assert set(in_arm) == {True, False}
    assert [(it["model_id"], it["reason"]) for it in explained] == [("p", "disabled")] * 10
    said = {True: "arm canary is disabled: p", False: "p"}
    assert [[step["found"] for step in it["route"]] for it in explained] == [
        ["m is disabled", said[it]] for it in in_arm
    ]


STRICT = Fleet(
    [["p", "q"], ["p"]],
    [SubModelEntry("ab", "", {"p": "a", "q": "b"}), SubModelEntry("a", "", {"p": "a"})],
    disabled=frozenset(["a"]),
    on_unknown="raise",
    parts=["p", "q"],
)


def test_lost_because_disabled():
    """The error names the sub-model that was taken away, beside the key."""
    with pytest.raises(UnknownKeyError) as caught:
        made(STRICT).route(as_batch({"p": ["a", "a"], "q": ["b", "z"]}), {})

    assert str(caught.value) == (
        "no sub-model for 1 row: p=a, q=z.\n"
        "  Known keys: p: a. q: b. Disabled: a. Or declare a global sub-model, or build with routing.on_unknown=skip."
    )


def test_a_missing_part_is_no_excuse_for_a_disabled_sub_model():
    """A row that has a sub-model, which is disabled, is not told that it has no routing key."""
    with pytest.raises(UnknownKeyError, match="Disabled: a"):
        made(STRICT).route(as_batch({"p": ["a"], "q": [None]}), {})


def test_coverage_of_rows_that_part_ways(tmp_path):
    """Rows of one key may end differently where an arm or main is disabled: the report says the same in any order."""
    fleet = Fleet([["p", "q"]], CANARIES[:2], TrafficSpec({"canary": 0.5}, ("u",)), frozenset(["m"]), parts=["p", "q"])
    rows = [{"p": "a", "q": "b", "u": str(user), "x": "1"} for user in range(10)]
    assert {found[0] for found in reached(made(fleet), table(fleet, rows))} == {"m~canary", None}

    reports = []
    for name, ordered in (("one", rows), ("other", rows[::-1])):
        table(fleet, ordered).to_parquet(tmp_path / f"{name}.parquet")
        coverage = Coverage(made(fleet), [Column("x", "string")]).read(tmp_path / f"{name}.parquet", {})
        reports.append(coverage.report().to_json())

    assert reports[0]["rows"] == 10
    assert reports[0] == reports[1]


# -- what decides ----------------------------------------------------------------------------------------------------

HALVED = Fleet(
    [["p"]],
    [SubModelEntry("m", "", {"p": "a"}), SubModelEntry("m~new", "", {"p": "a"}, arm="new")],
    TrafficSpec({"new": 0.5}),
    parts=["p"],
)
T = "2020-01-0{}T00:00:00"


@pytest.mark.parametrize(
    ("kind", "cells", "texts"),
    [
        pytest.param("long", [1, None, 3, np.nan, 5], ["1", None, "3", None, "5"], id="whole-numbers"),
        pytest.param("long", [1, 2.5, 3.0, "4", True], ["1", "2.5", "3", "4", "True"], id="no-whole-numbers"),
        pytest.param("boolean", [True, None, False, True, 2], ["True", None, "False", "True", "2"], id="booleans"),
        pytest.param("double", [1, None, "b", 0.5, "e"], ["1", None, "b", "0.5", "e"], id="numbers"),
        pytest.param("string", ["a", None, 3, "d", 5.0], ["a", None, "3", "d", "5"], id="texts"),
        pytest.param(
            "datetime",
            [T.format(1), None, "soon", pd.Timestamp(T.format(4)), T.format(5) + "Z"],
            [T.format(1), None, "soon", T.format(4), T.format(5)],
            id="times",
        ),
        pytest.param("any", [1, True, None, 1.0, "1"], ["1", "True", None, "1", "1"], id="of-any-type"),
    ],
)
def test_rows_without_a_column_of_others_have_their_arm(kind, cells, texts):
    """Whatever a row holds in a column that its own sub-model does not read: its arm is decided, together and alone."""
    routing = made(HALVED, union=[Column("x", kind, required=False)])
    frame = pd.DataFrame({"p": "a", "x": np.array(cells * 4, object)})
    expected = ["new" if by_contract("new", [text]) < 0.5 else "main" for text in texts * 4]

    assert [arm for _, arm, _ in reached(routing, frame)] == expected
    assert [reached(routing, frame.iloc[[row]].infer_objects())[0][1] for row in range(5)] == expected[:5]


def test_lists_decide_nothing():
    """They have no canonical text: what can be done is said."""
    with pytest.raises(BadInputError) as caught:
        reached(
            made(HALVED, union=[Column("x", '{"items":{"type":"double"},"type":"array"}')]),
            pd.DataFrame({"p": ["a"], "x": [[1.0, 2.0]]}),
        )

    assert str(caught.value) == (
        "column 'x': a routing key must be one value, not list.\n"
        "  Set traffic.sticky to columns with one value in a row."
    )


# -- what is said of keys that nobody has ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(week) -> Router:
    """Weekday by column, and nothing else."""
    overrides = ("name=lost_keys", "routing=column", "routing.column=dow", "+source@sources.days=registry")
    logged = api.build(*overrides, "sources.days.name='day_{dow}'", week.override)
    return api.load_router(logged.model_uri, tracking_uri=week.uri)


def rows_of(keys: Any) -> pd.DataFrame:
    return pd.DataFrame({"x1": np.zeros(len(keys)), "x2": np.zeros(len(keys)), "dow": keys})


KNOWN = "Known keys: dow: 0, 1, 2, 3, 4, 5, 6. Or declare a global sub-model, or build with routing.on_unknown=skip."


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        pytest.param(np.arange(7, 100_007), "dow=7; dow=8; dow=9; dow=10; dow=11 ...", id="integers"),
        pytest.param(np.arange(100_000) + 0.5, "dow=0.5; dow=1.5; dow=2.5; dow=3.5; dow=4.5 ...", id="floats"),
        pytest.param(
            np.array([f"k{number}" for number in range(100_000)], object),
            "dow=k0; dow=k1; dow=k2; dow=k3; dow=k4 ...",
            id="texts",
        ),
        pytest.param(np.array(["z" * 200] * 100_000, object), f"dow={'z' * 40}", id="one-long-text"),
        pytest.param(
            np.array([f"{number:05}{'z' * 200}" for number in range(100_000)], object),
            "; ".join(f"dow={number:05}{'z' * 35}" for number in range(5)) + " ...",
            id="long-texts",
        ),
    ],
)
def test_a_hundred_thousand_unknown_keys(strict, keys, shown):
    """The message names a few of them, cut where they are long, counts the rows, and lists the keys that exist."""
    with pytest.raises(UnknownKeyError) as caught:
        strict.predict(rows_of(keys))

    assert str(caught.value) == f"no sub-model for 100,000 rows: {shown}.\n  {KNOWN}"


def test_known_keys_behind_a_few_unknown_ones(strict):
    """Rows that have a sub-model are not counted, and rows without a key are counted but not named."""
    with pytest.raises(UnknownKeyError) as caught:
        strict.predict(rows_of(np.array([0, 1, None, 9, 9, "9", "09"], object)))

    assert str(caught.value) == f"no sub-model for 5 rows: dow=9; dow=09; 1 of them without a key.\n  {KNOWN}"


def test_long_keys_that_exist():
    """The keys that exist are shortened too, however long they are and however many parts there are."""
    parts = ["p", "q", "r", "s"]
    models = [
        SubModelEntry(f"m{number}", "", dict.fromkeys(parts, str(UUID(int=number * 2**100)))) for number in range(100)
    ]
    routing = made(Fleet([parts], models, on_unknown="raise", parts=parts))

    with pytest.raises(UnknownKeyError) as caught:
        routing.route(as_batch({part: ["unknown"] for part in parts}), {})

    assert "no sub-model for 1 row: p=unknown, q=unknown, r=unknown, s=unknown." in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_a_declared_key_of_a_page():
    """One long declared key does not make the message long."""
    models = [SubModelEntry("m", "", {"p": "z" * 10_000})]
    routing = made(Fleet([["p"]], models, on_unknown="raise", parts=["p"]))

    with pytest.raises(UnknownKeyError) as caught:
        routing.route(as_batch({"p": ["z"]}), {})

    assert len(str(caught.value)) < 2000


# -- odd keys --------------------------------------------------------------------------------------------------------

TIMES = ["2024-01-01T00:00:00", "2024-01-01T12:30:00"]
LONG = "z" * 100_000
ODD = Fleet(
    [["p"]],
    [SubModelEntry(f"m{at}", "", {"p": key}) for at, key in enumerate(["0", "7", "True", *TIMES, LONG, "2.5"])],
    parts=["p"],
)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param(
            np.array([0, "7", 7.0, True, -0.0, None], object), ["m0", "m1", "m1", "m2", "m0", "missing_key"], id="mixed"
        ),
        pytest.param(
            np.array([True, 1, "True", 0, False, "0"], object),
            ["m2", "unknown", "m2", "m0", "unknown", "m0"],
            id="bools",
        ),
        pytest.param(np.array([-0.0, 0.0, 2.5, np.nan]), ["m0", "m0", "m6", "missing_key"], id="minus-zero"),
        pytest.param(np.array([-0.0, "-0", "-0.0"], object), ["m0", "unknown", "unknown"], id="minus-zero-as-text"),
        pytest.param(np.array([*TIMES, "NaT"], "M8[ns]"), ["m3", "m4", "missing_key"], id="times"),
        pytest.param(np.array(["NaT", "NaT"], "M8[s]"), ["missing_key", "missing_key"], id="NaT-only"),
        pytest.param(
            np.array([pd.NaT, pd.Timestamp(TIMES[0]), TIMES[1], pd.NA, 7], object),
            ["missing_key", "m3", "m4", "missing_key", "m1"],
            id="NaT-among-others",
        ),
        pytest.param(np.array([LONG, LONG + "z", LONG[:-1]], object), ["m5", "unknown", "unknown"], id="long-texts"),
    ],
)
def test_odd_keys(keys, found):
    """Every value is looked up by its canonical text, alone as among others. ``found``: sub-models, else reasons."""
    routing = made(ODD)
    expected = [(None, None, it) if it in ("unknown", "missing_key") else (it, "main", "exact") for it in found]

    assert reached(routing, pd.DataFrame({"p": keys})) == expected
    assert [reached(routing, pd.DataFrame({"p": keys[at : at + 1]}))[0] for at in range(len(keys))] == expected


@pytest.mark.parametrize("cell", [[7], (7,), [], {"a": 7}, {7}, np.array([7])], ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("n_rows", [1, 2])
def test_a_key_that_is_no_scalar(cell, n_rows):
    """A list of one is not its only value, also where a row is alone."""
    keys = np.empty(n_rows, object)
    for at in range(n_rows):
        keys[at] = cell

    with pytest.raises(BadInputError) as caught:
        made(ODD).reach(as_batch(pd.DataFrame({"p": keys})), {})

    assert str(caught.value) == (
        f"routing.keys.p: a routing key must be one value, not {type(cell).__name__}.\n"
        "  Send text, whole numbers, true and false, or times."
    )


class Raw(ColumnStrategy):
    """Gives what a function makes of the rows."""

    def __init__(self, make: Any) -> None:
        super().__init__(ColumnConf("p"))
        self._make = make

    def route_keys(self, batch: Any, params: Any) -> Any:
        return self._make(batch.frame)


@pytest.mark.parametrize("dtype", [object, "str", "category"])
def test_keys_in_a_series(dtype):
    """A plugin may give one: its index, which is the caller's, says nothing of the rows' order."""
    fleet = Fleet([["p"]], [SubModelEntry("a", "", {"p": "a"})], on_unknown="raise", parts=["p"])
    routing = made(fleet, {"p": Raw(lambda frame: frame["p"])})
    frame = pd.DataFrame({"p": pd.Series(["a", "b", "c"], dtype=dtype)}).set_axis([2, 0, 1])

    alone = [reached(routing, frame.iloc[[row]])[0][0] for row in range(3)]

    assert [id_ for id_, _, _ in reached(routing, frame)] == alone == ["a", None, None]
    assert [it["key"]["p"] for it in routing.explain(as_batch(frame), {})] == ["a", "b", "c"]
    with pytest.raises(UnknownKeyError, match=r"^no sub-model for 2 rows: p=b; p=c"):
        routing.route(as_batch(frame), {})


@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.parametrize("column", ["p", "n"])
def test_keys_in_a_matrix(n_rows, column):
    """A plugin that gives one row of keys for each row is told so, with its key part."""
    routing = made(ODD, {"p": Raw(lambda frame: frame[[column]].to_numpy())})

    with pytest.raises(MmeframeError) as caught:
        routing.reach(as_batch(pd.DataFrame({"p": ["a"] * n_rows, "n": 1})), {})

    assert str(caught.value) == (
        "routing.keys.p: the strategy returned keys of 2 dimensions.\n"
        "  route_keys returns one scalar for all rows, or an array, a Series or a list with one for each."
    )


def test_a_strategy_that_fails():
    """It is named by its key part; the text of its error, which may hold the caller's data, is only chained."""

    def fail(frame):
        raise ValueError(f"cannot take {frame['p'][0]}")

    routing = made(ODD, {"p": Raw(fail)})

    with pytest.raises(PluginError) as caught:
        routing.reach(as_batch(pd.DataFrame({"p": ["Jane Doe"], "n": 1})), {})

    assert str(caught.value) == "routing.keys.p: the strategy failed with ValueError."
    assert str(caught.value.__cause__) == "cannot take Jane Doe"
