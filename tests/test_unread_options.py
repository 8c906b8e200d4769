"""An option that does nothing in a command is a problem there; a file may hold what all commands need."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from mmeframe import api
from tests import fleets


@pytest.fixture(scope="module")
def router(week):
    """Overrides by which commands find a router over the week."""
    api.build("name=unread_options", *fleets.WEEK, week.override, plugins=fleets.plugins())
    return ("name=unread_options", week.override)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    pd.DataFrame({"dow": [3], "x1": 1.0, "x2": 2.0}).to_csv(path, index=False)
    return f"data={path}"


READS = "name, tracking.uri, tracking.register_as, tracking.alias"


@pytest.mark.parametrize("command", ["predict", "show", "serve"])
@pytest.mark.parametrize(
    "override",
    [
        "output.annotate=true",
        "output.method=predict_proba",
        "routing=column",
        "routing.on_unknown=skip",
        "residency=lazy",
        "+traffic.arms.b=0.5",
        "signature.mode=union",
        "disabled_models=[day_3]",
        "+tracking.tags.team=x",
        "tracking.experiment_name=x",
        "train.seed=1",
    ],
)
def test_what_a_routers_clients_do_not_read(run, router, rows, command, override):
    """They take a router as it was built."""
    words = [rows] if command == "predict" else []
    done = run(command, *router, *words, override)

    section = override.lstrip("+~").partition("=")[0].partition(".")[0]
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {override}: {command} does not read {section}.\n  ")
    if override != "output.annotate=true" or command != "predict":
        own = f", {command}" if command in ("predict", "serve") else ""
        assert done.err.endswith(f"  Leave it out: it reads {READS}{own}.\n")


def test_annotated_answers_are_asked_for_otherwise(run, router, rows):
    """The cure works."""
    done = run("predict", *router, rows, "output.annotate=true")

    assert done.err == (
        "error: output.annotate=true: predict does not read output.\n"
        """  It is a router's own; ask for it with --params '{"annotate": true}'.\n"""
    )
    cured = run("predict", *router, rows, "--params", '{"annotate": true}')
    assert cured.out.splitlines()[0] == "dow,x1,x2,prediction,model_id,model_version,reason,arm"


@pytest.mark.parametrize(
    ("command", "override"),
    [
        pytest.param("predict", "serve.port=1", id="predict"),
        pytest.param("serve", "predict.keep=none", id="serve"),
        pytest.param("show", "predict.keep=none", id="show"),
        pytest.param("plan", "train.seed=1", id="plan"),
        pytest.param("plan", "serve.port=1", id="plan-serve"),
        pytest.param("build", "predict.keep=none", id="build"),
        pytest.param("build", "validate.min_coverage=0.5", id="build-validate"),
        pytest.param("explain", "predict.batch_rows=5", id="explain"),
        pytest.param("explain", "build.unchanged=register", id="explain-build"),
        pytest.param("train", "output.annotate=true", id="train"),
        pytest.param("train", "residency=lazy", id="train-group"),
        pytest.param("train", "environment.merge=highest", id="train-environment"),
        pytest.param("plan", "hydra.verbose=true", id="hydra"),
        pytest.param("validate", "hydra.run.dir=x", id="hydra-folder"),
        pytest.param("build", "hydra/job_logging=none", id="hydra-group"),
    ],
)
def test_sections_of_other_commands(run, router, rows, command, override):
    """What one command reads does nothing in another; in a file it is no problem."""
    words = [rows] if command in ("predict", "explain") else []
    fleet = [] if command in ("predict", "serve", "show") else fleets.WEEK
    training = (f"train.reader.path={rows.removeprefix('data=')}", "train.target=x2", "train.features.numeric=[x1]",
                "train.estimator.class=sklearn.linear_model.Ridge")  # fmt: skip

    done = run(command, *router, *fleet, *words, *(training if command == "train" else ()), override)

    assert (done.code, done.out) == (2, "")
    section = re.split(r"\W", override)[0]
    assert done.err.startswith(f"error: {override}: {command} does not read {section}.\n  Leave it out")


def test_hydras_own_options_count_where_hydra_runs(run, router, tmp_path):
    """With its flags; where it looks for files, always."""
    words = (*router, *fleets.WEEK)
    assert run("plan", "-m", *words, f"hydra.sweep.dir={tmp_path}").code == 0
    assert run("plan", *words, f"hydra.searchpath=[file://{tmp_path}]").code == 0


@pytest.mark.parametrize("command", ["show", "plan", "predict"])
def test_a_file_may_hold_all_sections(run, router, rows, tmp_path, command):
    """One config serves all commands."""
    (tmp_path / "mine.yaml").write_text(
        f"defaults: [{command}, _self_]\noutput: {{annotate: true}}\nserve: {{port: 1}}\ntrain: {{seed: 1}}\n"
        "predict: {batch_rows: 5}\n"
    )
    words = {"predict": [rows], "plan": fleets.WEEK}.get(command, [])

    done = run(command, "--config-dir", str(tmp_path), "--config-name", "mine", *router, *words)

    assert (done.code, done.err.startswith("error")) == (0, False)


@pytest.mark.parametrize("command", ["explain", "validate"])
def test_a_logged_router_is_taken_as_it_is(run, router, rows, command):
    """With --model the config's own fleet is not meant."""
    model = f"model=models:/{router[0].partition('=')[2]}/1"

    done = run(command, router[1], model, rows, "routing.on_unknown=skip")

    assert done.code == 2
    assert done.err.startswith(f"error: routing.on_unknown=skip: {command} does not read routing.\n")
    assert run(command, router[1], model, rows).code == 0


def test_a_plan_without_a_config_shows_a_router_as_it_is(run, router):
    """Nothing is compared, so nothing but its place is read; Hydra's flags change nothing of that."""
    model = f"model=models:/{router[0].partition('=')[2]}/1"

    done = run("plan", router[1], model, "routing.on_unknown=skip")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: routing.on_unknown=skip: plan does not read routing.\n")
    shown = run("plan", router[1], model)
    assert (shown.code, shown.out.splitlines()[0].split()[:2]) == (0, ["router", "unread_options"])
    assert run("plan", "-m", router[1], model).out == shown.out


def test_a_fleet_on_the_command_line_says_whose_router_is_meant(run, router):
    """The same words for build and for show, as of a file; what else does nothing is told."""
    assert run("show", *router, *fleets.WEEK).code == 0
    assert run("show", *router, *fleets.WEEK, "residency=lazy").err.startswith(
        "error: residency=lazy: show does not read"
    )


def test_validate_checks_every_section(run, router):
    """It is there to find what is wrong in any of them."""
    done = run("validate", *router, *fleets.WEEK, "serve.port=1", "predict.keep=none", "train.seed=1")

    assert done.code == 0
