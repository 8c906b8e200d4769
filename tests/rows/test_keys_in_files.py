"""Keys in files without types: how each kind of column is read, alone and in any piece."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.errors import BadInputError
from mmeframe.route.reading import _key_type, file_types
from mmeframe.rows.key_columns import normalised
from mmeframe.rows.key_index import KeyIndex
from mmeframe.rows.reading import read_table
from tests import fleets

CELLS = ["7", "7.0", "007", "-3.0", "0.0", "7.00", "7.5", "1e3", "true", "NA", "", " 7", "a", "12345678901234567890"]
AS_KEY = ["7", "7", "007", "-3", "0", "7", "7.5", "1e3", "true", "NA", None, " 7", "a", "12345678901234567890"]
AS_TEXT = [cell or None for cell in CELLS]


def keys_of(path, kind: str, rows: int) -> list[str | None]:
    """Canonical keys of a file's column k."""
    found = []
    for piece in read_table(path, lambda _: kind, rows):
        column = normalised(piece["k"].array, len(piece))
        found += [None if code < 0 else column.categories[code] for code in column.codes]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("keys")


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(len(CELLS))), n=st.integers(1, len(CELLS)), rows=st.integers(1, 5))
def test_a_key_is_read_alone(folder, order, n, rows):
    """A cell is one key, whatever stands beside it: pandas writes 7 as 7.0 in a column with gaps, and 007 is not 7."""
    path = folder / "rows.csv"
    path.write_text("k,x\n" + "".join(f"{CELLS[at]},1\n" for at in order[:n]))

    assert keys_of(path, "key", rows) == [AS_KEY[at] for at in order[:n]]
    assert keys_of(path, "text", rows) == [AS_TEXT[at] for at in order[:n]]


@pytest.mark.parametrize("cell", ["9007199254740992.0", "-9007199254740993.0", "12345678901234567890.0"])
def test_keys_that_may_have_lost_digits_are_refused(tmp_path, cell):
    """Beside a gap, programs write whole numbers as doubles, which hold no more than 53 bits."""
    (tmp_path / "rows.csv").write_text(f"k,x\n{cell},1\n,2\n")

    with pytest.raises(BadInputError, match="column 'k' has keys from 2\\*\\*53 on with a decimal point") as caught:
        keys_of(tmp_path / "rows.csv", "key", 10)

    assert cell.strip("-")[:10] not in str(caught.value)


@pytest.mark.build
@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_empty_key_is_a_missing_one(week, tmp_path, suffix, rows):
    """The same in a file without types and in one with."""
    from mmeframe import api

    uri = api.build("name=keys_in_files", *fleets.WEEK, week.override, plugins=fleets.plugins()).model_uri
    path = tmp_path / f"rows{suffix}"
    rest = '{"x1": 1.0, "x2": 0.5, "dow": '
    lines = {".csv": ["x1,x2,dow", "1.0,0.5,3", "1.0,0.5,"], ".jsonl": [f'{rest}"3"}}', f'{rest}""}}']}
    path.write_text("\n".join(lines[suffix]))

    out = tmp_path / "out.jsonl"
    api.predict_table(uri, path, out, annotate=True, keep="none", tracking_uri=week.uri, batch_rows=rows)
    (explained,) = api.explain(*fleets.WEEK, "name=x", week.override, data=path, plugins=fleets.plugins())[1:]

    assert '"model_id": "everyone"' in out.read_text().splitlines()[1]
    assert explained["route"][0] == {"level": "dow", "found": "dow missing"}


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        pytest.param({"7", "-3"}, "long", id="whole-numbers"),
        pytest.param({"7", "a", "7.5"}, "key", id="text-among-them"),
        pytest.param({"7.0", "a"}, "text", id="written-as-7.0"),
        pytest.param(set(), "key", id="none"),
    ],
)
def test_declared_keys_decide_how_their_column_is_read(declared, kind):
    """7.0 is 7, unless a sub-model has the key 7.0."""
    assert _key_type(KeyIndex.of(declared)) == kind


def test_sticky_columns_and_keys_have_one_table():
    """What several parts read of a column: the sub-models' type wins, and a text is read as it is written."""
    from mmeframe.builtin.column import ColumnConf, ColumnStrategy
    from mmeframe.builtin.hashed import HashConf, HashStrategy
    from mmeframe.spec import Column

    strategies = {
        "a": ColumnStrategy(ColumnConf(column="a")),
        "b": ColumnStrategy(ColumnConf(column="b")),
        "h": HashStrategy(HashConf(columns=["h", "b"], shares={"one": 1.0})),
    }
    union = [Column("b", "string"), Column("c", "double"), Column("h", "long")]

    found = file_types(strategies, ["c", "user"], union, {"a": "long", "b": "key", "h": "key"})

    assert found == {"a": "long", "b": "text", "c": "double", "h": "long", "user": "key"}
