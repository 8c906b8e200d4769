"""What ``--json`` prints is a contract: the names of each command's result, in their order."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest

from mmeframe.cli import main
from mmeframe.commandline import FLAGS
from mmeframe.commands import COMMANDS
from mmeframe.plugin import manager
from tests import fleets

NAMED = ("name=json_router",)
MODEL = "model=models:/json_router@champion"


@pytest.fixture(autouse=True)
def built_in(monkeypatch):
    """Only built-in plugins, as at build: a plan tells of other loaders."""
    monkeypatch.setattr(manager, "_distributions", list)


@pytest.fixture(scope="module")
def built(week) -> Any:
    """``build --json`` of a router that has a canary without rows, and the words that declare it."""
    words = [
        *(*fleets.WEEK, *NAMED, week.override, "tracking.alias=champion"),
        *("+models.late={uri:models:/day_2/1,arm:canary,key:{dow:2}}", "+traffic.arms.canary=0"),
    ]
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(manager, "_distributions", list)
        assert main(["build", *words, "--json"]) == 0
    return words, json.loads(out.getvalue())


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("x1,x2,dow\n1.0,2.0,0\n-1.0,0.5,9\n")
    return "data=rows.csv"


def names(value: Any) -> Any:
    """The names of maps in their order; of a list those of its first element; a scalar has none."""
    if isinstance(value, dict):
        return [(name, names(inner)) if names(inner) else name for name, inner in value.items()]
    return names(value[0]) if isinstance(value, list) and value else []


KEYED = ["id", "key", "arm", "uri", "version", "model_id", "flavor", "loader", "of"]
SUB_MODEL = ["id", ("key", ["dow"]), *KEYED[2:]]
TRAFFIC = ["arms", "sticky", "only", "shadow"]
PLAN = [
    *("name", "register_as", "alias"),
    ("routing", [("keys", [("dow", ["kind", "column", "declared"])]), "levels", "on_unknown"]),
    ("sub_models", SUB_MODEL),
    ("traffic", [("arms", ["canary"]), *TRAFFIC[1:]]),
    *("disabled_models", "isolation"),
    ("columns", ["name", "type", "required"]),
    ("routing_columns", ["dow"]),
    ("answers", ["name", "type"]),
    *("params", "promoted", "requirements", "dropped", "paths", "csv_changes", "warnings"),
]
DIFFERENCE = [
    *("against", "added", "removed", "changed", "retargeted"),
    *("routing", "traffic", "disabled_models", "isolation", "observers", "output", "residency", "signature"),
    *("union", "answer", "params", "environment", "code", "tables", "files", "newest", "wrapping"),
]


def test_build(built):
    """The version, and where its sub-models come from."""
    assert names(built[1]) == [
        *("ok", "model_uri", "model_id", "run_id", "experiment_id", "name", "version", "alias", "digest"),
        *("sub_models", "bytes", "unchanged", "since", "resumed", "described", "same_as", "notes"),
    ]


def test_plan(run, built):
    """The plan, with what it changes."""
    found = run("plan", *built[0], "--json").json

    assert names(found) == ["ok", ("plan", [*PLAN, ("difference", DIFFERENCE), "changes"])]
    assert (found["plan"]["difference"]["against"], found["plan"]["changes"]) == ("models:/json_router/1", False)


def test_a_plan_that_changes_something(run, built):
    """A change has what was and what will be; sections say whether they differ."""
    words = ["models.late.uri=models:/day_3/1", "models.everyone.key={dow:7}", "routing.levels=[[dow]]"]
    added = "+models.day_7={uri:models:/all_days/1,key:{dow:8}}"

    found = run("plan", *built[0], *words, added, "exclude=[day_1]", "output.annotate=true", "--json").json["plan"]

    difference = found["difference"]
    assert (found["changes"], difference["added"], difference["removed"]) == (True, ["day_7"], ["day_1"])
    assert difference["changed"] == [
        {"id": "everyone", "from": "key (all)", "to": "key dow=7"},
        {"id": "late", "from": "day_2 1", "to": "day_3 1"},
    ]
    sections = ("routing", "traffic", "output", "union", "tables", "wrapping")
    assert [difference[name] for name in sections] == [True, False, True, False, False, False]


def test_show(run, built):
    """The same facts of a sub-model as in a plan, and its size; sections as the manifest has them."""
    found = run("show", built[0][7], MODEL, "--json").json

    component = ["config", "kind", ("options", ["column"]), "target"]
    assert names(found)[:12] == [
        *("ok", "uri", "name", "mmeframe", "format", "digest", "bytes", "pack_bytes"),
        ("routing", ["levels", "on_unknown", "parts"]),
        ("traffic", [("arms", ["canary"]), "only", "shadow", "sticky"]),
        *("disabled_models", "isolation"),
    ]
    assert [name if isinstance(name, str) else name[0] for name in names(found)[12:]] == [
        *("residency", "output", "columns", "routing_columns", "answer", "environment", "plugins"),
        *("other_code_here", "sub_models"),
    ]
    assert names(found["routing"]["parts"][0][1]) == component
    assert found["columns"] == [["x1", "double", True], ["x2", "double", True]]
    assert names(found["sub_models"]) == [*SUB_MODEL, "bytes", "memory"]


@pytest.mark.parametrize("of", ["config", "router"])
def test_validate(run, built, rows, of):
    """Counts, and what the table reaches."""
    words = built[0] if of == "config" else [built[0][7], MODEL]

    found = run("validate", *words, rows, "--json").json

    key = [("key", ["dow"]), "rows", "model_id", "reason"]
    assert names(found) == [
        *("ok", "sub_models", "columns", "warnings"),
        (
            "coverage",
            [
                *("rows", "covered", "coverage", ("reasons", ["exact", "fallback"]), ("keys", key)),
                *("without_model", "unreached", "faults", "promoted"),
            ],
        ),
    ]


def test_explain(run, built, rows):
    """One object for each row, or what was written."""
    told = run("explain", *built[0], rows, "--json").json
    written = run("explain", *built[0], rows, "--out", "ways.csv", "--json").json

    row = ["row", ("key", ["dow"]), ("route", ["level", "found"]), "arm", "model_id", "model_version", "reason"]
    assert names(told) == ["ok", ("rows", row)]
    assert written == {"ok": True, "written": 2, "out": "ways.csv", "reasons": {"exact": 1, "fallback": 1}}


@pytest.mark.build
def test_train(run, store, tmp_path):
    """Each sub-model with its metrics, and what got none."""
    fleets.rows(60).to_csv(tmp_path / "train.csv", index=False)
    estimator = "train.estimator.class=sklearn.linear_model.Ridge"
    words = ["name=days", "routing=column", "routing.column=dow", f"train.reader.path={tmp_path}/train.csv", estimator]
    words += ["train.target=x2", "train.features.numeric=[x1]", "train.min_rows=2", "train.holdout=0.3"]

    found = run("train", *words, store.override, "--json").json

    assert [name if isinstance(name, str) else name[0] for name in names(found)] == [
        *("ok", "models", "rows", "dropped", "no_key", "skipped", "run_id", "failed", "warnings"),
    ]
    assert [name if isinstance(name, str) else name[0] for name in names(found["models"])] == [
        *("name", "version", "model_id", "key", "parts", "rows", "metrics", "global_metrics"),
    ]


def test_init(run, tmp_path):
    """The files that were written."""
    found = run("init", str(tmp_path / "shop"), "--json").json

    assert names(found) == ["ok", "files"]
    assert str(tmp_path / "shop" / "Makefile") in found["files"]


def test_plugins_show(run):
    """A component with its options."""
    found = run("plugins", "show", "bins", "--json").json

    component = ["kind", "name", "summary", "target", "plugin", "distribution", "version", "choose"]
    option = names(found["components"][0]["options"])
    assert names(found) == ["ok", ("components", [*component, ("options", option), "presets"])]


# -- the records -----------------------------------------------------------------------------------------------------


def test_a_record_names_flags_that_exist():
    """And only those that a command has to name; each is taken by some command."""
    own = {name for name, flag in FLAGS.items() if flag.own}

    assert {name for command in COMMANDS.values() for name in command.flags} == own


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_record_is_a_file_of_its_name(command):
    """Who looks for a command finds it."""
    assert command.run.__module__ == f"mmeframe.commands.{command.name}"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", [name for name, flag in FLAGS.items() if flag.own])
def test_a_flag_of_another_command_is_refused(run, command, flag):
    """Also by commands that compose no config."""
    if flag in COMMANDS[command].flags:
        return
    done = run(command, flag, *(["x"] if FLAGS[flag].value else []))

    assert (done.code, done.err) == (2, f"error: {command} takes no {flag}.\n  See mmeframe {command} --help.\n")


def test_a_flag_in_the_help_is_offered_where_it_is_taken(run):
    """Help, parsing and completion ask one table."""
    assert [name for name, flag in FLAGS.items() if flag.help and f"  {name} " not in run("--help").out] == []
    for name, command in COMMANDS.items():
        offered = run("completion", "words", "zsh", name, "--").out.split()
        assert {flag for flag in offered if flag in FLAGS and FLAGS[flag].own} == set(command.flags)
