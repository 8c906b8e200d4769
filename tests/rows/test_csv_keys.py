"""CSV has no types: keys that its readers change are exact as text and refused as anything else; none falls back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import api
from mmeframe.builtin.column import ColumnConf, ColumnStrategy
from mmeframe.builtin.lookup import LookupConf, LookupStrategy
from mmeframe.errors import BadInputError, ConfigError
from mmeframe.rows.key_index import KeyIndex
from mmeframe.rows.keys import canonical, csv_form, csv_hazard
from mmeframe.runtime import Router
from mmeframe.spec import SubModelEntry
from tests import fleets
from tests.route.test_routing import Fleet, Routing, made, reached

# Keys, and what pandas makes of a column of one of them.
CHANGED = {
    "007": "7",
    "-07": "-7",
    "+7": "7",
    "7.0": "7",
    "1e3": "1000",
    "1.50": "1.5",
    ".5": "0.5",
    "TRUE": "True",
    "false": "False",
    "NA": "",
    "null": "",
    "": "",
    "1e16": "1e+16",
    "Infinity": "inf",
}
KEPT = [
    "7",
    "-3",
    "a",
    "1_000",
    "True",
    "2020-01-02",
    "é",
    "18446744073709551615",
    "9" * 30,
    "0x10",
    "07a",
    "1,5",
    "1.5",
    "\u0667",
]


@pytest.mark.parametrize(("key", "form"), CHANGED.items())
def test_what_a_reader_makes_of_a_key(key, form):
    """The text of what pandas reads, nothing for a missing value."""
    read = pd.read_csv(io.StringIO(pd.DataFrame({"key": [key] * 2, "x": 1}).to_csv(index=False)))["key"]

    assert csv_form(key) == form == (canonical(read[0], exact=False) or "")


@pytest.mark.parametrize("key", KEPT)
def test_what_a_reader_keeps(key):
    """Other keys come back as they were."""
    read = pd.read_csv(io.StringIO(pd.DataFrame({"key": [key] * 2, "x": 1}).to_csv(index=False)))["key"]

    assert canonical(read[0]) == key
    assert (csv_form(key), csv_hazard(key)) == (None, None)


@settings(max_examples=200, deadline=None)
# pandas 3.1 takes "+1E 0" for 1 and "1E 0" for text: blanks inside are a fault of its own.
@given(key=st.text("0123456789.+-eE ", min_size=1, max_size=6).filter(lambda key: " " not in key.strip()))
def test_what_a_reader_makes_of_a_number(key):
    """However a number is written."""
    read = pd.read_csv(io.StringIO(pd.DataFrame({"key": [key] * 2, "x": 1}).to_csv(index=False)))["key"]

    form = csv_form(key)

    assert (canonical(read[0], exact=False) or "") == (key if form is None else form)


def fleet(*keys: str) -> Routing:
    """Sub-models of some keys, and one for all others."""
    models = [SubModelEntry(f"m{key}", "", {"p": key}) for key in keys] + [SubModelEntry("all", "", {})]
    return made(Fleet([["p"], []], models, parts=["p"]))


def ids(routing: Routing, keys: Any) -> list[Any]:
    return [id_ for id_, _, _ in reached(routing, pd.DataFrame({"p": keys}))]


def as_read(*cells: str) -> pd.Series:
    """A column of keys as pandas reads it from a CSV file, by default."""
    return pd.read_csv(io.StringIO("\n".join(["p,x", *(f"{cell},1" for cell in cells)])))["p"]


@pytest.mark.parametrize("n_rows", [1, 2])
@pytest.mark.parametrize("key", [key for key in CHANGED if key not in ("", "1e16")])
def test_a_column_that_arrives_changed_is_refused(key, n_rows):
    """It is text in the file and a number, a boolean or NaN here: the rows would fall back without a word."""
    routing = fleet(key, "a")

    with pytest.raises(BadInputError) as caught:
        ids(routing, as_read(*[key] * n_rows))

    lines = str(caught.value).splitlines()
    assert lines[0].startswith("routing.keys.p: a row has ")
    assert lines[0].endswith(f", which CSV readers make of {key!r}.")
    assert lines[1].startswith("  Send the keys as text: ")
    assert ids(routing, pd.Series([key] * n_rows, dtype=object)) == [f"m{key}"] * n_rows


def test_a_row_is_not_routed_by_what_stands_beside_it():
    """Alone 007 and 008 come as 7 and 8; beside TRUE they are text: exact, or refused, but never the fallback."""
    routing = fleet("007", "008", "TRUE")

    assert ids(routing, as_read("007", "008", "TRUE")) == ["m007", "m008", "mTRUE"]
    with pytest.raises(
        BadInputError, match="a row has a number or boolean as its key, which CSV readers make of '007'"
    ):
        ids(routing, as_read("007", "008"))
    with pytest.raises(BadInputError, match="which CSV readers make of 'TRUE'"):
        ids(routing, as_read("TRUE", "TRUE"))
    assert ids(routing, as_read("9", "10")) == ["all", "all"]


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(np.array([7, 1]), id="int64"),
        pytest.param(np.array([7, 1], "uint8"), id="uint8"),
        pytest.param(np.array([7.0, np.nan]), id="float64"),
        pytest.param(pd.array([7, None], dtype="Int64"), id="Int64"),
        pytest.param(pd.array([7, None], dtype="int64[pyarrow]"), id="arrow"),
        pytest.param(pd.array([7.0, None], dtype="Float64"), id="Float64"),
        pytest.param(np.array([7, "a"], object), id="objects"),
        pytest.param(np.array([7.0, None], object), id="floats-among-objects"),
    ],
)
def test_a_number_is_refused_in_whatever_type_it_comes(keys):
    """A row is refused alone as in any batch: it is the number that is not what was written, not its column."""
    routing = fleet("007", "a")

    for rows in (keys, keys[:1]):
        with pytest.raises(BadInputError, match="which CSV readers make of '007'"):
            ids(routing, pd.Series(rows))


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param(["7", "007"], ["all", "m007"], id="text"),
        pytest.param(pd.array(["7", "007"], dtype="string"), ["all", "m007"], id="string"),
        pytest.param(pd.Categorical(["007", None]), ["m007", "all"], id="category"),
        pytest.param([8, 9], ["all", "all"], id="other-numbers"),
        pytest.param([True, False], ["all", "all"], id="booleans"),
        pytest.param(pd.Series([None, "007"], dtype=object), ["all", "m007"], id="missing"),
        pytest.param(np.array([np.nan, 8.0]), ["all", "all"], id="nan"),
    ],
)
def test_what_is_as_it_was_written_is_routed(keys, found):
    """Text is, and so are numbers that are made of no key."""
    assert ids(fleet("007", "1e3"), keys) == found


def test_a_number_that_is_a_key_itself_is_that_key():
    """Only what has no sub-model can be another key."""
    routing = fleet("1", "02", "a")

    assert ids(routing, [1, 1]) == ["m1", "m1"]
    with pytest.raises(BadInputError, match="which CSV readers make of '02'"):
        ids(routing, [1, 2])


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param(pd.Series(["NA", "DE"], dtype=object), ["mNA", "all"], id="text"),
        pytest.param(pd.Series([None, "NA"], dtype=object), ["all", "mNA"], id="None"),
        pytest.param(pd.array([None, "NA"], dtype="string"), ["all", "mNA"], id="nullable-text"),
        pytest.param(pd.array([None, 5], dtype="Int64"), ["all", "all"], id="nullable-numbers"),
        pytest.param(pd.Categorical([None, "NA"]), ["all", "mNA"], id="category"),
        pytest.param(pd.Series([np.nan, "DE"], dtype=object), None, id="NaN"),
        pytest.param(pd.Series([None, "DE"], dtype="str"), None, id="str"),
        pytest.param([np.nan, 5.0], None, id="floats"),
    ],
)
def test_a_missing_key_beside_a_key_that_readers_take_for_missing(keys, found):
    """NaN is what they leave of NA, and may be a key; None and pandas.NA are no keys: no reader makes them of one."""
    routing = fleet("NA", "FR")

    if found is None:
        with pytest.raises(BadInputError, match="a row has no key, which CSV readers make of 'NA'"):
            ids(routing, keys)
    else:
        assert ids(routing, keys) == found


# Values that a look-up knows are keys of the part that it starts from.
LOOKED_UP = {"007": "eu", "NA": "eu", "1e3": "us", "TRUE": "us", "9": "us"}


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param(["007", "9", "1e3", "x"], ["eu", "us", "us", "all"], id="text"),
        pytest.param([9, 8], ["us", "all"], id="other-numbers"),
        pytest.param([5, 9], ["exact", "us"], id="a-key-of-a-level"),
        pytest.param([9, 7], "'007'", id="whole-number"),
        pytest.param(pd.Categorical([9, 7]), "'007'", id="category"),
        pytest.param(pd.array([7, None], dtype="Int64"), "'007'", id="nullable"),
        pytest.param([1000.0, 9.0], "'1e3'", id="float"),
        pytest.param([True, False], "'TRUE'", id="boolean"),
        pytest.param([np.nan, 9.0], "'NA'", id="missing"),
    ],
)
def test_a_looked_up_key_that_arrives_changed_is_refused(keys, found):
    """It would stand nowhere in the table, and fall back."""
    entries = [SubModelEntry(id_, "", {"region": id_}) for id_ in ("eu", "us")]
    entries += [SubModelEntry("exact", "", {"p": "5"}), SubModelEntry("all", "", {})]
    fleet_ = Fleet([["p"], ["region"], []], entries, parts=["p", "region"])
    lookup = LookupStrategy(LookupConf("p", values=LOOKED_UP))
    routing = made(fleet_, {"p": ColumnStrategy(ColumnConf("p")), "region": lookup})

    if isinstance(found, list):
        assert ids(routing, keys) == found
    else:
        with pytest.raises(BadInputError, match=f"^routing.keys.p: a row has .*, which CSV readers make of {found}"):
            ids(routing, keys)


def test_a_table_that_answers_in_two_ways_once_it_was_read():
    """Of 007 and 7 a CSV reader makes one: with one answer nothing is lost."""
    LookupStrategy(LookupConf("p", values={"007": "eu", "7": "eu"})).prepare()
    with pytest.raises(ConfigError, match="'007' and '7' have different answers") as caught:
        LookupStrategy(LookupConf("p", values={"007": "eu", "7": "us"})).prepare()
    assert caught.value.where == "values"


TEXTS = st.one_of(
    st.sampled_from([*CHANGED, *KEPT, "1000", "1.5", "False", "0.5"]),
    st.from_regex(r"[+-]?0{0,2}[0-9]{0,3}(\.[0-9]{0,2})?", fullmatch=True).filter(bool),
)


@settings(max_examples=150, deadline=None)
@given(
    declared=st.lists(TEXTS, min_size=1, max_size=5, unique=True),
    cells=st.lists(TEXTS.filter(lambda text: "," not in text), min_size=1, max_size=5),
)
def test_a_csv_row_has_its_own_key_or_is_refused(declared, cells):
    """Whatever stands beside it: a declared key never reaches the fallback, nor another key's sub-model."""
    # A fleet in which one key is what readers make of another is not built.
    declared = [key for key in declared if csv_form(key) not in declared]
    routing = fleet(*declared)

    try:
        found = ids(routing, as_read(*cells))
    except BadInputError:
        return

    for cell, id_ in zip(cells, found, strict=True):
        if cell in declared:
            assert id_ == f"m{cell}"


@given(keys=st.lists(st.text(max_size=4), unique=True))
def test_the_index_keeps_what_readers_change(keys):
    """It stands among the arrays of the route table, and is nothing for a fleet whose keys survive."""
    index = KeyIndex.of(keys)

    assert index.csv_forms == {form for key in keys if (form := csv_form(key)) is not None}
    assert ("forms" in index.arrays) == bool(index.csv_forms)
    assert KeyIndex(**index.arrays).csv_forms == index.csv_forms


# -- built, and told -------------------------------------------------------------------------------------------------

ZIPS = ("02108", "10001", "1e3", "NA", "TRUE", "berlin")


def overrides(keys: Sequence[str]) -> list[str]:
    models = [f"+models.m{n}={{uri:'models:/day_{n}@champion',key:{{zip:'{key}'}}}}" for n, key in enumerate(keys)]
    levels = "routing.levels=[[zip],[]]"
    return [
        *models,
        "+models.everyone={uri:'models:/all_days@champion',key:{}}",
        "routing=column",
        "routing.column=zip",
        levels,
    ]


@pytest.fixture(scope="module")
def router(week) -> Router:
    return api.load_router(api.build("name=csv_keys", *overrides(ZIPS), week.override).model_uri, tracking_uri=week.uri)


def test_a_built_router_refuses_too(router):
    """The artifact knows what readers make of its keys."""
    rows = fleets.rows(2)[["x1", "x2"]]

    with pytest.raises(BadInputError, match="which CSV readers make of '02108'"):
        router.predict(rows.assign(zip=[2108, 10001]))
    answer = router.predict(rows.assign(zip=["02108", "10001"]), {"annotate": True})
    assert answer["model_id"].tolist() == ["m0", "m1"]


def test_files_of_our_own_readers_keep_every_key(router, tmp_path, week):
    """``mmeframe predict`` reads keys as text: each is exact, and an empty cell is no key."""
    rows = fleets.rows(7)[["x1", "x2"]].assign(zip=[*ZIPS, ""])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    uri = "models:/csv_keys/1"

    api.predict_table(uri, tmp_path / "rows.csv", tmp_path / "out.jsonl", annotate=True, tracking_uri=week.uri)

    found = pd.read_json(tmp_path / "out.jsonl", lines=True, dtype=False)
    assert found["model_id"].tolist() == [*(f"m{n}" for n in range(6)), "everyone"]


@pytest.mark.build
@pytest.mark.parametrize(
    "more", [(), ("+models.text={uri:'models:/all_days@champion',key:{zip:a}}",)], ids=["whole", "text"]
)
def test_a_number_in_a_file_is_one_key_whatever_else_is_declared(week, tmp_path, more):
    """pandas writes 3.0 for a 3 beside an empty cell: a sub-model that joins sends no such row to the fallback."""
    logged = api.build(f"name=csv_joins_{len(more)}", *overrides(["0", "1", "2", "3"]), *more, week.override)
    cells = ["3", "3.0", "03", "3e0", "", "4.0", "3.5"]
    fleets.rows(7)[["x1", "x2"]].assign(zip=cells).to_csv(tmp_path / "rows.csv", index=False)
    options = {"annotate": True, "tracking_uri": week.uri, "batch_rows": 3}

    api.predict_table(logged.model_uri, tmp_path / "rows.csv", tmp_path / "out.jsonl", **options)

    found = pd.read_json(tmp_path / "out.jsonl", lines=True)
    assert found["model_id"].tolist() == ["m3"] * 4 + ["everyone"] * 3
    explained = api.explain(week.override, data=tmp_path / "rows.csv", model=logged.model_uri)
    assert [row["model_id"] for row in explained] == found["model_id"].tolist()


def test_the_warning_counts_and_the_plan_lists(week, run):
    """A few are shown where the build warns, all of them where somebody looks."""
    fleet_ = api.validate("name=z", *overrides(ZIPS), week.override)

    (warning,) = fleet_.warnings
    assert warning == (
        "routing.keys.zip: CSV readers change 4 of 6 keys: they take '02108' as the number 2108, '1e3' as the number "
        "1000, 'NA' as a missing value ... Rows with the changed value are refused: send the column as "
        "text. 'mmeframe predict' "
        "reads it so, and 'mmeframe plan' lists all."
    )
    plan = run("plan", "name=z", *overrides(ZIPS), week.override)
    assert (
        "zip, as CSV readers take it: 02108 as the number 2108, 1e3 as the number 1000, NA as a missing value, "
        "TRUE as the boolean True\n"
    ) in plan.out


def test_the_plan_lists_what_look_ups_know(week, run, tmp_path):
    """A look-up's values count as keys of the part that it starts from, with those that have a sub-model."""
    (tmp_path / "zones.csv").write_text("store,zone\n007,eu\n1e3,us\nx,us\n")
    asked = [
        "name=z",
        "+routing@routing.keys.store=column",
        "routing.keys.store.column=store",
        "+routing@routing.keys.zip=lookup",
        "routing.keys.zip.part=store",
        f"routing.keys.zip.table={tmp_path / 'zones.csv'}",
        "routing.keys.zip.to=zone",
        *(f"+models.{key}={{uri:'models:/all_days@champion',key:{{zip:{key}}}}}" for key in ("eu", "us")),
        "routing.levels=[[zip]]",
        week.override,
    ]

    (warning,) = api.validate(*asked).warnings
    assert warning.startswith(
        "routing.keys.store: CSV readers change 2 of 3 keys: they take '007' as the number 7, '1e3' as the number 1000."
    )
    assert "store, as CSV readers take it: 007 as the number 7, 1e3 as the number 1000\n" in run("plan", *asked).out


@pytest.mark.parametrize(
    ("keys", "how"),
    [
        (["01", "1"], "leading zeros"),
        (["7.0", "7"], "how they are written"),
        (["1e3", "1000"], "how they are written"),
        (["TRUE", "True"], "how they are written"),
    ],
)
def test_two_keys_that_readers_make_one_are_refused(week, keys, how):
    """One would silently get the other's rows."""
    with pytest.raises(Exception, match=f"the keys '{keys[0]}' and '{keys[1]}' differ only in {how}"):
        api.validate("name=z", *overrides(keys), week.override)
