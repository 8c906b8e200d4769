"""Built-in components inside a router: what a build records is what a served router does."""

from __future__ import annotations

import json
import logging

import pandas as pd
import pytest

from mmeframe import api
from mmeframe.errors import ProblemsError
from mmeframe.plugin import canonical
from mmeframe.rows.shares import fraction
from mmeframe.runtime import Router

# Bins whose labels are not in alphabetic order, which a bundle's maps are; a table; rules; shares; a combiner.
OVERRIDES = (
    "name=parts",
    "+routing@routing.keys.size=bins",
    "routing.keys.size.column=x1",
    "+routing.keys.size.bins={tiny:[null,-1.0],small:[-1.0,1.0],large:[1.0,null]}",
    "+routing@routing.keys.kind=lookup",
    "routing.keys.kind.part=size",
    "routing.keys.kind.table=kinds.csv",
    "routing.keys.kind.to=kind",
    "+routing@routing.keys.rule=rules",
    "routing.keys.rule.rules=[{key:7,when:{column:x2,operator:'>',value:0}}]",
    "+routing@routing.keys.half=hash",
    "routing.keys.half.columns=id",
    "+routing.keys.half.shares={b:0.5,a:0.5}",
    "routing.levels=[[kind,rule],[half],[]]",
    "+models.odd.uri=models:/day_0@champion",
    "+models.odd.key={kind:odd,rule:7}",
    "+models.b.uri=models:/day_1@champion",
    "+models.b.key={half:b}",
    "+models.both.combine={kind:mean,of:[odd,b]}",
    "+models.both.key={}",
    "+observer@observers.lines=log",
)
ROWS = pd.DataFrame(
    {"x1": [-2.0, -0.5, 0.5, 2.0] * 4, "x2": [1.0, 1.0, 1.0, -1.0] * 4, "id": [f"user {at}" for at in range(16)]}
)


@pytest.fixture(scope="module")
def router(week, tmp_path_factory) -> Router:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "kinds.csv").write_text("size,kind\ntiny,odd\nlarge,odd\nsmall,even\n")
    overrides = [it.replace("kinds.csv", str(folder / "kinds.csv")) for it in OVERRIDES]
    logged = api.build(*overrides, week.override)
    (folder / "kinds.csv").unlink()
    return api.load_router(logged.model_uri, tracking_uri=week.uri)


def expected(row: pd.Series) -> str:
    if (row.x1 < -1 or row.x1 >= 1) and row.x2 > 0:
        return "odd"
    return "b" if fraction("", [canonical(row.id)]) >= 0.5 else "both"


def test_each_row_goes_where_its_parts_say(router):
    """Parts that build on others, and a table that is gone by then."""
    answer = router.predict(ROWS, {"annotate": True})

    assert answer["model_id"].tolist() == [expected(row) for _, row in ROWS.iterrows()]
    assert set(answer["model_id"]) == {"odd", "b", "both"}


def test_combined_answers(router):
    """The mean of two sub-models, row by row."""
    rows = ROWS[["x1", "x2"]]
    both = (router.score("odd", rows) + router.score("b", rows)) / 2

    assert abs(router.score("both", rows) - both).max() < 1e-12


def test_lines_in_the_log(router, caplog):
    """Every batch is a line, without its rows."""
    caplog.set_level(logging.INFO, "mmeframe.observer")
    router.predict(ROWS)

    (line,) = [json.loads(text) for text in caplog.messages if '"batch"' in text]
    assert (line["rows"], sum(line["models"].values())) == (16, 16)
    assert "user" not in caplog.text


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        pytest.param(
            ["routing.keys.kind.to=knd"], "routing.keys.kind.to: kinds.csv has no column 'knd'.\n  Did you", id="table"
        ),
        pytest.param(
            ["+routing.keys.size.bins={tiny:[2,1]}"],
            "routing.keys.size.bins.tiny: it goes from 2 to 1; its end ",
            id="bins",
        ),
        pytest.param(
            ["routing.keys.rule.rules=[{key:7,when:{column:x2,operator:gt,value:0}}]"],
            "routing.keys.rule.rules[0].when.operator: there is no operator 'gt'. Known: ",
            id="rules",
        ),
        pytest.param(
            ["models.both.combine={kind:mean,of:[odd,odd]}"],
            "models.both.combine.of: duplicate 'odd'.",
            id="combiner",
        ),
        pytest.param(
            ["observers.lines.every=0"],
            "observers.lines.every: input should be greater than or equal to 1.",
            id="observer",
        ),
    ],
)
def test_validate_refuses(week, tmp_path, monkeypatch, overrides, found):
    """``mmeframe validate`` tells a wrong option at its path in the config, before anything is built."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kinds.csv").write_text("size,kind\ntiny,odd\n")

    with pytest.raises(ProblemsError) as caught:
        api.validate(*OVERRIDES, week.override, *overrides)

    assert found in str(caught.value)
