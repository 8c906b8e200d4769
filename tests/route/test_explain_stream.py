"""``explain`` of a large table: rows are told as they are read, the first of them by default, all of them to a file."""

from __future__ import annotations

import json
import tracemalloc

import pandas as pd
import pytest

from mmeframe import api
from mmeframe.route.explain import Explained
from tests import fleets

WEEK = ("name=r", *fleets.WEEK)


@pytest.fixture
def table(tmp_path):
    """100 rows of weekdays 0 to 9, of which 7 to 9 have no sub-model of their own."""
    path = tmp_path / "rows.csv"
    pd.DataFrame({"dow": [row % 10 for row in range(100)], "x1": 1.0, "x2": 2.0}).to_csv(path, index=False)
    return path


def test_the_first_rows_are_shown_with_counts_of_all(run, week, table):
    """Nobody reads a million lines."""
    done = run("explain", *WEEK, week.override, f"data={table}")

    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "100 rows"
    assert done.lines[2] == "0 dow=0 dow: day_0 main day_0 1 exact"
    assert done.lines[41].startswith("39 dow=9 dow: no sub-model, then global: everyone")
    assert done.lines[42:] == [
        "... and 60 more (--limit N shows more, --out FILE writes all)",
        "all rows: exact 70, fallback 30",
    ]


@pytest.mark.parametrize("limit", [0, 1, 39, 99, 100, 101])
def test_a_limit_is_kept(run, week, table, limit):
    """For people, for machines, in files and in Python: the first rows, and no more."""
    given = ("explain", *WEEK, week.override, f"data={table}", "--limit", str(limit))
    first = min(limit, 100)

    shown, told = run(*given), run(*given, "--json").json
    out = table.with_name("ways.csv")
    written = run(*given, "--out", str(out))

    assert len([line for line in shown.lines if " dow=" in line]) == first
    assert shown.lines[0] == "100 rows"
    assert [row["row"] for row in told["rows"]] == list(range(first))
    assert pd.read_csv(out)["row"].tolist() == list(range(first))
    assert written.err.startswith(f"explained {first:,} rows to {out}")
    python = api.explain(*WEEK, week.override, data=table, limit=limit, plugins=fleets.plugins())
    assert python == told["rows"]


@pytest.mark.parametrize("text", ["-1", "ten", "1.5", ""])
def test_a_limit_is_a_number_of_rows(run, week, table, text):
    """Anything else is a mistake of the command line."""
    done = run("explain", *WEEK, week.override, f"data={table}", f"--limit={text}")

    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: --limit: this is not a number of rows: {text}.\n  For instance --limit 100.\n"


READ = {
    ".csv": lambda path: pd.read_csv(path, dtype=object),
    ".parquet": pd.read_parquet,
    ".json": lambda path: pd.DataFrame(json.loads(path.read_text())),
    ".jsonl": lambda path: pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()]),
}


@pytest.mark.parametrize("suffix", READ)
def test_a_file_holds_what_is_told(run, week, tmp_path, suffix):
    """In each form: one column for each key part, nulls where nothing was found."""
    pd.DataFrame({"dow": [3, None, 9], "x1": 1.0, "x2": 2.0}).to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / f"ways{suffix}"

    own = [item for item in WEEK if "levels" not in item and "everyone" not in item]
    done = run("explain", *own, week.override, f"data={tmp_path / 'rows.csv'}", "--out", str(out), "--json")

    assert done.json == {
        "ok": True,
        "written": 3,
        "out": str(out),
        "reasons": {"exact": 1, "missing_key": 1, "unknown": 1},
    }
    found = READ[suffix](out)
    assert list(found.columns) == ["row", "key.dow", "route", "arm", "model_id", "model_version", "reason"]
    assert [[None if pd.isna(cell) else str(cell) for cell in row] for row in found.to_numpy().tolist()] == [
        ["0", "3", "dow: day_3", "main", "day_3", "1", "exact"],
        ["1", None, "dow: dow missing", None, None, None, "missing_key"],
        ["2", "9", "dow: no sub-model", None, None, None, "unknown"],
    ]


@pytest.mark.parametrize("suffix", READ)
def test_a_file_of_no_rows_has_its_columns(run, week, tmp_path, suffix):
    """As that of ``predict``."""
    (tmp_path / "rows.csv").write_text("dow,x1,x2\n")
    out = tmp_path / f"ways{suffix}"

    done = run("explain", *WEEK, week.override, f"data={tmp_path / 'rows.csv'}", "--out", str(out))

    assert (done.code, done.err) == (0, f"explained 0 rows to {out}\n")
    if suffix in (".csv", ".parquet"):
        assert len(READ[suffix](out).columns) == 7


@pytest.mark.parametrize(
    ("out", "said"),
    [
        pytest.param("ways.xlsx", "ways.xlsx is none of .csv, .tsv, ", id="form"),
        pytest.param("no/ways.csv", "--out: there is no folder ", id="folder"),
    ],
)
def test_a_file_that_cannot_be_written(run, week, table, out, said):
    """It is told before a row is read."""
    done = run("explain", *WEEK, week.override, f"data={table}", "--out", str(table.parent / out))

    assert done.code in (1, 2)
    assert said in done.err


@pytest.mark.parametrize("other", ["rows.csv", "./rows.csv", "link.csv"])
def test_the_table_is_not_written_over(run, week, table, other, monkeypatch):
    """However it is named: what is told holds none of its columns."""
    monkeypatch.chdir(table.parent)
    before = table.read_bytes()
    table.rename("rows.csv")
    (table.parent / "link.csv").symlink_to("rows.csv")

    done = run("explain", *fleets.WEEK, week.override, "data=rows.csv", "--out", other)

    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: --out: this is the input table; its columns would be lost.",
    )
    assert (table.parent / "rows.csv").read_bytes() == before


def test_what_breaks_in_the_middle_leaves_nothing_half_said(run, week, tmp_path):
    """Neither a file nor half of a JSON text."""
    lines = ["dow,x1,x2", *["3,1,2"] * 20_000, "3,1,2,4"]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    given = ("explain", *WEEK, week.override, f"data={tmp_path / 'rows.csv'}")

    told, written = run(*given, "--json"), run(*given, "--out", str(tmp_path / "ways.csv"))

    assert told.json["ok"] is False
    assert written.code == 1
    assert sorted(path.name for path in tmp_path.glob("*ways*")) == []


def test_rows_are_not_held(week, tmp_path):
    """A table of twice the rows takes no more memory; with a limit what follows is not even read."""
    work = api.job("explain", [*WEEK, week.override], plugins=fleets.plugins())
    peaks = []
    with work.store() as store:
        for rows in (20_000, 60_000):
            path = tmp_path / f"{rows}.csv"
            pd.DataFrame({"dow": [row % 10 for row in range(rows)], "x1": 1.0, "x2": 2.0}).to_csv(path, index=False)
            found = work.explain(store, None, path, {})
            tracemalloc.start()
            assert sum(1 for _ in found.rows()) == rows
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        broken = tmp_path / "broken.csv"
        broken.write_text("dow,x1,x2\n" + "3,1,2\n" * 5 + "3,1,2,4\n")
        assert len(list(Explained(found.routing, found.union, broken, {}).rows(5))) == 5
    assert peaks[1] < 1.5 * peaks[0]
