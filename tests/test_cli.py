"""The command line: exit codes, where output goes, and every command on a real store."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml

import mmeframe
from mmeframe import api
from mmeframe.cli import main
from mmeframe.commands import COMMANDS, dispatch
from mmeframe.errors import MmeframeError
from mmeframe.output import progress_bar
from mmeframe.plugin import manager
from mmeframe.store import routers
from tests import fleets
from tests.conftest import Done, Store

ROUTED = ("name=r", "routing=column", "routing.column=dow")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Only built-in plugins, in a folder of the test's own; what a command changes for its process is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(manager, "_distributions", list)
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "ERROR")
    level = logging.getLogger("mmeframe").level
    yield
    logging.getLogger("mmeframe").setLevel(level)


def process(*argv: str, cwd: Path, **environment: str) -> Done:
    """Run a command line in a process of its own."""
    paths = os.pathsep.join([str(Path(mmeframe.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "mmeframe", *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


# -- commands and flags ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["--help"], ["-h"]])
def test_help_lists_every_command(run, argv):
    """``--help`` names every command with a line about it, on standard output."""
    done = run(*argv)

    listed = [line.split()[0] for line in done.out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert (done.code, done.err, listed) == (0, "", list(COMMANDS))


def test_every_flag_is_in_the_help(run):
    """A flag that is not in the help does not exist for a user."""
    text = run("--help").out

    flags = [
        "--config-dir",
        "--config-name",
        "--model",
        "--data",
        "--params",
        "--out",
        "--json",
        "--debug",
        "-p MODULE",
        "-p no:NAME",
        "--cfg",
        "--info",
        "--multirun",
        "--package",
    ]
    assert [flag for flag in flags if flag not in text] == []


def test_no_command_is_an_error_that_helps(run):
    """Without a command the help is shown, but nothing was done."""
    done = run()

    assert done.code == 2
    assert "Usage: mmeframe COMMAND" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(run, command):
    """Every command has its own help: what it does, and an example that starts with it."""
    done = run(command, "--help")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == f"mmeframe {command}: {COMMANDS[command].summary}"
    assert f"\n  mmeframe {command}" in done.out


def test_help_of_a_config_command_shows_groups_and_options(run):
    """Groups with everything that can be chosen, and all options with their defaults."""
    text = run("build", "--help").out

    assert "  experiment=flights | tutorial\n" in text
    assert "  routing=bins | column | datepart | gate | hash | lookup | param | pattern | rules\n" in text
    assert "  +source@sources.<name>=folder | logged_models | manifest | registry | template\n" in text
    assert "  +observer@observers.<name>=log\n" in text
    assert "batch_rows: 100000" in text


def test_version(run):
    """``--version`` prints the version and nothing else."""
    assert run("--version") == Done(0, f"{mmeframe.__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(
            ["validte"],
            "error: there is no command 'validte'.\n"
            "  Did you mean 'validate'? Commands: demo, train, build, validate, plan, explain, "
            "predict, serve, show, "
            "plugins, schema, init, completion.\n",
            id="command",
        ),
        pytest.param(
            ["zzz"],
            "error: there is no command 'zzz'.\n"
            "  Commands: demo, train, build, validate, plan, explain, predict, serve, show, plugins, schema, "
            "init, completion.\n",
            id="command-nothing-close",
        ),
        pytest.param(
            ["validate", "--jsn"],
            "error: there is no flag --jsn.\n  Did you mean --json? Run mmeframe --help.\n",
            id="flag",
        ),
        pytest.param(
            ["validate", "--config-nme=x"],
            "error: there is no flag --config-nme.\n  Did you mean --config-name? Run mmeframe --help.\n",
            id="flag-with-a-value",
        ),
        pytest.param(["predict", "--data"], "error: --data needs a value.\n  Run mmeframe --help.\n", id="no-value"),
        pytest.param(
            ["serve.port=1"],
            "error: name a command before 'serve.port=1'.\n"
            "  Commands: demo, train, build, validate, plan, explain, predict, serve, show, plugins, schema, "
            "init, completion.\n",
            id="override-without-command",
        ),
        pytest.param(
            ["build", "--model", "models:/x/1"],
            "error: build takes no --model.\n  See mmeframe build --help.\n",
            id="flag-of-another-command",
        ),
        pytest.param(
            ["show", "data=x.csv"],
            "error: show takes no --data.\n  See mmeframe show --help.\n",
            id="sugar-of-another-command",
        ),
        pytest.param(
            ["plugins", "x=1"],
            "error: plugins takes no overrides.\n  mmeframe plugins [show NAME] [--json] [-p MODULE]\n",
            id="overrides-of-plugins",
        ),
        pytest.param(
            ["completion"],
            "error: completion: name a shell.\n  Known: bash, fish, zsh.\n",
            id="completion-of-no-shell",
        ),
        pytest.param(
            ["completion", "bsh"],
            "error: completion: there is no shell 'bsh'.\n  Did you mean 'bash'? Known: bash, fish, zsh.\n",
            id="completion-of-another-shell",
        ),
        pytest.param(
            ["predict", "name=r"],
            "error: --data: predict needs a table.\n  mmeframe predict --data rows.csv --out out.csv\n",
            id="no-table",
        ),
    ],
)
def test_a_command_line_that_cannot_be_understood(run, argv, expected):
    """Exit 2, the nearest name on standard error, nothing on standard output."""
    assert run(*argv) == Done(2, "", expected)


@pytest.mark.parametrize("argv", [[""], ["validate", ""]])
def test_an_empty_word(run, argv):
    """An empty argument, as an unset shell variable leaves one, is a usage error."""
    done = run(*argv)

    assert (done.code, done.out) == (2, "")
    assert "IndexError" not in done.err


def test_flags_may_stand_anywhere(run):
    """Flags before the command, between and after overrides are the same."""
    expected = run("show", "name=r", "serve.prt=1", "--json")

    assert run("--json", "name=r", "show", "serve.prt=1").json == expected.json


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_config_error_goes_to_standard_error(run):
    """Exit 2; results and errors do not mix."""
    assert run("show", "serve.prt=1") == Done(
        2,
        "",
        "error: serve.prt=1: there is no option 'prt' in serve.\n"
        "  Did you mean serve.port=1? It has: host, port, workers.\n",
    )


def test_several_problems_are_counted(run):
    """A report says how many problems it has, then lists them."""
    assert run("show", "serve.prt=1", "tracking.tgs=1").err == (
        "error: 2 problems:\n"
        "serve.prt=1: there is no option 'prt' in serve.\n"
        "  Did you mean serve.port=1? It has: host, port, workers.\n"
        "tracking.tgs=1: there is no option 'tgs' in tracking.\n"
        "  Did you mean tracking.tags=1? It has: alias, experiment_name, public, register_as, run_name, tags, uri.\n"
    )


def test_an_error_as_json(run):
    """``--json`` prints the problems for machines, beside the text for people."""
    done = run("show", "--json", "serve.prt=1")

    assert done.code == 2
    assert done.json == {
        "ok": False,
        "problems": [
            {
                "where": "serve.prt=1",
                "what": "there is no option 'prt' in serve.",
                "hint": "Did you mean serve.port=1? It has: host, port, workers.",
                "code": "config",
            }
        ],
    }
    assert done.err.startswith("error: serve.prt=1: ")


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["validte", "--json"], id="unknown-command"),
        pytest.param(["validate", "--json", "--jsn"], id="unknown-flag"),
        pytest.param(["--json", "predict", "--data"], id="missing-value"),
    ],
)
def test_a_usage_error_as_json(run, argv):
    """What machines asked for, they get for every error."""
    done = run(*argv)

    assert done.code == 2
    assert [problem["code"] for problem in done.json["problems"]] == ["usage"]


def test_debug_raises():
    """``--debug`` lets the exception through, with its traceback."""
    with pytest.raises(MmeframeError, match="there is no option 'prt' in serve"):
        main(["show", "--debug", "serve.prt=1"])


def fail(error: BaseException) -> Callable[..., int]:
    def task(*_: Any) -> int:
        raise error

    return task


def test_an_error_that_is_not_ours(run, monkeypatch):
    """Exit 1 with the first line, without a traceback and without credentials."""
    monkeypatch.setattr(dispatch, "run", fail(RuntimeError("no route to http://me:secret@host/x\nmore")))

    assert run("validate") == Done(
        1, "", "error: RuntimeError: no route to http://host/x\n  Run again with --debug for the traceback.\n"
    )


def test_an_error_that_is_not_ours_as_json(run, monkeypatch):
    """``--json`` holds for unforeseen errors too."""
    monkeypatch.setattr(dispatch, "run", fail(RuntimeError("boom")))

    assert run("validate", "--json").json["ok"] is False


def test_an_error_that_is_not_ours_with_debug(monkeypatch):
    """``--debug`` raises it."""
    monkeypatch.setattr(dispatch, "run", fail(RuntimeError("boom")))

    with pytest.raises(RuntimeError, match="boom"):
        main(["validate", "--debug"])


def test_interrupted(run, monkeypatch):
    """Ctrl-C exits with 130 and says what was taken back."""
    error = KeyboardInterrupt()
    error.add_note("removed: run 1")
    monkeypatch.setattr(dispatch, "run", fail(error))

    assert run("build") == Done(130, "", "error: interrupted.\nremoved: run 1\n")


@pytest.mark.process
def test_sigterm_is_an_interruption(tmp_path):
    """The installed command takes SIGTERM as Ctrl-C, so that a half-made router is taken back."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "from mmeframe import cli\n"
        "from mmeframe.commands import dispatch\n"
        "def run(*_):\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(30)\n"
        "dispatch.run = run\nsys.argv = ['mmeframe', 'build']\ncli.entry()\n"
    )

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (130, "error: interrupted.\n")


@pytest.mark.process
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interruption_that_python_drops(tmp_path, name):
    """In ``__del__`` an exception goes nowhere: the work ends as soon as it tells how far it is."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys\n"
        "from mmeframe import cli\n"
        "from mmeframe.commands import dispatch\n"
        "from mmeframe.output import progress_bar\n"
        "class Gone:\n"
        f"    def __del__(self):\n        os.kill(os.getpid(), signal.{name})\n        list(range(1000))\n"
        "def run(*_):\n"
        "    with progress_bar() as progress:\n"
        "        progress('packing', 0, 2)\n        Gone()\n        print('went on')\n"
        "        progress('packing', 1, 2)\n        print('never')\n"
        "dispatch.run = run\nsys.argv = ['mmeframe', 'build']\ncli.entry()\n"
    )

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (130, "went on\n")
    assert "Exception ignored in" in done.stderr
    assert done.stderr.endswith("error: interrupted.\n")


def test_signals_are_as_before_when_the_work_is_done():
    """Whoever uses mmeframe in a program of their own keeps their handlers."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    with progress_bar():
        assert signal.getsignal(signal.SIGINT) != before[0]

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# -- stores that are not there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["validate", "plan", "build", "predict", "show", "serve"])
def test_a_store_that_does_not_exist(run, tmp_path, command):
    """Exit 1, the file is named, and it is not created."""
    argv = [command, *fleets.WEEK, "name=r", f"tracking.uri=sqlite:///{tmp_path}/none.db"]
    (tmp_path / "rows.csv").write_text("x1,x2,dow\n1,2,0\n")

    done = run(*argv, *([f"data={tmp_path}/rows.csv"] if command == "predict" else []))

    assert done == Done(
        1,
        "",
        f"error: tracking.uri: there is no store at sqlite:///{tmp_path}/none.db ({tmp_path}/none.db does not exist).\n"
        "  Run from the folder of your mlflow.db, or set tracking.uri. 'mmeframe train' makes a new store.\n",
    )
    assert not (tmp_path / "none.db").exists()


def test_a_folder_of_a_store_that_does_not_exist(run, tmp_path):
    """Exit 1 before SQLite says it without the path."""
    done = run("validate", *fleets.WEEK, "name=r", f"tracking.uri=sqlite:///{tmp_path}/no/mlflow.db")

    assert done == Done(1, "", f"error: tracking.uri: there is no folder {tmp_path}/no.\n")


def test_a_server_that_does_not_answer(run):
    """Exit 1 at once, before MLflow retries for minutes."""
    with socket.socket() as unused:
        # Bound and not listening: a connection is refused, and nobody else can take the port.
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"

        done = run("validate", *fleets.WEEK, "name=r", f"tracking.uri={uri}")

    assert done.code == 1
    assert done.err.startswith(f"error: tracking.uri: the tracking server at {uri} does not answer: ")
    assert done.err.endswith("Start it, or set tracking.uri.\n")


def test_a_store_of_an_unknown_kind(run):
    """A misspelt scheme is a problem of tracking.uri."""
    done = run("validate", *fleets.WEEK, "name=r", "tracking.uri=htp://127.0.0.1:5000")

    assert done.code in (1, 2)
    assert "tracking.uri" in done.err
    assert "htp://127.0.0.1:5000" in done.err


# -- validate and plan -----------------------------------------------------------------------------------------------


@pytest.fixture
def router(week: Store) -> tuple[str, ...]:
    """Overrides of a router over the week."""
    return (*fleets.WEEK, "name=cli_plain", week.override)


def test_validate(run, router):
    """Exit 0 and one line."""
    assert run("validate", *router) == Done(0, "ok: 8 sub-models, 2 columns, levels: dow then global\n", "")


def test_validate_as_json(run, router):
    """The same for machines."""
    assert run("validate", "--json", *router).json == {
        "ok": True,
        "sub_models": 8,
        "columns": 2,
        "warnings": [],
    }


def test_plan(run, router):
    """What would be logged: sub-models with their pinned versions, columns, requirements."""
    done = run("plan", *router)

    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert (done.code, done.err) == (0, "")
    assert lines[:3] == [
        "router cli_plain, to be registered as cli_plain",
        "key dow: column(column=dow), declared: 0, 1, 2, 3, 4, 5, 6",
        "levels: dow then global; unknown keys: raise",
    ]
    assert "day_3 dow=3 main models:/day_3/1 sklearn sklearn" in lines
    assert "everyone (all) main models:/all_days/1 sklearn sklearn" in lines
    assert f"requirements: {', '.join(sorted(fleets.pins()))}" in lines


def test_plan_as_json(run, router):
    """The same for machines, with the paths and versions that the table leaves out."""
    plan = run("plan", "--json", *router).json["plan"]

    assert [(model["id"], model["key"], model["version"]) for model in plan["sub_models"]] == [
        *((f"day_{day}", {"dow": str(day)}, "1") for day in range(7)),
        ("everyone", {}, "1"),
    ]
    assert plan["columns"] == [
        {"name": "x1", "type": "double", "required": True},
        {"name": "x2", "type": "double", "required": True},
    ]


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_looking_changes_nothing(run, week, router, command):
    """Neither command logs or registers anything."""
    from mlflow import MlflowClient

    run(command, *router, "name=cli_looked_at")

    client = MlflowClient(tracking_uri=week.uri, registry_uri=week.uri)
    assert client.search_registered_models("name = 'cli_looked_at'") == []


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        pytest.param(
            "models:/all_dys@champion",
            "there is no registered model 'all_dys'.\n  Did you mean 'all_days'? Registered: all_days, ",
            id="model",
        ),
        pytest.param(
            "models:/day_1@champon",
            "registered model 'day_1' has no alias 'champon'.\n  Did you mean 'champion'? Its aliases: champion.",
            id="alias",
        ),
        pytest.param(
            "models:/day_1/7", "registered model 'day_1' has no version '7'.\n  Its versions: 1.", id="version"
        ),
    ],
)
def test_a_sub_model_that_is_not_there(run, router, uri, expected):
    """Exit 1: the config is right, but the store lacks what it names."""
    done = run("validate", *router, f"+models.extra={{uri:'{uri}',key:{{dow:9}}}}")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: models.extra ({uri}): {expected}")


MISSING = "+models.extra={uri:'models:/day_9@champion',key:{dow:9}}"


def test_a_config_problem_stops_before_the_store_is_asked(run, router):
    """What is wrong in the config is reported alone, with exit 2; the store was not asked for what is missing."""
    done = run("validate", *router, MISSING, "serve.port=-1")

    assert done == Done(2, "", "error: serve.port: input should be greater than or equal to 0.\n")


def test_a_config_problem_that_only_the_store_shows(run, router):
    """A pattern that matches nothing and a missing model are one report, with exit 2."""
    done = run("validate", "--json", *router, MISSING, "exclude=[zzz]")

    assert done.code == 2
    assert [(problem["where"], problem["code"]) for problem in done.json["problems"]] == [
        ("exclude", "config"),
        ("models.extra (models:/day_9@champion)", "missing"),
    ]


def test_a_router_without_sub_models(run, store):
    """A config that declares none is told so."""
    assert run("validate", *ROUTED, store.override) == Done(
        2,
        "",
        "error: models: there are no sub-models.\n  Declare models, or sources that bring some.\n",
    )


# -- build, show, predict --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A router that the command line built over the week."""

    store: Store
    out: str

    def argv(self, command: str, *more: str) -> list[str]:
        return [command, "name=cli_router", self.store.override, *more]


@pytest.fixture(scope="module")
def built(week: Store) -> Built:
    """``mmeframe build``, once."""
    out = io.StringIO()
    argv = ["build", *fleets.WEEK, "name=cli_router", week.override, "tracking.alias=champion", "--json"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(manager, "_distributions", list)
        assert main(argv) == 0
    return Built(week, out.getvalue())


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Three rows: of two weekdays, and of a key that only the global sub-model takes."""
    path = tmp_path / "rows.csv"
    path.write_text("x1,x2,dow\n1.0,2.0,0\n-1.0,0.5,6\n0.25,0.5,9\n")
    return path


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """What the sub-models themselves answer for these rows."""
    table = pd.DataFrame({"x1": [1.0, -1.0, 0.25], "x2": [2.0, 0.5, 0.5]})
    return [float(fleets.fitted(seed).predict(table[row : row + 1])[0]) for row, seed in enumerate((0, 6, 20))]


def test_build_as_json(built):
    """The version, its alias and its digest."""
    logged = json.loads(built.out)

    assert (logged["ok"], logged["model_uri"], logged["alias"], logged["sub_models"]) == (
        True,
        "models:/cli_router/1",
        "champion",
        8,
    )
    assert len(logged["digest"]) == 64


@pytest.mark.build
def test_build(run, router, week):
    """For people: the URI, the version, the digest and the command that serves it."""
    done = run("build", *router, "name=cli_printed")

    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["logged", "version", "digest", "serve"]
    assert done.out.splitlines()[-1].split(None, 1)[1] == f"mmeframe serve model=models:/cli_printed/1 {week.override}"


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(["name=cli_router"], id="by-the-configs-name"),
        pytest.param(["name=cli_router", "tracking.alias=champion"], id="by-the-configs-alias"),
        pytest.param(["--model", "models:/cli_router@champion"], id="by-flag"),
        pytest.param(["--model=models:/cli_router/1"], id="by-flag-with-equals"),
        pytest.param(["model=models:/cli_router@champion"], id="by-sugar"),
    ],
)
def test_show(run, built, chosen):
    """However the router is named, it is the same one."""
    data = run("show", "--json", built.store.override, *chosen).json

    assert data["digest"] == json.loads(built.out)["digest"]


def test_show_for_people(run, built):
    """Sub-models with keys and versions, routing, columns."""
    done = run(*built.argv("show"))

    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert (done.code, done.err) == (0, "")
    assert lines[0] == "router cli_router (models:/cli_router/1)"
    assert "levels dow then global; unknown keys: raise" in lines
    assert "memory eager" in lines
    assert any(line.startswith("day_6 dow=6 main models:/day_6/1 sklearn sklearn") for line in lines)


def test_predict_to_standard_output(run, built, rows, expected):
    """Without ``--out`` the scored table is CSV on standard output, and the summary beside it."""
    done = run(*built.argv("predict", f"data={rows}"))

    table = [line.split(",") for line in done.out.splitlines()]
    assert done.code == 0
    assert table[0] == ["x1", "x2", "dow", "prediction"]
    assert [float(row[3]) for row in table[1:]] == pytest.approx(expected, abs=1e-12)
    assert done.err == "scored 3 rows (exact 2, fallback 1)\n"


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        pytest.param(".csv", pd.read_csv, id="csv"),
        pytest.param(".parquet", pd.read_parquet, id="parquet"),
        pytest.param(".json", pd.read_json, id="json"),
        pytest.param(".jsonl", lambda path: pd.read_json(path, lines=True), id="jsonl"),
    ],
)
def test_predict_from_and_to_each_format(run, built, rows, expected, tmp_path, suffix, read):
    """Each format is written, and read again, with the same answers."""
    out, again = tmp_path / f"scored{suffix}", tmp_path / "again.csv"
    run(*built.argv("predict", f"data={rows}", "--out", str(out)))

    done = run(*built.argv("predict", f"data={out}", "--out", str(again), "predict.keep=none"))

    assert done.code == 0, done.err
    assert read(out)["prediction"].tolist() == pytest.approx(expected, abs=1e-9)
    assert pd.read_csv(again)["prediction"].tolist() == pytest.approx(expected, abs=1e-9)


def test_predict_as_json(run, built, rows, tmp_path):
    """``--json`` prints the summary; the table goes to the file."""
    out = tmp_path / "out.csv"

    done = run(*built.argv("predict", f"data={rows}", f"--out={out}", "--json"))

    assert done.json == {"ok": True, "rows": 3, "out": str(out), "reasons": {"exact": 2, "fallback": 1}}


def test_predict_as_json_needs_a_file(run, built, rows):
    """A summary and a table cannot both go to standard output."""
    done = run(*built.argv("predict", f"data={rows}", "--json"))

    assert done.code == 2
    assert [problem["where"] for problem in done.json["problems"]] == ["--out"]


@pytest.mark.parametrize(
    ("more", "columns"),
    [
        pytest.param(["predict.keep=none"], ["prediction"], id="none"),
        pytest.param(["predict.keep=[dow]"], ["dow", "prediction"], id="list"),
        pytest.param(
            ["predict.keep=none", "--params", '{"annotate": true}'],
            ["prediction", "model_id", "model_version", "reason", "arm"],
            id="annotated",
        ),
    ],
)
def test_the_columns_of_a_scored_table(run, built, rows, more, columns):
    """Kept columns stand before the answers; ``annotate`` adds who answered."""
    done = run(*built.argv("predict", f"data={rows}", *more))

    assert done.out.splitlines()[0].split(",") == columns


def test_annotated_answers(run, built, rows):
    """Each row says which sub-model scored it and why."""
    done = run(*built.argv("predict", f"data={rows}", "predict.keep=none", '--params={"annotate": true}'))

    assert [line.split(",")[1:] for line in done.out.splitlines()[1:]] == [
        ["day_0", "1", "exact", "main"],
        ["day_6", "1", "exact", "main"],
        ["everyone", "1", "fallback", "main"],
    ]


@pytest.mark.parametrize(
    ("more", "code", "error"),
    [
        pytest.param(["--data", "none.csv"], 1, "--data: there is no file {cwd}/none.csv.", id="no-file"),
        pytest.param(
            ["--data", "rows.xls"],
            2,
            "--data: rows.xls is none of .csv, .tsv, .json, .jsonl, .ndjson (also with .gz or .zst), .parquet, ",
            id="bad-suffix",
        ),
        pytest.param(["--data", "empty.csv"], 1, "--data: empty.csv cannot be read: ", id="empty-file"),
        pytest.param(["--data", "bad.json"], 1, "--data: bad.json cannot be read: ", id="bad-json"),
        pytest.param(["--data", "map.json"], 1, "--data: map.json cannot be read: it must be a list", id="no-table"),
        pytest.param(["--data", "bad.parquet"], 1, "--data: bad.parquet cannot be read: ", id="bad-parquet"),
        pytest.param(
            ["--data", "rows.csv", "--out", "out.xls"],
            2,
            "--out: out.xls is none of .csv, .tsv, .json, .jsonl, .ndjson (also with .gz or .zst), .parquet, ",
            id="bad-suffix-of-the-output",
        ),
        pytest.param(
            ["--data", "rows.csv", "--out", "no/out.csv"], 1, "--out: there is no folder {cwd}/no.", id="no-folder"
        ),
        pytest.param(["--data", "rows.csv", "--params", "{dow"], 2, "--params: this is not JSON: ", id="bad-params"),
        pytest.param(
            ["--data", "rows.csv", "--params", "[1]"], 2, "--params: this must be a JSON object.", id="params-list"
        ),
        pytest.param(
            ["--data", "rows.csv", "predict.keep=[dwo]"], 1, "predict.keep: the data has no column 'dwo'.", id="keep"
        ),
        pytest.param(
            ["--data", "rows.csv", "tracking.alias=chmpion"],
            1,
            "registered model 'cli_router' has no alias 'chmpion'.\n  Did you mean 'champion'?",
            id="no-alias",
        ),
        pytest.param(
            ["--data", "rows.csv", "model=models:/cli_routr@champion"],
            1,
            "there is no registered model 'cli_routr'.\n  Did you mean 'cli_router'?",
            id="no-model",
        ),
        pytest.param(
            ["--data", "rows.csv", "model=models:/day_0@champion"],
            1,
            "--model: models:/day_0@champion is not a router of mmeframe.",
            id="no-router",
        ),
        pytest.param(
            ["--data", "rows.csv", "model=nowhere"],
            1,
            "--model: there is no MLflow model at ",
            id="no-such-folder",
        ),
    ],
)
def test_predict_with_bad_input(run, built, rows, monkeypatch, more, code, error):
    """What is wrong is named; no output is left behind."""
    monkeypatch.chdir(rows.parent)
    bad = {"rows.xls": "", "empty.csv": "", "bad.json": "[{", "map.json": '{"x1": 1}', "bad.parquet": "P"}
    for name, text in bad.items():
        Path(name).write_text(text)
    before = sorted(os.listdir())

    done = run(*built.argv("predict", *more))

    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"error: {error.format(cwd=rows.parent)}")
    assert sorted(os.listdir()) == before


def test_no_router_is_named(run, week, rows):
    """Without ``--model`` and without a name there is nothing to score with."""
    done = run("predict", week.override, f"data={rows}")

    assert done == Done(2, "", "error: --model: no router is named.\n  Give --model URI, or a config with a name.\n")


def test_a_port_that_is_taken(run, built):
    """Before the server starts: the option and what to try, in a line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = run("serve", "model=models:/cli_router@champion", built.store.override, f"serve.port={port}")

    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error: serve.port: nothing can listen on 127.0.0.1:{port}: Address already in use.\n"
        "  Choose another serve.port, or serve.host.\n"
    )


def test_a_damaged_router_is_not_served(run, built, tmp_path):
    """It is named as predict names it, instead of a traceback of the server."""
    with fleets.active(built.store.uri):
        found = Path(mlflow.artifacts.download_artifacts("models:/cli_router@champion", dst_path=str(tmp_path)))
    pack = found / "artifacts" / "bundle" / "pack.bin"
    damaged = bytearray(pack.read_bytes())
    damaged[100] ^= 1
    pack.write_bytes(damaged)

    done = run("serve", f"model={found}", built.store.override)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {pack}: its digest does not match: expected sha256 ")


def test_another_digest_than_the_expected(run, built, rows, monkeypatch):
    """The variable is named: the file is as it was built."""
    monkeypatch.setenv("MMEFRAME_EXPECT_DIGEST", "abc")

    done = run("predict", "model=models:/cli_router@champion", built.store.override, f"data={rows}")

    assert (done.code, done.out) == (1, "")
    assert "it is not the expected bundle: expected sha256 abc, found " in done.err
    assert "MMEFRAME_EXPECT_DIGEST is 'abc', and a digest has 64 digits" in done.err


def test_a_column_that_is_kept_and_not_there(run, built, rows):
    """The nearest column, and the words that mean all or none of them."""
    done = run("predict", "model=models:/cli_router@champion", built.store.override, f"data={rows}", "predict.keep=nne")

    assert done.err == (
        "error: predict.keep: the data has no column 'nne'.\n"
        "  Did you mean 'none'? all, none, or some of: all, dow, none, x1, x2.\n"
    )


def test_missing_features_of_a_model_that_takes_none(run, built, tmp_path):
    """A library's own text may hold rows; the columns with missing values are named instead."""
    (tmp_path / "gaps.csv").write_text("x1,x2,dow\n1.0,,0\n")

    done = run("predict", "model=models:/cli_router@champion", built.store.override, f"data={tmp_path}/gaps.csv")

    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: day_0: its predict failed with ValueError.\n  Columns with missing values in its rows: x2.\n"
    )


@pytest.mark.parametrize("command", ["predict", "serve", "show"])
def test_a_misspelt_scheme(run, built, rows, command):
    """MLflow would list the schemes of its storage."""
    data = [f"data={rows}"] if command == "predict" else []

    done = run(command, "model=modles:/cli_router@champion", built.store.override, *data)

    assert done == Done(
        2,
        "",
        "error: --model: modles:/cli_router@champion: there is no scheme 'modles'.\n"
        "  Did you mean models:/cli_router@champion?\n",
    )


def test_show_lists_what_a_request_needs(run, built):
    """The columns of the sub-models, and the one that routing reads."""
    done = run("show", "model=models:/cli_router@champion", built.store.override)

    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert {"x1 double yes", "x2 double yes", "dow dow"} <= set(lines)


@pytest.mark.parametrize("name", ["a b,c=(d)", "données {x}", "50%'s"])
def test_odd_characters_in_the_path_of_a_table(run, built, rows, tmp_path, name):
    """``data=`` takes a path as it is: nothing in it is Hydra's grammar."""
    path = tmp_path / f"{name}.csv"
    shutil.copy(rows, path)

    assert run(*built.argv("predict", f"data={path}")).code == 0


def test_odd_characters_in_the_path_of_a_router(run, built, tmp_path):
    """``model=`` takes a path as it is."""
    path = tmp_path / "a b,c=(d)"
    with api.job("show", [built.store.override]).store() as store:
        shutil.copytree(routers.fetch(store, "models:/cli_router/1"), path)

    data = run("show", "--json", built.store.override, f"model={path}").json

    assert data["digest"] == json.loads(built.out)["digest"]


# -- what is Hydra's own ---------------------------------------------------------------------------------------------


@pytest.mark.process
def test_cfg_job_prints_the_composed_config(tmp_path):
    """``--cfg job`` is Hydra's: the composed config as YAML, nothing is run, nothing is written."""
    done = process("validate", "--cfg", "job", *ROUTED, cwd=tmp_path)

    config = yaml.safe_load(done.out)
    assert (done.code, done.err) == (0, "")
    assert (config["name"], config["routing"]["kind"], config["routing"]["column"]) == ("r", "column", "dow")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_multirun_runs_each_combination(tmp_path, week):
    """``-m`` runs the command once per combination, and leaves no files."""
    overrides = [*fleets.WEEK, week.override, "name=r", "output.annotate=true,false"]

    done = process("validate", "-m", *overrides, cwd=tmp_path)

    lines = [line for line in done.out.splitlines() if line.startswith("ok: ")]
    assert (done.code, lines) == (0, ["ok: 8 sub-models, 2 columns, levels: dow then global"] * 2)
    assert "HYDRA" not in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_the_run_of_a_sweep_that_fails_is_named(tmp_path, week):
    """Of several runs a message says which one it is about."""
    overrides = [*fleets.WEEK, week.override, "name=r", "routing.on_unknown=raise,skp"]

    done = process("validate", "-m", *overrides, cwd=tmp_path)

    assert done.code == 2
    assert "routing.on_unknown: input should be 'raise' or 'skip'. (in the run of " in done.err
    assert "routing.on_unknown=skp)" in done.err


@pytest.mark.process
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        pytest.param(["--cfg", "job", *ROUTED, "serve.prt=1"], "Did you mean serve.port=1?", id="cfg-misspelt"),
        pytest.param(["-m", *ROUTED, "serve.port=-1,-2"], "serve.port: input should be", id="multirun-bad-value"),
    ],
)
def test_errors_under_hydras_flags_are_ours(tmp_path, argv, says):
    """Exit 2 with the same answers as without the flag, and no traceback."""
    done = process("validate", *argv, cwd=tmp_path)

    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


@pytest.mark.process
def test_hydras_help_needs_no_command(tmp_path):
    """The help sends to ``--hydra-help``, so it works alone."""
    done = process("--hydra-help", cwd=tmp_path)

    assert (done.code, done.out.splitlines()[0].split()[0]) == (0, "Hydra")


# -- configs and plugins by environment ------------------------------------------------------------------------------


def test_the_config_folder_of_the_environment(run, tmp_path, monkeypatch):
    """MMEFRAME_CONFIG_DIR is searched, behind ``--config-dir``."""
    for name in ("flag", "environment"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.yaml").write_text(f"defaults: [show, _self_]\nserve: {{{name}: 1}}\n")
    monkeypatch.setenv("MMEFRAME_CONFIG_DIR", str(tmp_path / "environment"))

    alone = run("show", "--config-name", "mine")
    behind = run("show", "--config-name", "mine", "--config-dir", str(tmp_path / "flag"))

    assert alone.err.startswith("error: serve.environment: there is no option 'environment'.")
    assert behind.err.startswith("error: serve.flag: there is no option 'flag'.")


def test_an_error_in_ones_own_yaml_has_no_traceback(run, tmp_path):
    """A syntax error is reported with file and line, exit 2."""
    (tmp_path / "mine.yaml").write_text("name: a\nserve: ]\n")

    done = run("validate", "--config-dir", str(tmp_path), "--config-name", "mine")

    assert (done.code, done.out) == (2, "")
    assert f"{tmp_path}/mine.yaml" in done.err
    assert "line 2" in done.err
    assert "Traceback" not in done.err


def test_plugins(run):
    """``mmeframe plugins`` lists what is registered, with a line about each."""
    done = run("plugins")

    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert (done.code, done.err) == (0, "")
    assert any(
        line.startswith(f"builtin mmeframe {mmeframe.__version__} ok routing strategy: param, ") for line in lines
    )
    assert "column a column of the data" in lines


def test_plugins_as_json(run):
    """The same for machines."""
    (plugin,) = run("plugins", "--json").json["plugins"]

    assert plugin == {
        "name": "builtin",
        "distribution": "mmeframe",
        "version": mmeframe.__version__,
        "module": "mmeframe.builtin.plugin",
        "status": "ok",
        "reason": "",
        "provides": {
            "routing strategy": [
                "param",
                "column",
                "datepart",
                "lookup",
                "bins",
                "pattern",
                "rules",
                "hash",
                "gate",
            ],
            "model loader": ["sklearn", "xgboost", "lightgbm", "catboost", "statsmodels", "pyfunc"],
            "model source": ["template", "registry", "logged_models", "manifest", "folder"],
            "combiner": ["mean", "median", "weighted", "vote"],
            "observer": ["log"],
        },
        "hooks": [
            "mmeframe_combiners",
            "mmeframe_model_loaders",
            "mmeframe_model_sources",
            "mmeframe_observers",
            "mmeframe_routing_strategies",
        ],
        "disabled": [],
    }


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["-p", "no_such_plugin_module"], id="module"),
        pytest.param(["-p", "no:no-such-distribution"], id="disabled"),
    ],
)
def test_a_misspelt_plugin_on_the_command_line(run, argv):
    """A plugin named on the command line that is not there is a usage error."""
    done = run("validate", *ROUTED, *argv)

    assert (done.code, done.out) == (2, "")
    assert argv[1].removeprefix("no:") in done.err
