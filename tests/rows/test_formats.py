"""One table in every format: the same keys, values and answers, in pieces of any size; and files that are no table."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import api
from mmeframe.builtin.lookup import LookupConf, LookupStrategy
from mmeframe.errors import BadInputError, ConfigError, MissingError, MmeframeError, UsageError
from mmeframe.plugin import read_table as read_for_plugins
from mmeframe.rows.formats import KNOWN
from mmeframe.rows.key_columns import normalised
from mmeframe.rows.parts import Types
from mmeframe.rows.reading import read_table, read_whole
from mmeframe.rows.writing import writer
from mmeframe.runtime import Router
from mmeframe.tables import Wanted, score_table
from tests import fleets

Rows = Sequence[Mapping[str, Any]]


def packed(path: Path, data: bytes) -> None:
    if path.suffix.lower() == ".gz":
        data = gzip.compress(data)
    if path.suffix.lower() == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as file:
            file.write(data)
        data = sink.getvalue().to_pybytes()
    path.write_bytes(data)


def separated(rows: Rows, separator: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def table_of(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows])


def parquet_folder(path: Path, rows: Rows) -> None:
    """Two files, and what Spark puts beside them."""
    path.mkdir()
    half = len(rows) // 2
    whole = table_of(rows)
    pq.write_table(whole.slice(0, half), path / "part-0.parquet")
    pq.write_table(whole.slice(half), path / "part-1.PARQUET")
    (path / "_SUCCESS").touch()
    (path / ".part-0.parquet").write_bytes(b"crc")


def ipc(path: Path, rows: Rows, new: Callable[..., Any], batch: int = 1) -> None:
    table = table_of(rows)
    with new(str(path), table.schema) as file:
        for piece in table.to_batches(batch):
            file.write_batch(piece)


WRITE: dict[str, Callable[[Path, Rows], None]] = {
    **{
        name: lambda path, rows: packed(path, separated(rows, "\t" if ".tsv" in path.name.lower() else ","))
        for name in ("rows.csv", "rows.TSV", "rows.csv.gz", "rows.tsv.zst", "two.dots.CSV.GZ")
    },
    **{
        name: lambda path, rows: packed(path, json.dumps(rows).encode())
        for name in ("rows.json", "rows.json.gz", "rows.JSON.zst")
    },
    **{
        name: lambda path, rows: packed(path, "".join(f"{json.dumps(row)}\n" for row in rows).encode())
        for name in ("rows.jsonl", "rows.ndjson", "rows.jsonl.zst", "rows.NDJSON.gz")
    },
    "rows.parquet": lambda path, rows: pq.write_table(table_of(rows), path),
    "rows.snappy.Parquet": lambda path, rows: pq.write_table(table_of(rows), path, row_group_size=1),
    "rows.arrow": lambda path, rows: ipc(path, rows, pa.ipc.new_file),
    "rows.FEATHER": lambda path, rows: ipc(path, rows, pa.ipc.new_file, 1000),
    "rows.ipc": lambda path, rows: ipc(path, rows, pa.ipc.new_stream),
    "folder": parquet_folder,
}


def given_as(name: str, folder: Path, rows: Rows) -> Path:
    WRITE[name](folder / name, rows)
    return folder / name


def keys(pieces: Sequence[pd.DataFrame], name: str) -> list[str | None]:
    found: list[str | None] = []
    for piece in pieces:
        column = normalised(piece[name].array, len(piece))
        found += [
            None if code < 0 or column.categories[code] == "" else column.categories[code] for code in column.codes
        ]
    return found


def values(pieces: Sequence[pd.DataFrame], name: str) -> list[Any]:
    return [None if pd.isna(cell) else cell for piece in pieces for cell in piece[name].tolist()]


ROWS = [
    {"k": "007", "n": 7, "x": 0.1, "b": True, "t": "a,b"},
    {"k": "7", "n": None, "x": None, "b": False, "t": 'say "no"\tand "yes"'},
    {"k": "NA", "n": 2**53 + 1, "x": 1e300, "b": True, "t": "ü\nv"},
    {"k": None, "n": -3, "x": 3.0, "b": True, "t": None},
    {"k": "true", "n": 0, "x": -0.5, "b": False, "t": "null"},
]
KINDS = {"k": "key", "n": "long", "x": "double", "b": "boolean", "t": "key"}


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
@pytest.mark.parametrize("name", WRITE)
def test_a_table_is_the_same_in_every_format(tmp_path, name, rows):
    """Keys and values do not depend on the format, nor on how many rows are read at once."""
    pieces = list(read_table(given_as(name, tmp_path, ROWS), KINDS.__getitem__, rows))

    assert [len(piece) for piece in pieces] == [min(rows, 5 - at) for at in range(0, 5, rows)]
    assert all(list(piece.columns) == list(KINDS) for piece in pieces)
    assert keys(pieces, "k") == ["007", "7", "NA", None, "true"]
    assert keys(pieces, "n") == ["7", None, "9007199254740993", "-3", "0"]
    assert values(pieces, "x") == [0.1, None, 1e300, 3.0, -0.5]
    assert values(pieces, "b") == [True, False, True, True, False]
    assert values(pieces, "t") == ["a,b", 'say "no"\tand "yes"', "ü\nv", None, "null"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


# A text that a CSV file can hold: it has no missing text, and 7.0 in a column of keys is 7 there.
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=5)
CELLS = st.one_of(st.none(), TEXTS, st.from_regex(r"0{0,2}[0-9]{1,3}", fullmatch=True))


@settings(max_examples=30, deadline=None)
@given(cells=st.lists(CELLS, min_size=1, max_size=6), rows=st.integers(1, 7))
def test_keys_are_the_same_in_every_format(folder, cells, rows):
    """Any text is one key, whatever file it stands in."""
    table = [{"k": cell, "one": 1} for cell in cells]
    for name in ("rows.csv", "rows.tsv.zst", "rows.ndjson", "rows.json.gz", "rows.parquet", "rows.ipc"):
        path = folder / name
        WRITE[name](path, table)
        assert keys(list(read_table(path, lambda _: "text", rows)), "k") == cells


@settings(max_examples=30, deadline=None)
@given(
    cells=st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=6),
    rows=st.integers(1, 7),
)
def test_whole_numbers_are_the_same_in_every_format(folder, cells, rows):
    """Every digit, with missing ones beside them or without."""
    table = [{"k": cell, "one": 1} for cell in cells]
    for name in ("rows.csv.gz", "rows.TSV", "rows.jsonl", "rows.JSON.zst", "rows.parquet", "rows.FEATHER"):
        WRITE[name](folder / name, table)
        assert keys(list(read_table(folder / name, lambda _: "long", rows)), "k") == [
            None if cell is None else str(cell) for cell in cells
        ]


@settings(max_examples=30, deadline=None)
@given(
    cells=st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=6),
    rows=st.integers(1, 7),
)
def test_doubles_are_the_same_in_every_format(folder, cells, rows):
    """Every bit."""
    table = [{"x": cell, "one": 1} for cell in cells]
    for name in ("rows.csv", "rows.tsv.zst", "rows.NDJSON.gz", "rows.json", "rows.parquet", "rows.arrow"):
        WRITE[name](folder / name, table)
        assert values(list(read_table(folder / name, lambda _: "double", rows)), "x") == cells


@pytest.mark.parametrize("name", WRITE)
def test_a_look_up_takes_every_format(tmp_path, name):
    """Its keys and answers are those of the table."""
    strategy = LookupStrategy(LookupConf("k", table=str(given_as(name, tmp_path, ROWS)), to="n"))

    assert strategy.prepare() == {"table.json": b'{"007":"7","NA":"9007199254740993","true":"0"}'}


@pytest.mark.parametrize("name", WRITE)
def test_plugins_read_the_same(tmp_path, name):
    """Text as written, whole numbers whole, everything at once."""
    table = read_for_plugins(str(given_as(name, tmp_path, ROWS)))

    assert keys([table], "k") == ["007", "7", "NA", None, "true"]
    assert keys([table], "n") == ["7", None, "9007199254740993", "-3", "0"]


# -- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def router(week) -> Router:
    """Weekday by column, else the global sub-model."""
    logged = api.build("name=formats", *fleets.WEEK, week.override)
    return api.load_router(logged.model_uri, tracking_uri=week.uri)


DAYS = [{"x1": 0.5 * row, "x2": -0.25, "dow": row if row < 6 else None} for row in range(8)]


@pytest.mark.parametrize("name", WRITE)
def test_commands_take_every_format(router, week, tmp_path, name):
    """The same rows have the same answers, the same ways, and the same coverage."""
    data = given_as(name, tmp_path, DAYS)
    score_table(router, data, Wanted(batch_rows=3, keep="none", annotate=True), out=tmp_path / "out.jsonl")
    ways = list(api.explain(*fleets.WEEK, "name=x", week.override, data=data, plugins=fleets.plugins()))
    covered = api.coverage(*fleets.WEEK, "name=x", week.override, data=data, plugins=fleets.plugins())

    answered = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = [f"day_{row}" for row in range(6)] + ["everyone"] * 2
    assert [row["model_id"] for row in answered] == expected
    assert [row["prediction"] for row in answered] == router.predict(pd.DataFrame(DAYS)).tolist()
    assert [way["model_id"] for way in ways] == expected
    assert (covered["rows"], covered["coverage"]) == (8, 1.0)


OUT = {
    "out.csv": "text",
    "out.tsv": "text",
    "out.CSV.gz": "text",
    "out.tsv.zst": "text",
    "out.json": "typed",
    "out.json.zst": "typed",
    "out.ndjson": "typed",
    "out.jsonl.gz": "typed",
    "out.parquet": "typed",
    "out.arrow": "typed",
    "out.Feather": "typed",
    "out.ipc": "typed",
}


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("name", OUT)
def test_what_is_written_is_what_is_read(tmp_path, name, rows):
    """A table written in pieces of any size is the same table, and the only file."""
    frame = read_whole(given_as("rows.parquet", tmp_path, ROWS), KINDS.__getitem__, "x").assign(
        c=pd.Categorical(["a", "b", None, "c", "a"])
    )
    (tmp_path / "to").mkdir()
    with writer(tmp_path / "to" / name, None, Types({})) as write:
        for at in range(0, 5, rows):
            write(frame[at : at + rows].assign(c=frame["c"][at : at + rows].cat.remove_unused_categories()))

    found = read_whole(tmp_path / "to" / name, lambda column: KINDS.get(column, "key"), "x")

    assert [path.name for path in (tmp_path / "to").iterdir()] == [name]
    assert list(found.columns) == [*KINDS, "c"]
    for column in ("k", "n", "t", "c"):
        assert keys([found], column) == keys([frame], column)
    for column in ("x", "b"):
        assert values([found], column) == values([frame], column)


@pytest.mark.parametrize("name", ["out.csv.gz", "out.jsonl.zst", "out.arrow"])
def test_predict_writes_every_format(router, tmp_path, name):
    """Zero rows, too."""
    for rows in (DAYS, []):
        pq.write_table(table_of(DAYS).slice(0, len(rows)), tmp_path / "rows.parquet")
        score_table(router, tmp_path / "rows.parquet", Wanted(batch_rows=3), out=tmp_path / name)

        found = read_whole(tmp_path / name, lambda _: "any", "x")
        assert len(found) == len(rows)
        assert not rows or found["prediction"].tolist() == router.predict(pd.DataFrame(rows)).tolist()


def test_kept_columns_of_an_arrow_file_stay_what_they_are(router, tmp_path):
    """From Arrow to Parquet and back, types do not change."""
    table = table_of(DAYS).append_column("small", pa.array([None, 1, *range(6)], pa.int8()))
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), table.schema) as file:
        file.write_table(table)

    score_table(router, tmp_path / "rows.arrow", Wanted(batch_rows=1), out=tmp_path / "out.parquet")
    score_table(
        router, tmp_path / "out.parquet", Wanted(batch_rows=5, keep=["small", "dow"]), out=tmp_path / "out.arrow"
    )

    assert pq.read_schema(tmp_path / "out.parquet").field("small").type == pa.int8()
    found = pa.ipc.open_file(str(tmp_path / "out.arrow")).read_all()
    assert found.select(["small", "dow"]).equals(table.select(["small", "dow"]))


# -- folders of Parquet files ----------------------------------------------------------------------------------------


def test_names_of_folders_are_columns(tmp_path):
    """As Spark writes them: without types, so they are read as in a CSV file."""
    for name, values_ in {"dow=007": [1, 2], "dow=a%2Fb": [3], "dow=__HIVE_DEFAULT_PARTITION__": [4]}.items():
        (tmp_path / "rows" / name).mkdir(parents=True)
        pq.write_table(pa.table({"x": values_}), tmp_path / "rows" / name / "part.parquet")

    pieces = list(read_table(tmp_path / "rows", lambda name: "key" if name == "dow" else "any", 2))

    assert dict(zip(values(pieces, "x"), keys(pieces, "dow"), strict=True)) == {1: "007", 2: "007", 3: "a/b", 4: None}


def test_names_of_folders_may_be_numbers_and_text(tmp_path):
    """A text beside them makes no other key of a number."""
    for name in ("dow=7", "dow=007", "dow=x", "dow=true"):
        (tmp_path / "rows" / name).mkdir(parents=True)
        pq.write_table(pa.table({"x": [1]}), tmp_path / "rows" / name / "part.parquet")

    pieces = list(read_table(tmp_path / "rows", lambda _: "long", 10))

    assert keys(pieces, "dow") == ["7", "7", "True", "x"]


def test_files_of_a_folder_may_differ_in_width(tmp_path):
    """Columns are those of all files, in types that hold all their values."""
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table({"x": pa.array([1], pa.int32()), "a": ["one"]}), tmp_path / "rows/1.parquet")
    pq.write_table(pa.table({"b": [0.5], "x": pa.array([2**40])}), tmp_path / "rows/2.parquet")

    (found,) = read_table(tmp_path / "rows", lambda _: "any", 10)

    assert list(found.columns) == ["x", "a", "b"]
    assert found["x"].tolist() == [1, 2**40]
    assert values([found], "a") == ["one", None]
    assert values([found], "b") == [None, 0.5]


def test_files_of_a_folder_that_do_not_go_together(tmp_path):
    """Text and numbers are no one column."""
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "rows/1.parquet")
    pq.write_table(pa.table({"x": ["a"]}), tmp_path / "rows/2.parquet")

    with pytest.raises(BadInputError, match="its files have columns that do not go together"):
        list(read_table(tmp_path / "rows", lambda _: "any", 10))


# -- files that are no table -----------------------------------------------------------------------------------------

CSV = b"k,x\n1,2\n"
ZSTD = pa.compress(CSV * 1000, "zstd", asbytes=True)
PARQUET = pa.BufferOutputStream()
pq.write_table(pa.table({"k": [1]}), PARQUET)
WHOLE = PARQUET.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content", "what", "hint"),
    [
        pytest.param("r.csv.gz", b"", "it is empty", "Write or copy it again.", id="empty-gzip"),
        pytest.param("r.csv", b"", "No columns to parse", "", id="empty-csv"),
        pytest.param("r.json", b"", "Expecting value: line 1", "", id="empty-json"),
        pytest.param("r.parquet", b"", "Parquet file size is 0 bytes", "", id="empty-parquet"),
        pytest.param("r.arrow", b"", "", "", id="empty-arrow"),
        pytest.param("r.csv.gz", gzip.compress(CSV * 99)[:-20], "Truncated compressed stream", "again", id="cut-gzip"),
        pytest.param("r.jsonl.zst", ZSTD[:-9], "Truncated compressed stream", "again", id="cut-zstd"),
        pytest.param("r.parquet", WHOLE[:-9], "Parquet", "", id="cut-parquet"),
        pytest.param("r.csv.gz", CSV, "zlib inflate failed", "again", id="no-gzip"),
        pytest.param("r.csv.gz", ZSTD, "its content is zstd, not what its name says", "Rename", id="zstd-as-gzip"),
        pytest.param("r.csv", gzip.compress(CSV), "its content is gzip", "Name it r.csv.gz.", id="gzip-as-csv"),
        pytest.param("r.csv", WHOLE, "its content is parquet", "Rename", id="parquet-as-csv"),
        pytest.param("r.csv", b"PK\x03\x04", "its content is a workbook", "Rename", id="workbook-as-csv"),
        pytest.param("r.arrow", WHOLE, "its content is parquet", "Rename", id="parquet-as-arrow"),
        pytest.param("r.json", b'{"k": 1}\n{"k": 2}\n', "Extra data: line 2", "name it .jsonl", id="lines-as-json"),
        pytest.param("r.jsonl", b'[{"k": 1}]\n', "line 1 is no record", "", id="json-as-lines"),
        pytest.param("r.json", b"[" * 100_000, "recursion", "", id="nested"),
        pytest.param("r.csv", b"k,x\n1,2,3\n", "more values than the header has names, in line 2", "Quote", id="long"),
        pytest.param("r.csv", b"k,x\n1,2\n\n1,2,3\n", "Expected 2 fields in line 4, saw 3", "Quote", id="long-later"),
        pytest.param("r.tsv", b"k\tx\n1\t2\t3\n", "names, in line 2", "Quote", id="long-tsv"),
        pytest.param("r.csv", b"k,x\n1,2\n\xe9,2\n", "decode byte 0xe9", "Save it as UTF-8.", id="latin-1"),
        pytest.param("r.csv", b"k,x\n1,2\n\xe9,2\n", ", in line 3", "", id="latin-1-line"),
        pytest.param("r.ndjson", b'{"k": 1}\n{"k": "\xe9"}\n', ", in line 2", "UTF-8", id="latin-1-lines"),
        pytest.param("r.csv.gz", gzip.compress(b"k,x\n\xe9,2\n"), ", in line 2", "UTF-8", id="latin-1-gzip"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table(tmp_path, name, content, what, hint):
    """The file is named, the line where it is known, and what to try; the same for plugins."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadInputError) as caught:
        list(read_table(tmp_path / name, lambda _: "any", 10, "--data"))
    with pytest.raises(ConfigError) as told:
        read_for_plugins(tmp_path / name, "table")

    assert caught.value.what.startswith(f"{tmp_path / name} cannot be read: ")
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert (caught.value.where, told.value.where, told.value.what) == ("--data", "table", caught.value.what)


@pytest.mark.parametrize(
    ("name", "error", "what"),
    [
        pytest.param("empty", BadInputError, "it is a folder without a .parquet file", id="folder"),
        pytest.param("rows.xlsx", UsageError, f"is none of {KNOWN}.", id="workbook"),
        pytest.param("rows", UsageError, f"is none of {KNOWN}.", id="no-ending"),
        pytest.param("rows.parquet.gz", UsageError, "is none of", id="parquet-in-gzip"),
        pytest.param("rows.gz", UsageError, "is none of", id="gzip-of-anything"),
        pytest.param("none.csv", MissingError, "there is no file ", id="nothing"),
    ],
)
def test_names_of_no_table(tmp_path, name, error, what):
    """One message for what is none of the formats."""
    (tmp_path / "empty").mkdir()
    for there in ("rows.xlsx", "rows", "rows.parquet.gz", "rows.gz", "empty/rows.csv"):
        (tmp_path / there).touch()

    with pytest.raises(MmeframeError) as caught:
        list(read_table(tmp_path / name, lambda _: "any", 10))

    assert type(caught.value) is error
    assert what in caught.value.what


def test_all_formats_are_told():
    """The message names what is read."""
    assert KNOWN == ".csv, .tsv, .json, .jsonl, .ndjson (also with .gz or .zst), .parquet, .arrow, .feather, .ipc"


def test_a_column_that_stands_twice_is_none_for_plugins(tmp_path):
    """Nobody knows which is meant."""
    table = pa.table({"k": [1]})
    pq.write_table(table.append_column("k", table["k"]), tmp_path / "rows.parquet")

    with pytest.raises(ConfigError, match="has columns that stand twice: k"):
        read_for_plugins(tmp_path / "rows.parquet", "table")
