"""``mmeframe predict``: files in, files out, with a real router."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmeframe import api, tables
from mmeframe.errors import BadInputError, MmeframeError, UsageError
from mmeframe.rows.reading import read_table
from mmeframe.runtime import Router
from mmeframe.tables import Scored, Wanted
from tests import fleets

FORMATS = (".csv", ".parquet", ".json", ".jsonl")
# No double holds it.
ODD = 2**53 + 1


@pytest.fixture(scope="module")
def router(week) -> Router:
    """Weekday by column, else the global sub-model."""
    logged = api.build("name=tables", *fleets.WEEK, week.override)
    return api.load_router(logged.model_uri, tracking_uri=week.uri)


def records(n: int = 4, **columns: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows that the router answers, with more columns."""
    plain = {"x1": [0.5] * n, "x2": [0.1] * n, "dow": [row % 7 for row in range(n)], **columns}
    return [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]


def given(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> Path:
    """The rows as a file."""
    path = folder / f"rows{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        names = list(rows[0])
        lines = [names, *([row[name] for name in names] for row in rows)]
        path.write_text("".join(",".join("" if v is None else str(v) for v in line) + "\n" for line in lines))
    return path


def written(path: Path) -> pa.Table:
    """A Parquet file with Arrow's own types."""
    return pq.read_table(path)


def values(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file, strictly read: NaN and Infinity are no JSON."""
    read = {".json": json.loads, ".jsonl": lambda text: [json.loads(line) for line in text.splitlines()]}
    assert not {"NaN", "Infinity"} & set(path.read_text().replace(",", " ").replace("}", " ").split())
    return read[path.suffix](path.read_text())


def score_table(router: Router, data: Path, *, out: Path, progress: Any = lambda *_: None, **wanted: Any) -> Scored:
    return tables.score_table(router, data, Wanted(**wanted), out=out, progress=progress)


# -- Parquet: one type for all pieces --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind", "suffix"),
    [
        pytest.param([None, None, "a", None], pa.string(), ".jsonl", id="text-after-nulls"),
        pytest.param(["a", "b", None, None], pa.string(), ".jsonl", id="nulls-after-text"),
        pytest.param([None, None, "a", "b"], pa.string(), ".csv", id="csv-text-after-nulls"),
        pytest.param([1, 2, None, 4], pa.int64(), ".jsonl", id="integers-with-a-null-later"),
        pytest.param([1, 2, None, 4], pa.int64(), ".csv", id="csv-integers-with-a-null-later"),
        pytest.param([1, 2, None, ODD], pa.int64(), ".jsonl", id="large-integers-with-a-null"),
        pytest.param([1, 2, None, ODD], pa.int64(), ".csv", id="csv-large-integers-with-a-null"),
        pytest.param([1, 2, None, ODD], pa.int64(), ".parquet", id="parquet-large-integers-with-a-null"),
        pytest.param([None, None, 3, 4], pa.int64(), ".csv", id="csv-integers-after-nulls"),
        pytest.param([1, 2, 0.5, 4], pa.float64(), ".jsonl", id="fractions-after-integers"),
        pytest.param([0.5, None, 2, 3], pa.float64(), ".csv", id="csv-integers-after-fractions"),
        pytest.param([None, None, True, False], pa.bool_(), ".jsonl", id="booleans-after-nulls"),
        pytest.param([True, None, True, False], pa.bool_(), ".csv", id="csv-booleans-with-a-null"),
        pytest.param([None, None, [1], [2, 3]], pa.list_(pa.int64()), ".jsonl", id="lists-after-nulls"),
        pytest.param([{"a": 1}, None, {"b": "x"}, {"a": 0.5}], None, ".jsonl", id="records-that-differ"),
    ],
)
@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_a_column_has_one_type_whatever_the_pieces_are(router, tmp_path, cells, kind, suffix, batch_rows):
    """Types and values are those of the whole table, however few rows are scored at once."""
    data, out = given(tmp_path, suffix, records(more=cells)), tmp_path / "out.parquet"

    score_table(router, data, out=out, batch_rows=batch_rows)

    column = written(out)["more"]
    if kind is None:
        assert [cell and {k: v for k, v in cell.items() if v is not None} for cell in column.to_pylist()] == cells
    else:
        assert (_short(column.type), column.to_pylist()) == (kind, cells)
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet", data.name}


def _short(kind: pa.DataType) -> pa.DataType:
    """pandas 3 writes text as large_string: the same in a Parquet file."""
    return pa.string() if kind == pa.large_string() else kind


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        pytest.param([1, 2, "a", "b"], "some rows hold int64 and others", id="numbers-and-text"),
        pytest.param([True, False, 1, 2], "some rows hold bool and others int64", id="booleans-and-numbers"),
        pytest.param([1, ODD, 0.5, 2], "some rows hold int64 that would lose digits as double", id="too-many-digits"),
        pytest.param([0.5, 1.5, 1, ODD], "some rows hold int64 that would lose digits as double", id="fractions-first"),
        pytest.param([1, "a", 2, "b"], "it holds values of several types", id="in-one-piece"),
        pytest.param([0.5, ODD, 1, 2], "it holds values of several types", id="too-many-digits-in-one-piece"),
        pytest.param([2**70, 1, 2, 3], "it holds values of several types, or of one that Parquet has not", id="huge"),
    ],
)
def test_values_without_a_common_type_are_refused(router, tmp_path, cells, why):
    """The column is named, and what to do; there is no output, and nothing else is left."""
    data = given(tmp_path, ".jsonl", records(more=cells))

    with pytest.raises(UsageError) as caught:
        score_table(router, data, out=tmp_path / "out.parquet", batch_rows=2)

    assert str(caught.value).startswith(f"--out: column 'more' has no type of its own in Parquet: {why}")
    assert "Write .csv or .jsonl, or leave the column out with predict.keep." in str(caught.value)
    assert list(tmp_path.glob("*out*")) + list(tmp_path.glob(".*")) == []


def test_what_was_refused_is_written_without_the_column(router, tmp_path):
    """The hint works: the other columns go to Parquet, and all of them to JSON lines."""
    data = given(tmp_path, ".jsonl", records(more=[1, 2, "a", ODD]))

    score_table(router, data, out=tmp_path / "out.parquet", batch_rows=2, keep=["dow"])
    score_table(router, data, out=tmp_path / "out.jsonl", batch_rows=2)

    assert written(tmp_path / "out.parquet").column_names == ["dow", "prediction"]
    assert [row["more"] for row in values(tmp_path / "out.jsonl")] == [1, 2, "a", ODD]


STORED = {
    "small": pa.array([1, None, 3, 4], pa.int8()),
    "unsigned": pa.array([2**64 - 1, None, 3, 4], pa.uint64()),
    "money": pa.array(["1.50", None, "100.25", "3.00"]).cast(pa.decimal128(12, 2)),
    "day": pa.array([0, None, 1, 2], pa.date32()),
    "clock": pa.array([0, None, 1, 2], pa.time64("us")),
    "at": pa.array([0, None, 1, 2], pa.timestamp("us", "Europe/Berlin")),
    "took": pa.array([0, None, 1, 2], pa.duration("ms")),
    "kind": pa.array(["a", None, "b", "a"]).dictionary_encode(),
    "list": pa.array([[1.5], None, [], [2.5, None]], pa.list_(pa.float32())),
    "record": pa.array([{"a": 1}, None, {"a": None}, {"a": 3}], pa.struct([("a", pa.int64())])),
    "map": pa.array([[("a", 1)], None, [], [("b", 2)]], pa.map_(pa.string(), pa.int64())),
    "bytes": pa.array([b"\x00", None, b"", b"\xff"], pa.binary()),
    "bool": pa.array([True, None, False, True]),
    "never": pa.array([None] * 4, pa.float32()),
}


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_kept_columns_of_a_parquet_file_stay_what_they_are(router, tmp_path, batch_rows):
    """From Parquet to Parquet, types and values of kept columns do not change."""
    table = pa.table({**pa.Table.from_pylist(records()).to_pydict(), **STORED})
    pq.write_table(table, tmp_path / "rows.parquet")

    score_table(router, tmp_path / "rows.parquet", out=tmp_path / "out.parquet", batch_rows=batch_rows)

    assert written(tmp_path / "out.parquet").select(table.column_names).equals(table)


def test_answers_take_nothing_from_columns_that_are_left_out(router, tmp_path):
    """A column of the data that is called like an answer has no say in the answer's type."""
    data = given(tmp_path, ".parquet", records(prediction=["a", "b", "c", "d"]))

    score_table(router, data, out=tmp_path / "out.parquet", keep="none")

    assert written(tmp_path / "out.parquet").schema.types == [pa.float64()]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("before", [None, "what was there"])
def test_the_output_appears_whole_or_not_at_all(router, tmp_path, suffix, error, before):
    """Whoever stops in the middle finds what was there before, and no other file."""
    data, out = given(tmp_path, ".jsonl", records(more=[None, 1, 0.5, "a"])), tmp_path / f"out{suffix}"
    if before:
        out.write_text(before)
    there = sorted(path.name for path in tmp_path.iterdir())

    def stop(what: str, done: int, total: int) -> None:
        if done == 3:
            raise error

    with pytest.raises(error):
        score_table(router, data, out=out, batch_rows=1, progress=stop)

    assert sorted(path.name for path in tmp_path.iterdir()) == there
    assert before is None or out.read_text() == before


# -- tables without rows ---------------------------------------------------------------------------------------------

HEADER = {"x1": pa.float64(), "x2": pa.float64(), "dow": pa.int64(), "note": pa.string()}
EMPTY = {".csv": "x1,x2,dow,note\n", ".json": "[]", ".jsonl": ""}


def empty(folder: Path, suffix: str) -> Path:
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.schema(HEADER).empty_table(), path)
    else:
        path.write_text(EMPTY[suffix])
    return path


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("to", FORMATS)
def test_a_table_without_rows_is_scored(router, tmp_path, suffix, to):
    """Zero answers are written, with the columns that are known: JSON knows those of the router only."""
    out = tmp_path / f"out{to}"
    names = ["x1", "x2", "dow", *([] if suffix.startswith(".json") else ["note"]), "prediction"]

    done = score_table(router, empty(tmp_path, suffix), out=out)

    assert done == Scored(0, str(out), {})
    if to == ".parquet":
        table = written(out)
        assert (table.column_names, table.num_rows) == (names, 0)
        assert [str(table.schema.field(name).type) for name in ("x1", "dow", "prediction")] == [
            "double",
            "int64",
            "double",
        ]
    else:
        assert out.read_text() == {".csv": ",".join(names) + "\n", ".json": "[]\n", ".jsonl": ""}[to]


@pytest.mark.parametrize("suffix", FORMATS)
def test_annotations_of_a_table_without_rows_are_text(router, tmp_path, suffix):
    """Files of one job can be read together, those without rows too."""
    out = tmp_path / "out.parquet"

    score_table(router, empty(tmp_path, suffix), out=out, annotate=True, keep=["dow"])

    assert [(field.name, str(field.type)) for field in written(out).schema] == [
        ("dow", "int64"),
        ("prediction", "double"),
        ("model_id", "string"),
        ("model_version", "string"),
        ("reason", "string"),
        ("arm", "string"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("rows.csv", "x1,dow\n", id="csv"),
        pytest.param("rows.csv", "", id="csv-without-a-header"),
        pytest.param("rows.json", "[{}]", id="a-json-record-without-columns"),
        pytest.param("rows.jsonl", "{}\n", id="a-jsonl-record-without-columns"),
    ],
)
def test_missing_columns_are_missing_without_rows_too(router, tmp_path, name, text):
    """Only a file that names no columns at all is excused from having them."""
    (tmp_path / name).write_text(text)

    with pytest.raises(BadInputError):
        score_table(router, tmp_path / name, out=tmp_path / "out.csv")


def test_columns_to_keep_of_a_file_that_names_none(router, tmp_path):
    """JSON without rows cannot lack a column."""
    out = tmp_path / "out.csv"

    score_table(router, empty(tmp_path, ".json"), out=out, keep=["customer", "dow"])

    assert out.read_text() == "customer,dow,prediction\n"


# -- digits ----------------------------------------------------------------------------------------------------------

DOUBLES = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2.5e-8, 1e22, 123456789.123456789]
LONGS = [2**63 - 1, -(2**63) + 1, ODD, -ODD, 0, 1, -1, 10**18]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("to", FORMATS)
def test_every_digit_survives(router, tmp_path, suffix, to):
    """A double and an int64 are the same numbers after any way through the formats, and so are the answers."""
    rows = records(8, double=DOUBLES, long=LONGS)
    out = tmp_path / f"out{to}"

    score_table(router, given(tmp_path, suffix, rows), out=out, batch_rows=3)
    read = cells_of(out)

    assert [float(value).hex() for value in read["double"]] == [value.hex() for value in DOUBLES]
    assert [int(value) for value in read["long"]] == LONGS
    expected = router.predict(pd.DataFrame(rows))
    assert [float(value).hex() for value in read["prediction"]] == [value.hex() for value in expected.tolist()]


def cells_of(path: Path) -> dict[str, list[Any]]:
    """Columns of a file, by a reader that changes no digit."""
    import csv

    if path.suffix == ".parquet":
        return pq.read_table(path).to_pydict()
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    else:
        rows = values(path)
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("to", [".json", ".jsonl"])
def test_nan_is_null_in_json(router, tmp_path, to):
    """Missing numbers, texts and times are null, and so are missing numbers inside lists."""
    rows = records(3, double=[0.5, None, float("nan")], long=[ODD, None, 1], text=["a", None, "NaN"])
    table = pa.Table.from_pylist(rows).append_column("list", pa.array([[0.1, None], None, [float("nan")]]))
    pq.write_table(table.append_column("at", pa.array([0, None, 1], pa.timestamp("s"))), tmp_path / "rows.parquet")
    out = tmp_path / f"out{to}"

    score_table(router, tmp_path / "rows.parquet", out=out)

    text = out.read_text()
    read = json.loads(text) if to == ".json" else [json.loads(line) for line in text.splitlines()]
    assert [row["double"] for row in read] == [0.5, None, None]
    assert [row["long"] for row in read] == [ODD, None, 1]
    assert [row["text"] for row in read] == ["a", None, "NaN"]
    assert [row["list"] for row in read] == [[0.1, None], None, [None]]
    assert [row["at"] for row in read] == ["1970-01-01 00:00:00", None, "1970-01-01 00:00:01"]


NESTED = {
    "bytes": (pa.array([b"a\x00", None]), "YQA=", "YQA="),
    "list": (pa.array([[0.5, None], None]), [0.5, None], "[0.5, null]"),
    "text-list": (pa.array([["ä"], None]), ["ä"], '["ä"]'),
    "lists": (pa.array([[[1], []], None]), [[1], []], "[[1], []]"),
    "object": (pa.array([{"a": b"a\x00", "b": [1.5]}, None]), {"a": "YQA=", "b": [1.5]}, '{"a": "YQA=", "b": [1.5]}'),
    "times": (
        pa.array([[dt.datetime(2024, 1, 2)], None], pa.list_(pa.timestamp("ns"))),  # noqa: DTZ001 - naive is meant
        ["2024-01-02T00:00:00.000000000"],
        '["2024-01-02T00:00:00.000000000"]',
    ),
}


@pytest.mark.parametrize(("column", "value", "text"), NESTED.values(), ids=NESTED)
@pytest.mark.parametrize("to", [".csv", ".jsonl"])
def test_what_text_has_no_word_for(router, tmp_path, to, column, value, text):
    """Bytes are base64, as they are read; lists and objects are JSON, in CSV too; no text is how Python shows them."""
    table = pa.Table.from_pylist(records(2)).append_column("nested", column)
    pq.write_table(table, tmp_path / "rows.parquet")
    out = tmp_path / f"out{to}"

    score_table(router, tmp_path / "rows.parquet", out=out)

    assert cells_of(out)["nested"] == ([text, ""] if to == ".csv" else [value, None])


@pytest.mark.parametrize("to", [".json", ".jsonl"])
def test_json_has_no_infinity(router, tmp_path, to):
    """Infinity is no JSON, and null would be a lie: the column is named."""
    data = given(tmp_path, ".csv", records(2, text=["Infinity Ltd", "b"], wide=[1.0, "inf"]))

    with pytest.raises(UsageError, match="column 'wide' holds an infinite number"):
        score_table(router, data, out=tmp_path / f"out{to}")


@pytest.fixture(scope="module")
def neighbours(week) -> Router:
    """Two keys that are one double, and a global sub-model."""
    models = [
        f"+models.odd={{uri:'models:/day_1@champion',key:{{k:{ODD}}}}}",
        f"+models.even={{uri:'models:/day_2@champion',key:{{k:{ODD - 1}}}}}",
        "+models.rest={uri:'models:/all_days@champion',key:{}}",
    ]
    routed = ("name=neighbours", "routing=column", "routing.column=k", "routing.levels=[[k],[]]")
    return api.load_router(api.build(*routed, *models, week.override).model_uri, tracking_uri=week.uri)


@pytest.mark.parametrize("suffix", FORMATS)
def test_large_keys_with_missing_ones_beside_them(neighbours, tmp_path, suffix):
    """A key of more than 53 bits is not the one next to it, though another row has no key."""
    data, out = given(tmp_path, suffix, records(3, k=[ODD, ODD - 1, None])), tmp_path / "out.jsonl"

    score_table(neighbours, data, out=out, annotate=True)

    assert [(row["k"], row["model_id"]) for row in values(out)] == [(ODD, "odd"), (ODD - 1, "even"), (None, "rest")]


# -- what pandas adds to a Parquet file ------------------------------------------------------------------------------


def pandas_index(index: Any) -> pd.DataFrame:
    return pd.DataFrame(records(3)).set_axis(index)


@pytest.mark.parametrize(
    ("index", "name", "cells"),
    [
        pytest.param(pd.Index(["a", "b", "c"], name="id"), "id", ["a", "b", "c"], id="named"),
        pytest.param(pd.RangeIndex(10, 40, 10, name="id"), "id", [10, 20, 30], id="named-range"),
        pytest.param(pd.Index([5, 5, 7]), "__index_level_0__", [5, 5, 7], id="unnamed"),
        pytest.param(pd.Index(["a", "b", "c"], name="x9"), "x9", ["a", "b", "c"], id="in-the-last-place"),
    ],
)
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("batch_rows", [2, 100])
def test_an_index_is_a_column(router, tmp_path, index, name, cells, to, batch_rows):
    """The index that pandas wrote stands among the kept columns, under the name that it has in the file."""
    pandas_index(index).to_parquet(tmp_path / "rows.parquet")

    score_table(router, tmp_path / "rows.parquet", out=tmp_path / f"out{to}", batch_rows=batch_rows)

    read = cells_of(tmp_path / f"out{to}")
    assert list(read) == ["x1", "x2", "dow", name, "prediction"]
    assert [str(cell) for cell in read[name]] == [str(cell) for cell in cells]


def test_both_levels_of_an_index(router, tmp_path):
    """An index of several levels is several columns, which may carry the key."""
    pd.DataFrame(records(3, shop=["a", "b", "c"])).set_index(["shop", "dow"]).to_parquet(tmp_path / "rows.parquet")

    score_table(router, tmp_path / "rows.parquet", out=tmp_path / "out.csv", keep=["dow", "shop"])

    assert cells_of(tmp_path / "out.csv")["dow"] == ["0", "1", "2"]
    assert cells_of(tmp_path / "out.csv")["shop"] == ["a", "b", "c"]


@pytest.mark.parametrize("to", FORMATS)
def test_a_plain_range_is_no_column(router, tmp_path, to):
    """Row numbers that nobody named are not written."""
    pandas_index(pd.RangeIndex(3)).to_parquet(tmp_path / "rows.parquet")

    score_table(router, tmp_path / "rows.parquet", out=tmp_path / f"out{to}")

    assert list(cells_of(tmp_path / f"out{to}")) == ["x1", "x2", "dow", "prediction"]


# -- CSV as people write it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\ufeffx1,x2,dow,note\n0.5,0.1,1,é\n", id="byte-order-mark"),
        pytest.param("x1,x2,dow,note\r\n0.5,0.1,1,é\r\n", id="crlf"),
        pytest.param("x1,x2,dow,note\n0.5,0.1,1,é", id="no-last-newline"),
        pytest.param('"x1","x2","dow","note"\n"0.5","0.1","1","é"\n', id="all-quoted"),
        pytest.param("\n\nx1,x2,dow,note\n\n0.5,0.1,1,é\n\n", id="blank-lines"),
    ],
)
def test_spellings_of_one_csv(router, tmp_path, text):
    """They all say the same."""
    (tmp_path / "rows.CSV").write_bytes(text.encode())

    score_table(router, tmp_path / "rows.CSV", out=tmp_path / "out.jsonl", keep=["dow", "note"], annotate=True)

    (row,) = values(tmp_path / "out.jsonl")
    assert (row["dow"], row["note"], row["model_id"]) == (1, "é", "day_1")


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param("00042", id="leading-zeros"),
        pytest.param("1.10", id="trailing-zeros"),
        pytest.param("7.0", id="point-zero"),
        pytest.param("9007199254740993.0", id="large-point-zero"),
        pytest.param("1e5", id="exponent"),
        pytest.param("TRUE", id="boolean"),
        pytest.param("NA", id="na"),
        pytest.param("", id="empty"),
        pytest.param("12345678901234567890123", id="digits"),
        pytest.param(" a ", id="spaces"),
        pytest.param('"a, b"', id="comma"),
        pytest.param('"a ""b"""', id="quotes"),
        pytest.param('"a\nb"', id="newline"),
    ],
)
def test_other_columns_go_from_csv_to_csv_as_they_are_written(router, tmp_path, cell):
    """What the router does not read is none of its business."""
    (tmp_path / "rows.csv").write_bytes(f"note,x1,x2,dow\n{cell},0.5,0.1,1\n7,0.5,0.1,2\n".encode())

    score_table(router, tmp_path / "rows.csv", out=tmp_path / "out.csv", keep=["note", "dow"])

    text = (tmp_path / "out.csv").read_bytes().decode()
    assert text.startswith(f"note,dow,prediction\n{cell},1,")
    assert "\n7,2," in text


@pytest.mark.parametrize("note", ["a\rb", "a\r", "a\r\nb", "\r"])
def test_carriage_returns_are_quoted(router, tmp_path, note):
    """A reader would take a lone one for the end of a row."""
    data = given(tmp_path, ".jsonl", records(2, note=[note, "c"]))

    score_table(router, data, out=tmp_path / "out.csv")
    score_table(router, tmp_path / "out.csv", out=tmp_path / "again.csv", keep=["note"])

    assert cells_of(tmp_path / "again.csv")["note"] == [note, "c"]


@pytest.mark.parametrize("to", [".csv", ".jsonl", ".parquet"])
def test_whole_keys_stay_whole_beside_missing_ones(router, tmp_path, to):
    """7 is not written as 7.0 because another row has no key."""
    data = given(tmp_path, ".csv", records(4, dow=[1, None, 3, 4]))

    score_table(router, data, out=tmp_path / f"out{to}", keep=["dow"])

    assert [str(cell or "") for cell in cells_of(tmp_path / f"out{to}")["dow"]] == ["1", "", "3", "4"]


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
@pytest.mark.parametrize("odd", ["abc", "2 and a half", "9" * 5000])
def test_a_text_among_whole_keys_moves_no_other_row(router, tmp_path, odd, batch_rows):
    """pandas reads all cells beside a text as text, and then 1.0 would be another key than 1: each is read as alone."""
    keys = ["1.0", "2", "03", "4e0", "", "true", odd]
    data, out = given(tmp_path, ".csv", records(7, dow=keys)), tmp_path / "out.jsonl"

    score_table(router, data, out=out, batch_rows=batch_rows, keep="none", annotate=True)

    assert [row["model_id"] for row in values(out)] == ["day_1", "day_2", "day_3", "day_4", *["everyone"] * 3]


@pytest.mark.build
@pytest.mark.parametrize("batch_rows", [1, 100])
def test_a_text_in_a_row_that_does_without_the_number(week, tmp_path, batch_rows):
    """Rows that no sub-model scores refuse no others, however many are read at once."""
    overrides = [it for it in fleets.WEEK if not it.startswith("+models.everyone")]
    levels = ["routing.levels=[[dow]]", "routing.on_unknown=skip"]
    uri = api.build("name=tables_skip", *overrides, *levels, week.override).model_uri
    data = given(tmp_path, ".csv", records(3, dow=[1, 9, 2], x1=["0.5", "unknown", "1e-1"]))

    api.predict_table(uri, data, tmp_path / "out.csv", batch_rows=batch_rows, annotate=True, tracking_uri=week.uri)

    assert cells_of(tmp_path / "out.csv")["reason"] == ["exact", "unknown", "exact"]


@pytest.mark.parametrize("number", ["100000000000000000000", "-1e400", "7"])
def test_numbers_without_an_integer_type(tmp_path, number):
    """A feature that is a double may be written with any number of digits, and be missing elsewhere."""
    data = given(tmp_path, ".csv", records(2, x2=[number, None]))

    (piece,) = read_table(data, lambda name: "double", 10)

    assert piece["x2"].astype(float).tolist()[0] == float(number)
    assert piece["x2"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        pytest.param("rows.csv", b"x1,x2,dow,x1\n1,2,3,4\n", "its header has 'x1' twice", id="twice"),
        pytest.param("rows.csv", b"x1,x2,dow\n1,2,3,4\n", "a row has more values than the header", id="too-many"),
        pytest.param("rows.csv", b"x1,x2,dow\n1,2,3,\n", "a row has more values than the header", id="last-comma"),
        pytest.param("rows.csv", b"x1,x2,dow\n1,2,3\n1,2,3,4\n", "Error tokenizing", id="too-many-later"),
        pytest.param("rows.csv", "x1,x2,dow,é\n1,2,3,4\n".encode("latin-1"), "'utf-8' codec", id="latin-1"),
        pytest.param("rows.csv", "x1,x2,dow\n1,2,3\n".encode("utf-16"), "'utf-8' codec", id="utf-16"),
        pytest.param("rows.csv", b'x1,x2,dow\n1,2,"3\n', "Error tokenizing", id="open-quote"),
        pytest.param("rows.jsonl", b'{"x1": 1}\n\n{"x1": }\n', "line 3: Expecting value", id="jsonl"),
        pytest.param("rows.jsonl", b'{"x1": 1}\n[1, 2]\n', "line 2 is no record", id="jsonl-list"),
        pytest.param("rows.jsonl", b'{"x1": "\xe9"}\n', "'utf-8' codec", id="jsonl-latin-1"),
        pytest.param("rows.json", b'[{"x1": 1},', "Expecting value", id="json"),
        pytest.param("rows.parquet", b"PAR1", "Parquet", id="parquet"),
    ],
)
def test_what_cannot_be_read_is_refused(router, tmp_path, name, content, what):
    """No row is guessed: the file is named, and what is wrong with it."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadInputError) as caught:
        score_table(router, tmp_path / name, out=tmp_path / "out.csv")

    assert f"{tmp_path / name} cannot be read: " in str(caught.value)
    assert what in str(caught.value)


def test_parquet_columns_that_stand_twice(router, tmp_path):
    """Nobody knows which is meant."""
    table = pa.Table.from_pylist(records())
    pq.write_table(table.append_column("x1", table["x2"]), tmp_path / "rows.parquet")

    with pytest.raises(BadInputError, match="columns are sent twice: x1"):
        score_table(router, tmp_path / "rows.parquet", out=tmp_path / "out.csv")


# -- JSON as people write it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("to", FORMATS)
def test_records_that_differ_have_the_columns_of_all(router, tmp_path, suffix, to):
    """A name may come late, early or in another order: every value is written under its own."""
    rows = [
        {"x1": 0.5, "x2": 0.1, "dow": 1},
        {"dow": 2, "x2": 0.1, "x1": 0.5, "late": "a"},
        {"x2": 0.1, "x1": 0.5, "dow": 3},
    ]
    data, out = given(tmp_path, suffix, rows), tmp_path / f"out{to}"

    score_table(router, data, out=out, batch_rows=1, annotate=True)

    read = cells_of(out)
    assert list(read)[:5] == ["x1", "x2", "dow", "late", "prediction"]
    assert [str(cell) for cell in read["dow"]] == ["1", "2", "3"]
    assert [cell or None for cell in read["late"]] == [None, "a", None]
    assert read["model_id"] == ["day_1", "day_2", "day_3"]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_with_a_byte_order_mark(router, tmp_path, suffix):
    """Some editors put one there."""
    data = given(tmp_path, suffix, records(2))
    data.write_bytes(b"\xef\xbb\xbf" + data.read_bytes())

    assert score_table(router, data, out=tmp_path / "out.csv").rows == 2


# -- answers ---------------------------------------------------------------------------------------------------------


def framed(names: Sequence[str], declared: Sequence[str], key: int) -> None:
    """Log a sub-model m_<key> that answers with ``names`` and declares ``declared``."""
    import mlflow
    from mlflow.models import infer_signature

    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
            import pandas

            return pandas.DataFrame({name: model_input["x1"] * n for n, name in enumerate(names, start=1)})

    example = pd.DataFrame({"x1": [1.0, 2.0]})
    signature = infer_signature(example, pd.DataFrame(dict.fromkeys(declared, example["x1"])))
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            name=f"m_{key}",
            python_model=Model(),
            signature=signature,
            pip_requirements=fleets.pins(),
            registered_model_name=f"m_{key}",
        )
    mlflow.MlflowClient().set_registered_model_alias(f"m_{key}", "champion", info.registered_model_version)


KEYED = ("name=r", "routing=column", "routing.column=k", "+source@sources.s=registry", "sources.s.name='m_{k}'")


@pytest.mark.build
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("to", [".csv", ".parquet"])
def test_sub_models_that_answer_with_different_columns(store, tmp_path, to):
    """Every piece has all declared answers, whichever sub-models answered it; what is not answered is missing."""
    framed(("a", "b"), ("a", "b"), 1)
    framed(("c", "a"), ("c", "a"), 2)
    router = api.load_router(api.build(*KEYED).model_uri)
    rows = [{"x1": 1.0, "k": 1}, {"x1": 2.0, "k": 2}]
    out = tmp_path / f"out{to}"

    score_table(router, given(tmp_path, ".jsonl", rows), out=out, batch_rows=1)

    read = {name: [float(cell) if cell else None for cell in cells] for name, cells in cells_of(out).items()}
    assert read == {"x1": [1.0, 2.0], "k": [1.0, 2.0], "a": [1.0, 4.0], "b": [2.0, None], "c": [None, 2.0]}


@pytest.mark.build
@pytest.mark.filterwarnings("ignore")
def test_answers_that_no_signature_declares_are_left_out(store, tmp_path):
    """The router answers with what it declares, in every piece; the build says what that leaves out."""
    framed(("a", "b"), ("a", "b"), 1)
    framed(("a", "b", "z"), ("a", "b"), 2)
    logged = api.build(*KEYED)
    rows = [{"x1": 1.0, "k": 1}, {"x1": 2.0, "k": 2}]
    out = tmp_path / "out.csv"

    score_table(api.load_router(logged.model_uri), given(tmp_path, ".jsonl", rows), out=out, batch_rows=1)

    assert logged.notes == ("m_2: its signature does not declare its answers z; they are left out.",)
    assert list(cells_of(out)) == ["x1", "k", "a", "b"]


@pytest.mark.build
def test_several_answers_in_an_array(store, tmp_path):
    """Unnamed answers are numbered; a column of the data with such a name is in their way."""
    from sklearn.linear_model import LinearRegression

    frame = fleets.rows(20)[["x1", "x2"]]
    fleets.log_sklearn(LinearRegression().fit(frame, frame), "m_1", frame)
    router = api.load_router(api.build(*KEYED, "routing.on_unknown=skip").model_uri)
    rows = [{"x1": 1.0, "x2": 2.0, "k": 9}, {"x1": 1.0, "x2": 2.0, "k": 1}]

    score_table(router, given(tmp_path, ".json", rows), out=tmp_path / "out.parquet", batch_rows=1, keep="none")

    assert written(tmp_path / "out.parquet").column_names == ["prediction_0", "prediction_1"]
    np.testing.assert_allclose(written(tmp_path / "out.parquet").to_pandas().to_numpy()[1], [1, 2])
    data = given(tmp_path, ".json", [{**rows[0], "prediction_1": 3}])
    with pytest.raises(UsageError, match="has a column 'prediction_1' already"):
        score_table(router, data, out=tmp_path / "out.parquet")


@pytest.mark.build
def test_text_answers_after_skipped_rows(store, tmp_path):
    """Nulls of the first pieces do not decide that the answer is no text, and nulls alone are text as declared."""
    from sklearn.tree import DecisionTreeClassifier

    frame = fleets.rows(20)[["x1", "x2"]]
    model = DecisionTreeClassifier().fit(frame, np.where(frame["x1"] > 0, "up", "down"))
    fleets.log_sklearn(model, "m_1", frame, serialization_format="cloudpickle")
    router = api.load_router(api.build(*KEYED, "routing.on_unknown=skip").model_uri)
    rows = [{"x1": -5.0, "x2": 0.0, "k": 9}, {"x1": -5.0, "x2": 0.0, "k": 1}]
    out = tmp_path / "out.parquet"

    score_table(router, given(tmp_path, ".jsonl", rows), out=out, batch_rows=1, keep="none")
    assert (_short(written(out).schema.types[0]), written(out)["prediction"].to_pylist()) == (
        pa.string(),
        [None, "down"],
    )

    score_table(router, given(tmp_path, ".jsonl", rows[:1]), out=out, keep="none")
    assert written(out).schema.types == [pa.string()]


# -- where to --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "what"),
    [
        pytest.param("folder.csv", "is a folder", id="folder"),
        pytest.param("out.csv.bz2", "out.csv.bz2 is none of", id="bz2"),
        pytest.param("no/out.csv", "there is no folder", id="no-folder"),
    ],
)
def test_places_that_cannot_be_written_are_known_before_scoring(router, tmp_path, out, what):
    """Nobody waits for a table that has no place."""
    (tmp_path / "folder.csv").mkdir()

    with pytest.raises(MmeframeError, match=what):
        score_table(router, tmp_path / "never_opened.csv", out=tmp_path / out)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_may_be_scored_onto_itself(router, tmp_path, suffix):
    """The data is read to its end before the output takes its place."""
    data = given(tmp_path, suffix, records(4))

    score_table(router, data, out=data, batch_rows=1)

    assert list(cells_of(data)) == ["x1", "x2", "dow", "prediction"]
    assert len(cells_of(data)["prediction"]) == 4
