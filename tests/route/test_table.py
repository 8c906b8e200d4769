"""The route table: which sub-model each row reaches, and why, against an obvious reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.route.table import NO_TARGET, RouteTable
from mmeframe.rows.key_index import NO_KEY, UNKNOWN


def route(table: RouteTable, rows: list[dict[str, str | None]]) -> list[tuple[int, str]]:
    """Target and reason of rows given as one key value per part."""
    codes = {part: table.indexes[part].codes([row[part] for row in rows], len(rows)) for part in table.parts}
    routed = table.route(codes, len(rows))
    return [(int(target), table.reasons[reason]) for target, reason in zip(routed.target, routed.reason, strict=True)]


class Route(NamedTuple):
    """One key, its sub-model's number, and its arm."""

    key: Mapping[str, str]
    target: int
    arm: str = "main"


def table_of(parts: Sequence[str], levels: Sequence[Sequence[str]], routes: Sequence[Route]) -> RouteTable:
    keys = {part: [route.key.get(part) for route in routes] for part in parts}
    return RouteTable.of(parts, levels, keys, [route.target for route in routes], [route.arm for route in routes])


# Store berlin/food is 0, any berlin store 1, any food store 2, everything else 3.
SHOPS = table_of(
    ["city", "kind"],
    [["city", "kind"], ["city"], ["kind"], []],
    [
        Route({"city": "berlin", "kind": "food"}, 0),
        Route({"city": "berlin"}, 1),
        Route({"kind": "food"}, 2),
        Route({}, 3),
    ],
)
STRICT = table_of(["city", "kind"], [["city", "kind"], ["city"]], [Route({"city": "berlin", "kind": "food"}, 0)])


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
    """A row that no level takes has no target; it is missing_key if a part of some level is missing."""
    assert route(STRICT, [{"city": city, "kind": kind}]) == [(NO_TARGET, reason)]


@pytest.mark.parametrize(
    ("city", "kind", "reason"),
    [
        pytest.param("paris", None, "unknown", id="unknown"),
        pytest.param(None, "food", "missing_key", id="missing"),
        pytest.param("berlin", None, "exact", id="known"),
    ],
)
def test_a_part_of_no_level_is_not_missed(city, kind, reason):
    """A part that only others build on, such as what a table says of a shop, has no say in the reason."""
    table = table_of(["city", "kind"], [["city"]], [Route({"city": "berlin"}, 0)])

    row = {"city": city, "kind": kind}
    alone = table.route({part: table.indexes[part].code(row[part]) for part in table.parts}, 1)

    assert route(table, [row]) == [(0 if reason == "exact" else NO_TARGET, reason)]
    assert table.reasons[alone.reason] == reason


def test_rows_of_every_reason_in_one_batch():
    """Rows are looked up together and keep their order."""
    table = table_of(
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
    assert table_of(["a", "b"], levels, []).reasons == (*reasons, "disabled", "model_error")


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
    table = table_of([], [[]], [Route({}, 4)])

    routed = table.route({}, 3)

    assert set(np.ravel(routed.target).tolist()) == {4}


def test_an_empty_level_without_a_sub_model_takes_nothing():
    """The level [] is a level like others: without a route nothing falls to it."""
    table = table_of(["a"], [["a"], []], [Route({"a": "x"}, 0)])

    assert route(table, [{"a": "x"}, {"a": "y"}]) == [(0, "exact"), (NO_TARGET, "unknown")]


def test_a_level_without_routes_is_passed_over():
    """A level that no sub-model uses matches nothing."""
    table = table_of(["a", "b"], [["a", "b"], ["a"]], [Route({"a": "x"}, 0)])

    assert route(table, [{"a": "x", "b": "y"}]) == [(0, "level:a")]


def test_missing_and_unknown_codes_reach_no_neighbour():
    """The codes -1 and -2 never combine with another part's code to the key of somebody else."""
    routes = [Route({"a": f"{a}", "b": f"{b}"}, 3 * a + b) for a in range(3) for b in range(3)]
    table = table_of(["a", "b"], [["a", "b"]], routes)
    codes = np.array([NO_KEY, UNKNOWN, 0, 1, 2], np.int32)

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
    table = table_of(["a"], [["a"]], [Route({"a": "x"}, 0), Route({"a": "x"}, 1, arm="canary")])

    assert route(table, [{"a": "x"}, {"a": "x"}]) == [(0, "exact"), (0, "exact")]


@pytest.mark.parametrize(
    ("key", "named"),
    [
        pytest.param({"a": "x", "b": "y"}, ["a", "b"], id="both-parts"),
        pytest.param({"b": "y"}, ["b"], id="other-part"),
        pytest.param({}, [], id="global"),
    ],
)
def test_a_route_at_no_level(key, named):
    """A sub-model that no row could reach is refused, naming its parts."""
    with pytest.raises(ValueError, match="no level") as caught:
        table_of(["a", "b"], [["a"]], [Route(key, 0)])

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
    return NO_TARGET, "missing_key" if None in [row[part] for level in fleet.levels for part in level] else "unknown"


@settings(max_examples=300, deadline=None)
@given(fleet=fleets())
def test_like_the_reference(fleet):
    """Any fleet routes any batch as the slow, obvious loop does."""
    table = table_of(fleet.parts, fleet.levels, fleet.routes)

    assert route(table, fleet.rows) == [reference(fleet, row) for row in fleet.rows]


@settings(max_examples=100, deadline=None)
@given(fleet=fleets(), cut=st.integers(0, 20))
def test_cutting_a_batch_changes_nothing(fleet, cut):
    """A row's sub-model and reason do not depend on the other rows of its batch."""
    table = table_of(fleet.parts, fleet.levels, fleet.routes)

    assert route(table, fleet.rows[:cut]) + route(table, fleet.rows[cut:]) == route(table, fleet.rows)


@settings(max_examples=100, deadline=None)
@given(fleet=fleets(), row=st.fixed_dictionaries({part: st.sampled_from([*VALUES, "zz", None]) for part in "pqr"}))
def test_scalars_route_like_a_row(fleet, row):
    """A request whose parts are all parameters goes where a row with these values goes."""
    table = table_of(fleet.parts, fleet.levels, fleet.routes)
    own = {part: row[part] for part in fleet.parts}

    routed = table.route({part: table.indexes[part].codes(value, 5) for part, value in own.items()}, 5)

    assert (int(routed.target), table.reasons[routed.reason]) == reference(fleet, own)


# -- more parts, more values -----------------------------------------------------------------------------------------


@st.composite
def large_fleets(draw: st.DrawFn) -> Fleet:
    """Two to four parts of so many values that the keys of the longest level are a few among thousands of places."""
    parts = ["p", "q", "r", "s"][: draw(st.integers(2, 4))]
    each = {2: 40, 3: 12, 4: 7}[len(parts)]
    values = {part: [f"{part}{number}" for number in range(each)] for part in parts}
    # Every value stands at a level of its own part, so that all of them count at the levels of several.
    singles = [(part,) for part in parts]
    several = [level for size in range(2, len(parts) + 1) for level in combinations(parts, size)]
    levels = draw(st.permutations([*singles, *several, ()]))
    keys = [{part: value} for part in parts for value in values[part]]
    # Few of the values, so that rows often have declared keys.
    some = {part: [values[part][0], values[part][1], values[part][-1]] for part in parts}
    for level in [level for level in levels if len(level) != 1]:
        key = st.fixed_dictionaries({part: st.sampled_from(some[part]) for part in level})
        keys += draw(st.lists(key, max_size=3, unique_by=lambda key: frozenset(key.items())))
    row = st.fixed_dictionaries({part: st.sampled_from([*some[part], values[part][2], "zz", None]) for part in parts})
    routes = [Route(key, number) for number, key in enumerate(keys)]
    # A level of one part takes all known values: some rows must get past it.
    kept = draw(st.sets(st.sampled_from(parts)))
    routes = [it for it in routes if len(it.key) != 1 or next(iter(it.key)) in kept or it.target % 2]
    return Fleet(parts, [list(level) for level in levels], routes, draw(st.lists(row, max_size=12)))


@settings(max_examples=150, deadline=None)
@given(fleet=large_fleets())
def test_large_tables_are_like_the_reference(fleet):
    """Where keys are too sparse for a table without a search, every row goes where the slow, obvious loop sends it."""
    table = table_of(fleet.parts, fleet.levels, fleet.routes)

    assert route(table, fleet.rows) == [reference(fleet, row) for row in fleet.rows]


@settings(max_examples=80, deadline=None)
@given(fleet=large_fleets())
def test_one_row_of_a_large_table(fleet):
    """A row alone, and a request of scalars, go where the row goes among others."""
    table = table_of(fleet.parts, fleet.levels, fleet.routes)

    for row in fleet.rows:
        scalars = table.route({part: table.indexes[part].code(value) for part, value in row.items()}, 3)

        assert route(table, [row]) == [reference(fleet, row)]
        assert (scalars.target, table.reasons[scalars.reason]) == reference(fleet, row)


@settings(max_examples=80, deadline=None)
@given(fleet=large_fleets(), data=st.data())
def test_a_scalar_for_some_parts(fleet, data):
    """Parts that are one for the whole request give what columns of that one value give."""
    table = table_of(fleet.parts, fleet.levels, fleet.routes)
    alone = data.draw(st.sets(st.sampled_from(fleet.parts)))
    one = data.draw(st.fixed_dictionaries({part: st.sampled_from([f"{part}0", "zz", None]) for part in fleet.parts}))
    rows = [{part: (one if part in alone else row)[part] for part in fleet.parts} for row in fleet.rows]
    codes = {
        part: table.indexes[part].codes(one[part] if part in alone else [row[part] for row in rows], len(rows))
        for part in fleet.parts
    }

    routed = table.route(codes, len(rows))
    target, reason = (np.broadcast_to(it, (len(rows),)) for it in (routed.target, routed.reason))

    assert [(number, table.reasons[why]) for number, why in zip(target.tolist(), reason, strict=True)] == [
        reference(fleet, row) for row in rows
    ]


@settings(max_examples=150, deadline=None)
@given(fleet=st.one_of(fleets(), large_fleets()), data=st.data())
def test_rows_that_are_turned_away(fleet, data):
    """Rows of a sub-model that ``choose`` takes away go on to the next level, and have the reason ``disabled``."""
    table = table_of(fleet.parts, fleet.levels, fleet.routes)
    first = [reference(fleet, row)[0] for row in fleet.rows]
    off = data.draw(st.sets(st.sampled_from(sorted({number for number in first if number != NO_TARGET}) or [0])))
    seen: list[int] = []

    def choose(hit, rows):
        seen.extend(rows.tolist())
        assert len(hit) == len(rows)
        away = np.isin(hit, list(off))
        return np.where(away, NO_TARGET, hit).astype(np.int32), away

    codes = {
        part: table.indexes[part].codes([row[part] for row in fleet.rows], len(fleet.rows)) for part in table.parts
    }
    routed = table.route(codes, len(fleet.rows), choose)
    left = Fleet(fleet.parts, fleet.levels, [it for it in fleet.routes if it.target not in off], fleet.rows)

    expected = [reference(left, row) for row in fleet.rows]
    # A row is turned away if a sub-model that is off comes before the one that it gets.
    refused = [number in off for number in first]
    assert routed.target.tolist() == [target for target, _ in expected]
    assert [table.reasons[why] for why in routed.reason] == [
        "disabled" if away else why for away, (_, why) in zip(refused, expected, strict=True)
    ]
    assert set(seen) == set(range(len(fleet.rows)))


def test_few_of_many_values():
    """A part of many values that a level has few of: the level takes those, and no others."""
    shops = [Route({"p": f"{number}", "q": "x"}, number) for number in range(1500)]
    table = table_of(["p", "q"], [["p"], ["q", "p"]], [*shops, *(Route({"p": f"{at}"}, 1500 + at) for at in (0, 7))])
    rows = [("0", "x"), ("7", None), ("8", "x"), ("8", None), ("1499", "x"), ("1500", "x"), (None, "x")]

    assert route(table, [{"p": p, "q": q} for p, q in rows]) == [
        (1500, "exact"),
        (1507, "exact"),
        (8, "level:q,p"),
        (NO_TARGET, "missing_key"),
        (1499, "level:q,p"),
        (NO_TARGET, "unknown"),
        (NO_TARGET, "missing_key"),
    ]


def test_arms_by_the_number_of_main():
    """Arms stand in the order of their names, each with the variant of every main sub-model that has one."""
    table = table_of(
        ["a"],
        [["a"], []],
        [
            Route({"a": "x"}, 4),
            Route({"a": "y"}, 0),
            Route({}, 2),
            Route({"a": "x"}, 1, arm="late"),
            Route({"a": "x"}, 3, arm="early"),
            Route({}, 5, arm="early"),
        ],
    )

    assert {arm: variants.tolist() for arm, variants in table.arms.items()} == {
        "early": [-1, -1, 5, -1, 3, -1, -1],
        "late": [-1, -1, -1, -1, 1, -1, -1],
    }
    assert list(table.arms) == ["early", "late"]


def test_a_variant_without_main():
    """A variant of nothing takes no rows and stands in no arm."""
    table = table_of(["a"], [["a"]], [Route({"a": "x"}, 0), Route({"a": "y"}, 1, arm="canary")])

    assert table.arms == {}
    assert route(table, [{"a": "x"}, {"a": "y"}]) == [(0, "exact"), (NO_TARGET, "unknown")]


# Nine parts of 256 values have 2 ** 72 combinations: more than an integer of a machine holds.
NINE = [f"p{number}" for number in range(9)]
NINE_LEVELS = [NINE, *[[part] for part in NINE]]
NINE_ROUTES = [Route({part: f"v{value}"}, 256 * at + value) for at, part in enumerate(NINE) for value in range(256)]


@pytest.mark.parametrize("n_rows", [1, 3])
def test_more_combinations_than_integers(n_rows):
    """A key that differs from a declared one in its first part only is another key, however many parts there are."""
    table = table_of(NINE, NINE_LEVELS, [*NINE_ROUTES, Route(dict.fromkeys(NINE, "v0"), 9 * 256)])
    row = {**dict.fromkeys(NINE, "v0"), "p0": "v1"}

    assert route(table, [row] * n_rows) == [(1, "level:p0")] * n_rows


def test_a_key_beyond_all_integers():
    """The last of more combinations than there are integers is a key like others."""
    table = table_of(NINE, NINE_LEVELS, [*NINE_ROUTES, Route(dict.fromkeys(NINE, "v255"), 9 * 256)])

    assert route(table, [dict.fromkeys(NINE, "v255")] * 2) == [(9 * 256, "exact")] * 2
