"""A cure that is told works: each is followed here, as somebody would who read it."""

from __future__ import annotations

import pickle
import shlex
import subprocess
import sys

import mlflow
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeframe import api
from mmeframe.commandline import FLAGS
from mmeframe.commands import COMMANDS
from mmeframe.errors import QUOTE, MmeframeError, ProblemsError, nearest
from tests import fleets

KEYED = ("name=r", "routing=column", "routing.column=dow")
EXAMPLE = fleets.rows(5)[["x1", "x2"]]


def problem_of(call, *args, **options):
    """The one thing that is wrong."""
    with pytest.raises(MmeframeError) as caught:
        call(*args, **options)
    error = caught.value
    (found,) = error.problems if isinstance(error, ProblemsError) else [error]
    return found


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize("command", ["models", "show", "load"])
def test_a_registered_model_without_a_version(week, command):
    """MLflow looks for a logged model of that id; what is told works."""
    api.build("name=versionless", *fleets.WEEK, week.override, plugins=fleets.plugins())

    def asked(uri):
        if command == "models":
            return api.validate(*KEYED, f"+models.a={{uri:'{uri}',key:{{dow:1}}}}", week.override)
        ask = api.show if command == "show" else api.load_router
        return ask(uri, tracking_uri=week.uri)

    name = "models:/day_0" if command == "models" else "models:/versionless"
    found = problem_of(asked, name)

    assert found.hint == f"A registered model is {name}/<version> or {name}@<alias>."
    assert asked(f"{name}/1")


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("name=", "name", "this cannot be empty."),
        ("name=' '", "name", "a name has a letter"),
        ("tracking.register_as=a/b", "tracking.register_as", "a registered name has no"),
        ("tracking.register_as=a:b", "tracking.register_as", "a registered name has no"),
        ("tracking.register_as=' '", "tracking.register_as", "a name has a letter"),
    ],
)
def test_a_name_that_mlflow_refuses_is_told_before_anything_is_written(week, override, where, what):
    """Not after all sub-models are packed."""
    found = problem_of(api.compose, *KEYED, "+models.a={uri:'models:/day_0/1',key:{dow:1}}", override, week.override)

    assert (found.where, found.what.startswith(what)) == (where, True)


# -- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize(
    "fleet",
    [
        pytest.param(["+models.plain={uri:'models:/plain/1',key:{dow:1}}"], id="explicit"),
        pytest.param(["+source@sources.s=registry", "sources.s.name=plain", "sources.s.version=latest",
                      "+sources.s.key.dow=1"], id="source"),
    ],
)  # fmt: skip
def test_a_signature_that_a_model_lacks_is_declared(store, fleet):
    """MLflow refuses to add one to a registered version; the config takes it, for a source's sub-model too."""
    fleets.log_sklearn(fleets.fitted(1), "plain", EXAMPLE, signature=None)

    found = problem_of(api.validate, *KEYED, *fleet)

    assert found.what == "it has no signature."
    written = (
        found.hint.partition("or declare it: ")[2]
        .removesuffix(".")
        .replace("<column>: double", "x1: double, x2: double")
    )
    (override,) = shlex.split(written)
    logged = api.build(*KEYED, *fleet, override)
    answer = api.load_router(logged.model_uri).predict(EXAMPLE.assign(dow=1))
    assert answer == pytest.approx(fleets.fitted(1).predict(EXAMPLE))


class Hinted(mlflow.pyfunc.PythonModel):
    """Its type hints say less than a router needs."""

    def predict(self, model_input: list[dict[str, float]]) -> list[float]:
        return [row["x1"] for row in model_input]


class OfFrames(mlflow.pyfunc.PythonModel):
    """As the cure says."""

    def predict(self, model_input: pd.DataFrame) -> pd.Series:
        return model_input["x1"]


@pytest.mark.build
@pytest.mark.filterwarnings("ignore")
def test_type_hints_that_replace_a_signature_are_named(store):
    """MLflow ignores signature= beside them."""

    def log(model):
        signature = mlflow.models.infer_signature(EXAMPLE, EXAMPLE["x1"])
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                python_model=model,
                name="m",
                signature=signature,
                registered_model_name="m",
                pip_requirements=fleets.pins(),
            )

    log(Hinted())
    fleet = ("+models.a={uri:'models:/m/latest',key:{dow:1}}",)
    found = problem_of(api.validate, *KEYED, *fleet)

    assert found.hint == (
        "MLflow derives it from the type hints of predict, and then ignores signature=. Log the model with "
        "pandas.DataFrame"
        " as the type hint of predict's input, and with signature=infer_signature(X, answers)."
    )
    log(OfFrames())
    answer = api.load_router(api.build(*KEYED, *fleet).model_uri).predict(EXAMPLE.assign(dow=1))
    assert list(answer) == list(EXAMPLE["x1"])


# -- pickles ----------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, {writer}
from sklearn.linear_model import Ridge
from tests import fleets
{cls}
rows = fleets.rows(20)
with open(sys.argv[1], "wb") as file:
    {writer}.dump(Mine().fit(rows[["x1", "x2"]], rows["x1"]), file)
"""
CLASS = "class Mine(Ridge): pass"


def script(folder, writer, cls=CLASS):
    """A script that keeps an estimator of a class of its own; returns the file."""
    (folder / "notebook.py").write_text(SCRIPT.format(writer=writer, cls=cls))
    path = folder / "mine.pkl"
    subprocess.run([sys.executable, str(folder / "notebook.py"), str(path)], check=True)
    return path


@pytest.mark.build
@pytest.mark.process
def test_a_class_of_a_notebook(store, tmp_path):
    """A pickle names it and does not hold it; cloudpickle holds it."""
    path = script(tmp_path, "pickle")
    fleet = [f"+models.a={{uri:'{path}',key:{{dow:1}}}}"]

    for more in ((), ("output.method=predict",)):
        found = problem_of(api.validate, *KEYED, *fleet, *more)
        assert found.hint.startswith(
            "Its class was made in a notebook or a script, where nobody else finds it. Write it"
        )
    script(tmp_path, "cloudpickle")
    assert api.build(*KEYED, *fleet).sub_models == 1


@pytest.mark.process
def test_a_class_of_a_notebook_in_a_logged_model(store, tmp_path):
    """The same of a model folder, whose estimator is first loaded when it is packed, or asked for its methods."""
    path = script(tmp_path, "pickle")
    folder = fleets.keep(tmp_path, fleets.fitted(1), EXAMPLE)
    (next((tmp_path / folder).glob("model.*"))).write_bytes(path.read_bytes())
    fleet = [f"+models.a={{uri:'{folder}',key:{{dow:1}}}}"]

    for call, more in ((api.build, ()), (api.validate, ("output.method=score",))):
        found = problem_of(call, *KEYED, *fleet, *more)
        assert "needs 'Mine' of __main__, which only the session that wrote it has." in found.what
        assert "Write it with cloudpickle" in found.hint


@pytest.mark.build
@pytest.mark.process
def test_a_class_of_a_module_that_is_not_here(store, tmp_path, monkeypatch):
    """The model ships it, by value or beside it."""
    (tmp_path / "lost_module.py").write_text("from sklearn.linear_model import Ridge\nclass Mine(Ridge): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import lost_module

    model = lost_module.Mine().fit(EXAMPLE, EXAMPLE["x1"])
    path = tmp_path / "mine.pkl"
    path.write_bytes(pickle.dumps(model))
    import cloudpickle

    cloudpickle.register_pickle_by_value(lost_module)
    whole = cloudpickle.dumps(model)
    cloudpickle.unregister_pickle_by_value(lost_module)
    monkeypatch.delitem(sys.modules, "lost_module")
    (tmp_path / "lost_module.py").rename(tmp_path / "elsewhere.txt")
    fleet = [f"+models.a={{uri:'{path}',key:{{dow:1}}}}"]

    assert "cloudpickle.register_pickle_by_value(<module>)" in problem_of(api.validate, *KEYED, *fleet).hint
    path.write_bytes(whole)
    assert api.build(*KEYED, *fleet).sub_models == 1


@pytest.mark.build
@pytest.mark.filterwarnings("ignore")
def test_types_that_skops_may_not_make_name_the_serialization(store, tmp_path):
    """An estimator of another package is trained with cloudpickle."""
    fleets.rows(60).assign(shop="a").to_csv(tmp_path / "rows.csv", index=False)
    train = (
        "name=shops",
        "routing=column",
        "routing.column=shop",
        f"train.reader.path={tmp_path / 'rows.csv'}",
        "train.target=x2",
        "train.features.numeric=[x1]",
        "train.estimator.class=xgboost.XGBRegressor",
        "+train.estimator.params.n_estimators=2",
    )

    first = problem_of(api.train, *train)
    assert first.where == "train.estimator.class"
    assert first.hint == "If you trust it, add --allow xgboost to the command, or set MMEFRAME_ALLOW=xgboost."

    found = problem_of(api.train, *train, allow=["xgboost"])
    assert found.where == "train.serialization"
    assert found.hint == "Set train.serialization=cloudpickle, for sub-models whose files can run code."
    assert len(api.train(*train, "train.serialization=cloudpickle", allow=["xgboost"]).models) == 1


# -- arms -------------------------------------------------------------------------------------------------------------

DAYS = ("+source@sources.days=registry", "sources.days.name='day_{dow}'")


def test_a_canary_of_a_registered_model_leaves_the_main_one(week):
    """An explicit variant by another id takes nothing from the source of the main ones."""
    canary = "+models.canary={uri:'models:/day_3/1',key:{dow:3},arm:canary}"
    plan = api.plan(*KEYED, *DAYS, canary, week.override)

    arms = {model["id"]: model["arm"] for model in plan["sub_models"]}
    assert arms == {**{f"day_{day}": "main" for day in range(7)}, "canary": "canary"}


def test_a_canary_by_the_id_of_the_main_one(week):
    """It takes its place: the cure gives it an id of its own."""
    entry = "{uri:'models:/day_3/1',key:{dow:3},arm:canary}"

    found = problem_of(api.plan, *KEYED, *DAYS, f"+models.day_3={entry}", week.override)

    assert (found.where, found.what) == ("models.day_3", "'day_3' of arm 'canary' has no main sub-model for its key.")
    assert found.hint == (
        "It replaces the sub-model of sources.days with the same id. Give it another id, with its uri and key:"
        " models.day_3_canary."
    )
    assert api.plan(*KEYED, *DAYS, f"+models.day_3_canary={entry}", week.override)["sub_models"]


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "known", "meant"),
    [
        pytest.param("train.cv", ["train.key", "train.seed", "train.jobs", "train"], None, id="far-leaf"),
        pytest.param("--port", ["--out", "-p", "--params", "--data"], None, id="far-flag"),
        pytest.param("--parms", ["--out", "-p", "--params"], "--params", id="flag"),
        pytest.param("tracking.alais", ["tracking.alias", "tracking.tags"], "tracking.alias", id="leaf"),
        pytest.param("trakcing.alias", ["tracking.alias"], "tracking.alias", id="section"),
        pytest.param("dwo", ["dow", "day"], "dow", id="swapped"),
        pytest.param("COLUMN", ["column"], "column", id="case"),
        pytest.param("colum", ["column", "param"], "column", id="letter"),
        pytest.param("x", ["x1"], "x1", id="short"),
        pytest.param("tracking.tgs", ["tracking.uri", "tracking.tags"], "tracking.tags", id="leaf-of-several"),
        pytest.param("cv", ["key", "seed"], None, id="short-and-far"),
        pytest.param("_ba_a", ["zzz", "_ab_a"], "_ab_a", id="two-letters-swapped-among-equal-ones"),
        pytest.param("", ["a"], None, id="nothing"),
    ],
)
def test_only_near_names_are_suggested(written, known, meant):
    """A far suggestion is worse than none."""
    assert nearest(written, known) == meant


@given(st.text(st.sampled_from("abcdefgh_"), min_size=5, max_size=20), st.data())
def test_a_slip_is_understood(name, data):
    """A letter left out, added or twice, or two in the wrong order: the name is found among others."""
    at = data.draw(st.integers(0, len(name) - 2))
    slips = [
        name[:at] + name[at + 1 :],
        name[:at] + name[at] + name[at:],
        name[:at] + name[at + 1] + name[at] + name[at + 2 :],
    ]

    for slip in slips:
        assert nearest(slip, ["zzzzzzzz", name, "123"]) == name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["train", "train.cv=5"], "train.cv=5: there is no option 'cv' in train.\n  It has: ", id="option"),
        pytest.param(["serve", "--port", "5001"], "there is no flag --port.\n  Run mmeframe --help.", id="flag"),
    ],
)
def test_far_names_are_not_guessed(run, words, said):
    """What exists is listed all the same."""
    done = run(*words)

    assert done.code == 2
    assert said in done.err
    assert "Did you mean" not in done.err


@pytest.mark.parametrize(
    ("words", "told", "cure"),
    [
        pytest.param(["predict", "-o", "x.csv"], "there is no flag -o.", "Did you mean --out? ", id="letter"),
        pytest.param(["predict", "out=x y.csv"], "out=x y.csv: out is a flag.", "Write --out 'x y.csv'.", id="word"),
        pytest.param(["plan", "json=true"], "json=true: json is a flag.", "Write --json.", id="switch"),
        pytest.param(
            ["explain", "rows.CSV"], "rows.CSV: this is not an override: it has no value.", "data=rows.CSV", id="file"
        ),
        pytest.param(
            ["explain", "own.yaml"], "own.yaml: a config file is no override.", "--config-name own", id="conf"
        ),
    ],
)
def test_flags_and_files_that_are_written_otherwise(run, tmp_path, monkeypatch, words, told, cure):
    """A flag as an override, an override without its name, and what other tools call a flag."""
    monkeypatch.chdir(tmp_path)
    for name in ("rows.CSV", "own.yaml"):
        (tmp_path / name).write_text("a\n1\n")

    done = run(*words)

    assert done.code == 2
    assert told in done.err
    assert cure in done.err


@pytest.mark.parametrize("command", ["predict", "train", "plan", "init"])
def test_help_of_a_command_lists_its_flags(run, command):
    """Those that only some take; the others are a command further."""
    done = run(command, "--help")

    listed = done.out.partition("\nFlags (those of every command: mmeframe --help):\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == [
        name for name in COMMANDS[command].flags if FLAGS[name].help
    ]


@pytest.mark.process
@pytest.mark.parametrize("written", ["3", "1.5", "true", "-7"])
@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("routing.column", "{}"),
        ("+models.a.uri", "{}"),
        ("+models.a.key.dow", "{}"),
        ("train.features.numeric", "[{}]"),
    ],
)
def test_what_yaml_misreads_is_quoted_for_the_shell_too(run, path, at, written):
    """On a command line, where the shell takes the first pair of quotes away: as text it is no type that is refused."""

    def problems(value):
        line = f"printf %s {path}={at.format(value)}"
        override = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
        return run("validate", "name=r", "routing=column", override).err

    refused, cured = problems(written), problems(f"\"'{written}'\"")

    assert (QUOTE in refused) == (path != "+models.a.key.dow" or written in ("1.5", "true"))
    assert "YAML read this" not in cured
    assert "this is not an override" not in cured


@pytest.mark.build
@pytest.mark.parametrize("loader", ["auto", "pyfunc"])
def test_a_declared_signature_that_misspells_a_column(store, keep, loader):
    """What it was fitted on is named, and no way around the proof is offered; with the name, it answers."""
    path = keep(fleets.fitted(0), EXAMPLE)
    inputs = "signature:{inputs:{%s:double,x2:double},outputs:double}"
    declared = f"+models.a={{uri:'{path}',key:{{dow:0}},loader:{loader},{inputs}}}"

    found = problem_of(api.build, *KEYED, declared % "x_one")

    assert found.what.startswith("it answered none of its probe rows: ")
    assert "x1" in found.what
    assert found.hint == (
        "It was fitted on 'x1', which its signature does not declare. Instead it declares: x_one. Mend "
        "models.a.signature, or log the sub-model with the signature of the frame that it was fitted on."
    )
    api.build(*KEYED, declared % "x1")


# -- what a walk through a store of one's own met -------------------------------------------------------------------


def test_a_map_that_cannot_become_a_list(tmp_path):
    """What is suggested is not what was typed, and it works."""
    text = "defaults: [build, _self_]\nname: r\nrouting: {kind: column, column: key}\n"
    (tmp_path / "own.yaml").write_text(f"{text}models: {{a: {{uri: m, signature: {{inputs: {{x: double}}}}}}}}\n")
    typed = "models.a.signature.inputs=[x,y]"

    found = problem_of(api.compose, typed, config_dirs=[tmp_path], config_name="own")

    assert found.where == typed
    assert found.what == "models.a.signature.inputs is a map in the config, and cannot become a list."
    replaced = found.hint.removeprefix("Give a map, or replace it: ").removesuffix(".").split()
    spec = api.compose(*replaced, config_dirs=[tmp_path], config_name="own")
    assert list(spec.models[0].signature["inputs"]) == ["x", "y"]


def test_a_model_whose_versions_are_gone(store):
    """It may be deleted, as is told."""
    for name in ("m_1", "m_2"):
        fleets.log_sklearn(fleets.fitted(1), name, EXAMPLE)
    mlflow.MlflowClient().delete_model_version("m_2", "1")
    source = ("+source@sources.all=registry", 'sources.all.name="m_{dow}"', "sources.all.version=latest")

    found = problem_of(api.plan, *KEYED, *source)

    assert "'m_2' has no versions; register one, or delete it" in found.what
    mlflow.MlflowClient().delete_registered_model("m_2")
    assert [it["id"] for it in api.plan(*KEYED, *source)["sub_models"]] == ["m_1"]


def test_a_source_that_fails_makes_no_further_problems(store):
    """Entries that add something to what it would bring are not said to lack a URI."""
    source = ("+source@sources.all=registry", 'sources.all.name="absent_{dow}"')

    found = problem_of(api.plan, *KEYED, *source, "+models.absent_1.signature={inputs:{x:double},outputs:double}")

    assert "no registered model matches" in found.what
