"""What commands show is lines of theirs: no name, key, URI or value makes another, or tells a terminal anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from sklearn.linear_model import Ridge

from mmeframe.output import note, say, table
from tests import fleets

# Colour, a title, a line of its own, text that runs backwards, rich's markup, an emoji's name, half a character.
HOSTILE = "a\x1b[31m\x1b]0;t\x07\r\nerror: forged\u202e\u2066[red]b[/red] :smile: \x9b1m"
SHOWN = r"a\x1b[31m\x1b]0;t\x07\r\nerror: forged\u202e\u2066[red]b[/red] :smile: \x9b1m"


def test_one_argument_is_one_line(capsys):
    """Lines are said one by one, so a name with a line break is a part of its line."""
    say(f"key {HOSTILE}", "")
    note(HOSTILE)

    assert capsys.readouterr() == (f"key {SHOWN}\n\n", f"{SHOWN}\n")


def test_a_table_shows_what_is_there(capsys):
    """Titles, heads and cells are text, whatever it looks like."""
    table(HOSTILE, [HOSTILE], [[HOSTILE], [[HOSTILE]], [None], [1.5]])

    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == SHOWN
    assert lines[2] == SHOWN
    assert lines[4:8] == [SHOWN, repr([HOSTILE]), "", "1.50"]


@pytest.fixture
def hostile(store, monkeypatch):
    """A folder with a config whose ids, keys, columns, tags and paths are hostile, and a table of such rows."""
    frame = fleets.rows(12)[["x1", "x2"]].rename(columns={"x1": f"{HOSTILE}1", "x2": f"{HOSTILE}2"})
    paths = {}
    for name in ("one", "all"):
        kept = fleets.keep(store.folder, Ridge().fit(frame, frame[f"{HOSTILE}1"]), frame)
        paths[name] = str(Path(kept).rename(store.folder / f"{name}{HOSTILE}".replace("/", "")))
    frame.assign(**{f"{HOSTILE}key": [HOSTILE, "other"] * 6}).to_parquet("rows.parquet")
    config = {
        "defaults": ["build", "_self_"],
        "name": "hostile",
        "routing": {"keys": {"k": {"kind": "column", "column": f"{HOSTILE}key"}}, "levels": [["k"], []]},
        "models": {
            f"{HOSTILE}one": {"uri": paths["one"], "key": {"k": HOSTILE}},
            f"{HOSTILE}all": {"uri": paths["all"], "key": {}},
            f"{HOSTILE}new": {"uri": paths["all"], "arm": "canary", "key": {}},
        },
        "traffic": {"sticky": [f"{HOSTILE}1"], "arms": {"canary": 0.1}},
        "disabled_models": [f"{HOSTILE}all"],
        "tracking": {"tags": {"team": HOSTILE}, "alias": "champion"},
        "observers": {HOSTILE: {"kind": "log"}},
    }
    Path("hostile.yaml").write_text(yaml.safe_dump(config))
    return ["--config-dir", str(store.folder), "--config-name", "hostile"]


MODEL = "model=models:/hostile@champion"


@pytest.mark.build
def test_no_command_shows_more_than_lines(hostile, mmeframe_cli):
    """Every command that tells of a router tells it in printable lines of its own."""
    commands = {
        "validate": ["validate", *hostile, "--data", "rows.parquet"],
        "explain": ["explain", *hostile, "--data", "rows.parquet"],
        "plan": ["plan", *hostile],
        "build": ["build", *hostile],
        "plan again": ["plan", *hostile, "models={}"],
        "show": ["show", MODEL],
        "validate a router": ["validate", MODEL, "--data", "rows.parquet"],
        "explain a router": ["explain", MODEL, "--data", "rows.parquet", "--out", "told.parquet"],
        "an unknown key": ["predict", MODEL, "--data", "rows.parquet", "--out", "scored.parquet"],
        "a missing file": ["predict", MODEL, "--data", f"{HOSTILE}.csv"],
        "a missing model": ["show", f"model=models:/{HOSTILE}/1"],
        "an override": ["plan", f"x={HOSTILE}"],
        "a command": [HOSTILE],
        "a component": ["plugins", "show", HOSTILE],
    }
    told = {name: mmeframe_cli(*words) for name, words in commands.items()}

    texts = {name: it.out + it.err for name, it in told.items()}
    odd = {name: text for name, text in texts.items() if not text.replace("\n", "").isprintable()}
    assert odd == {}
    assert {name for name, text in texts.items() if "\nerror: forged" in text} == set()
    assert [it.code for it in told.values()] == [0] * 8 + [1, 1, 1, 2, 2, 2]
