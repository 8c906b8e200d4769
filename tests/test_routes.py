"""The route table: which sub-model each row reaches, and why, against an obvious reference."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.keys import MISSING, UNKNOWN
from mmeframe.routes import NO_TARGET, Route, RouteTable


def route(table: RouteTable, rows: list[dict[str, str | None]]) -> list[tuple[int, str]]:
    """Target and reason of rows given as one key value per part."""
    codes = {part: table.indexes[part].codes([row[part] for row in rows], len(rows)) for part in table.parts}
    routed = table.route(codes, len(rows))
    return [(int(target), table.reasons[reason]) for target, reason in zip(routed.target, routed.reason, strict=True)]


# Store berlin/food is 0, any berlin store 1, any food store 2, everything else 3.
SHOPS = RouteTable(
    ["city", "kind"],
    [["city", "kind"], ["city"], ["kind"], []],
    [
        Route({"city": "berlin", "kind": "food"}, 0),
        Route({"city": "berlin"}, 1),
        Route({"kind": "food"}, 2),
        Route({}, 3),
    ],
)
STRICT = RouteTable(["city", "kind"], [["city", "kind"], ["city"]], [Route({"city": "berlin", "kind": "food"}, 0)])


@pytest.mark.parametrize(
    ("city", "kind", "target", "reason"),
    [
        pytest.param("berlin", "food", 0, "exact", id="exact"),
        pytest.param("berlin", "toys", 1, "level:city", id="second-level"),
        pytest.param("berlin", None, 1, "level:city", id="missing-part-not-needed"),
        pytest.param("paris", "food", 2, "level:kind", id="third-level"),
        pytest.param(None, "food", 2, "level:kind", id="missing-first-part"),
        pytest.param("paris", "toys", 3, "fallback", id="fallback"),
        pytest.param(None, None, 3, "fallback", id="all-missing"),
    ],
)
def test_levels_are_tried_in_order(city, kind, target, reason):
    """The first level that has the key wins; the empty level takes what is left."""
    assert route(SHOPS, [{"city": city, "kind": kind}]) == [(target, reason)]


@pytest.mark.parametrize(
    ("city", "kind", "reason"),
    [
        pytest.param("paris", "food", "unknown", id="unknown-value"),
        pytest.param("berlin", "toys", "unknown", id="unknown-combination"),
        pytest.param(None, "food", "missing_key", id="missing"),
        pytest.param("paris", None, "missing_key", id="missing-and-unknown"),
    ],
)
def test_no_level_matches(city, kind, reason):
    """A row that no level takes has no target; it is missing_key if any of its parts is missing."""
    assert route(STRICT, [{"city": city, "kind": kind}]) == [(NO_TARGET, reason)]


def test_rows_of_every_reason_in_one_batch():
    """Rows are looked up together and keep their order."""
    table = RouteTable(
        ["city", "kind"],
        [["city", "kind"], ["city"]],
        [Route({"city": "berlin", "kind": "food"}, 0), Route({"city": "rome"}, 1)],
    )
    rows = [("rome", "x"), ("berlin", "food"), (None, "food"), ("paris", "food"), ("berlin", None), ("rome", None)]

    routed = route(table, [{"city": city, "kind": kind} for city, kind in rows])

    assert routed == [
        (1, "level:city"),
        (0, "exact"),
        (NO_TARGET, "missing_key"),
        (NO_TARGET, "unknown"),
        (NO_TARGET, "missing_key"),
        (1, "level:city"),
    ]


@pytest.mark.parametrize(
    ("levels", "reasons"),
    [
        pytest.param([["a"]], ("exact", "unknown", "missing_key"), id="one"),
        pytest.param([["a", "b"], ["b"], []], ("exact", "level:b", "fallback", "unknown", "missing_key"), id="three"),
        pytest.param([["a"], ["b", "a"]], ("exact", "level:b,a", "unknown", "missing_key"), id="as-declared"),
        pytest.param([[], ["a"]], ("fallback", "level:a", "unknown", "missing_key"), id="empty-first"),
    ],
)
def test_names_of_reasons(levels, reasons):
    """The first level is exact, the empty one fallback, others carry their parts as declared."""
    assert RouteTable(["a", "b"], levels, []).reasons == (*reasons, "disabled", "model_error")


def test_scalars_route_the_whole_request_at_once():
    """One code per part gives one target and one reason, not one per row."""
    routed = SHOPS.route({"city": SHOPS.indexes["city"].code("berlin"), "kind": UNKNOWN}, 1000)

    assert (np.shape(routed.target), int(routed.target), SHOPS.reasons[routed.reason]) == ((), 1, "level:city")


def test_a_scalar_beside_an_array_counts_for_every_row():
    """Parts from parameters and parts from columns mix."""
    kinds = SHOPS.indexes["kind"].codes(["food", "toys", None], 3)

    routed = SHOPS.route({"city": SHOPS.indexes["city"].code("berlin"), "kind": kinds}, 3)

    assert routed.target.tolist() == [0, 1, 1]


def test_no_rows():
    """An empty batch is routed without an error."""
    routed = SHOPS.route({"city": np.empty(0, np.int32), "kind": np.empty(0, np.int32)}, 0)

    assert (routed.target.shape, routed.reason.shape) == ((0,), (0,))


def test_no_parts():
    """A router with nothing but a global sub-model has no key parts: every row falls to it."""
    table = RouteTable([], [[]], [Route({}, 4)])

    routed = table.route({}, 3)

    assert set(np.ravel(routed.target).tolist()) == {4}


def test_an_empty_level_without_a_sub_model_takes_nothing():
    """The level [] is a level like others: without a route nothing falls to it."""
    table = RouteTable(["a"], [["a"], []], [Route({"a": "x"}, 0)])

    assert route(table, [{"a": "x"}, {"a": "y"}]) == [(0, "exact"), (NO_TARGET, "unknown")]


def test_a_level_without_routes_is_passed_over():
    """A level that no sub-model uses matches nothing."""
    table = RouteTable(["a", "b"], [["a", "b"], ["a"]], [Route({"a": "x"}, 0)])

    assert route(table, [{"a": "x", "b": "y"}]) == [(0, "level:a")]


def test_missing_and_unknown_codes_reach_no_neighbour():
    """The codes -1 and -2 never combine with another part's code to the key of somebody else."""
    routes = [Route({"a": f"{a}", "b": f"{b}"}, 3 * a + b) for a in range(3) for b in range(3)]
    table = RouteTable(["a", "b"], [["a", "b"]], routes)
    codes = np.array([MISSING, UNKNOWN, 0, 1, 2], np.int32)

    routed = table.route({"a": np.repeat(codes, 5), "b": np.tile(codes, 5)}, 25)

    assert routed.target.reshape(5, 5).tolist() == [
        [NO_TARGET] * 5,
        [NO_TARGET] * 5,
        [NO_TARGET, NO_TARGET, 0, 1, 2],
        [NO_TARGET, NO_TARGET, 3, 4, 5],
        [NO_TARGET, NO_TARGET, 6, 7, 8],
    ]


def test_an_arm_never_takes_the_place_of_main():
    """A variant of a sub-model for the same key gets no rows by being declared."""
    table = RouteTable(["a"], [["a"]], [Route({"a": "x"}, 0), Route({"a": "x"}, 1, arm="canary")])

    assert route(table, [{"a": "x"}, {"a": "x"}]) == [(0, "exact"), (0, "exact")]


@pytest.mark.parametrize(
    ("key", "named"),
    [
        pytest.param({"a": "x", "b": "y"}, ["a", "b"], id="both-parts"),
        pytest.param({"b": "y"}, ["b"], id="other-part"),
        pytest.param({}, [], id="global"),
        pytest.param({"c": "z"}, ["c"], id="no-such-part"),
    ],
)
def test_a_route_at_no_level(key, named):
    """A sub-model that no row could reach is refused, naming its parts."""
    with pytest.raises(ValueError, match="no level") as caught:
        RouteTable(["a", "b"], [["a"]], [Route(key, 0)])

    assert str(caught.value) == f"no level has the parts {named}"


@dataclass(frozen=True)
class Fleet:
    parts: list[str]
    levels: list[list[str]]
    routes: list[Route]
    rows: list[dict[str, str | None]]


VALUES = ["7", "07", "a", "b"]


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    parts = ["p", "q", "r"][: draw(st.integers(1, 3))]
    subsets = list(chain.from_iterable(combinations(parts, size) for size in range(len(parts) + 1)))
    chosen = draw(st.lists(st.sampled_from(subsets), min_size=1, unique=True))
    levels = [list(draw(st.permutations(level))) for level in chosen]
    keys = st.sampled_from(levels).flatmap(
        lambda level: st.fixed_dictionaries({p: st.sampled_from(VALUES) for p in level})
    )
    found = draw(st.lists(keys, max_size=12, unique_by=lambda key: frozenset(key.items())))
    row = st.fixed_dictionaries({part: st.sampled_from([*VALUES, "zz", None]) for part in parts})
    return Fleet(parts, levels, [Route(key, n) for n, key in enumerate(found)], draw(st.lists(row, max_size=20)))


def reference(fleet: Fleet, row: dict[str, str | None]) -> tuple[int, str]:
    """Section 7 of the design, row by row."""
    for number, level in enumerate(fleet.levels):
        key = {part: row[part] for part in level}
        for candidate in fleet.routes:
            if dict(candidate.key) == key:
                return candidate.target, "fallback" if not level else f"level:{','.join(level)}" if number else "exact"
    return NO_TARGET, "missing_key" if None in row.values() else "unknown"


@settings(max_examples=300, deadline=None)
@given(fleet=fleets())
def test_like_the_reference(fleet):
    """Any fleet routes any batch as the slow, obvious loop does."""
    table = RouteTable(fleet.parts, fleet.levels, fleet.routes)

    assert route(table, fleet.rows) == [reference(fleet, row) for row in fleet.rows]


@settings(max_examples=100, deadline=None)
@given(fleet=fleets(), cut=st.integers(0, 20))
def test_cutting_a_batch_changes_nothing(fleet, cut):
    """A row's sub-model and reason do not depend on the other rows of its batch."""
    table = RouteTable(fleet.parts, fleet.levels, fleet.routes)

    assert route(table, fleet.rows[:cut]) + route(table, fleet.rows[cut:]) == route(table, fleet.rows)


@settings(max_examples=100, deadline=None)
@given(fleet=fleets(), row=st.fixed_dictionaries({part: st.sampled_from([*VALUES, "zz", None]) for part in "pqr"}))
def test_scalars_route_like_a_row(fleet, row):
    """A request whose parts are all parameters goes where a row with these values goes."""
    table = RouteTable(fleet.parts, fleet.levels, fleet.routes)
    own = {part: row[part] for part in fleet.parts}

    routed = table.route({part: table.indexes[part].codes(value, 5) for part, value in own.items()}, 5)

    assert (int(routed.target), table.reasons[routed.reason]) == reference(fleet, own)
