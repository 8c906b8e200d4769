"""What a training leaves in the store, what it says, and what it refuses before it begins."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from mmeframe import api
from mmeframe.errors import ConfigError, ProblemsError
from mmeframe.store.cleanup import BUILD_TAG
from mmeframe.train.metrics import Answers, answers_of
from tests import fleets


@pytest.fixture
def shops(store, tmp_path):
    """Two shops in two regions, thirty rows each; overrides that train Ridge on them, one sub-model per shop."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.standard_normal(120), "z": random.standard_normal(120)})
    table["y"] = table["x"] * 2 + 1
    table["shop"] = np.repeat(["b", "a"], 60)
    table["region"] = np.tile(np.repeat([10, 9], 30), 2)
    table["label"] = np.where(table["x"] + table["z"] > 0, "yes", "no")
    table.to_csv(tmp_path / "shops.csv", index=False)
    return (
        "name=shops",
        "+routing@routing.keys.shop=column",
        "routing.keys.shop.column=shop",
        "+routing@routing.keys.region=column",
        "routing.keys.region.column=region",
        "train.key=shop",
        f"train.reader.path={tmp_path / 'shops.csv'}",
        "train.target=y",
        "train.features.numeric=[x,z]",
        "train.estimator.class=sklearn.linear_model.Ridge",
        "train.global_as=everywhere",
    )


def change(tmp_path: Path, **columns: object) -> None:
    """Replace columns of the table."""
    pd.read_csv(tmp_path / "shops.csv").assign(**columns).to_csv(tmp_path / "shops.csv", index=False)


def trained(overrides, *more):
    return api.train(*overrides, *more, plugins=fleets.plugins())


# -- what is logged --------------------------------------------------------------------------------------------------


@pytest.mark.build
def test_parameters_config_overrides_and_tags_are_logged(shops):
    """The run and each sub-model have what the fits depend on; secrets are hidden."""
    more = ("+train.estimator.params.alpha=0.5", "+tracking.tags.team=sales", "+tracking.tags.api_token=hunter2")
    made = trained(shops, *more)

    client = MlflowClient()
    run = client.get_run(made.run_id)
    files = {file.path for file in client.list_artifacts(made.run_id, "mmeframe")}
    assert files == {"mmeframe/config.yaml", "mmeframe/overrides.txt"}
    assert run.data.params["estimator.class"] == "sklearn.linear_model.Ridge"
    assert (run.data.tags["team"], run.data.tags["mlflow.source.name"]) == ("sales", "mmeframe train")
    for model in made.models:
        logged = client.get_logged_model(model.model_id)
        version = client.get_model_version(model.name, model.version)
        assert logged.params == run.data.params
        assert logged.params["estimator.params.alpha"] == "0.5"
        assert (logged.tags["team"], version.tags["team"]) == ("sales", "sales")
        assert "hunter2" not in str([logged.tags, version.tags, run.data.tags])


@pytest.mark.build
def test_the_next_training_closes_what_a_kill_left(shops):
    """A run that never ended and a model that nobody registered go; what was registered is whole, and stays."""
    client = MlflowClient()
    first = trained(shops)
    host, pid, _, number = client.get_run(first.run_id).data.tags[BUILD_TAG].split(":")
    # Of a process that had this number once.
    run = client.create_run("0", tags={BUILD_TAG: f"{host}:{pid}:1:{number}"}).info.run_id
    half = client.create_logged_model("0", name="half", source_run_id=run).model_id
    whole = first.models[0]
    client.create_model_version(whole.name, f"models:/{whole.model_id}", run, model_id=whole.model_id)

    trained(shops)

    assert client.get_run(run).info.status == "KILLED"
    assert half not in {model.model_id for model in client.search_logged_models(["0"])}
    assert [version.run_id for version in client.search_model_versions(f"run_id = '{run}'")] == [run]


@pytest.mark.build
def test_metrics_stand_on_each_logged_model(shops):
    """Each has its own numbers, and those of the global one for the same rows."""
    made = trained(shops)

    for model in made.models:
        found = {it.key: it.value for it in MlflowClient().get_logged_model(model.model_id).metrics}
        assert found.pop("holdout_rmse") == model.metrics["rmse"]
        assert found == {f"global_holdout_{name}": value for name, value in model.global_metrics.items()}
    assert len({model.metrics["rmse"] for model in made.models}) == 3


@pytest.mark.build
def test_several_key_parts(shops):
    """One sub-model for each combination, under a name with all parts, tagged with each; sorted by key."""
    overrides = [it for it in shops if not it.startswith("train.key")]
    made = trained(overrides, "train.key=[shop,region]", "train.min_rows=5")

    assert [(model.name, dict(model.parts), model.rows) for model in made.models] == [
        ("shops_a_9", {"shop": "a", "region": "9"}, 24),
        ("shops_a_10", {"shop": "a", "region": "10"}, 24),
        ("shops_b_9", {"shop": "b", "region": "9"}, 24),
        ("shops_b_10", {"shop": "b", "region": "10"}, 24),
        ("everywhere", {}, 96),
    ]
    assert [model.key for model in made.models] == [
        "shop=a, region=9", "shop=a, region=10", "shop=b, region=9", "shop=b, region=10", None
    ]  # fmt: skip
    version = MlflowClient().get_model_version("shops_a_9", "1")
    assert (version.tags["shop"], version.tags["region"]) == ("a", "9")


# -- classifiers -----------------------------------------------------------------------------------------------------

CLASSIFIERS = {
    "logistic": (LogisticRegression(), {"accuracy", "log_loss", "roc_auc"}),
    "tree": (DecisionTreeClassifier(max_depth=3, random_state=0), {"accuracy", "log_loss", "roc_auc"}),
    "without-probabilities": (LinearSVC(), {"accuracy", "roc_auc"}),
}


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True], [1.0, 2.0]], ids=str)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_metrics_of_two_classes(name, labels):
    """Accuracy, log loss and ROC AUC are scikit-learn's, for labels of any type."""
    random = np.random.default_rng(1)
    features = random.standard_normal((200, 2))
    true = np.array(labels, object if isinstance(labels[0], str) else None)[(features.sum(axis=1) > 0).astype(int)]
    true[:30] = true[30:60]
    estimator, expected = CLASSIFIERS[name]
    estimator.fit(features[:100], true[:100])

    found = answers_of(estimator, features[100:], true[100:]).metrics()

    assert set(found) == expected
    assert found["accuracy"] == accuracy_score(true[100:], estimator.predict(features[100:]))
    if "log_loss" in expected:
        chances = estimator.predict_proba(features[100:])
        assert found["log_loss"] == pytest.approx(log_loss(true[100:], chances, labels=estimator.classes_))
        assert found["roc_auc"] == pytest.approx(roc_auc_score(true[100:] == labels[1], chances[:, 1]))
    else:
        score = estimator.decision_function(features[100:])
        assert found["roc_auc"] == pytest.approx(roc_auc_score(true[100:] == labels[1], score))


@settings(max_examples=30, deadline=None)
@given(true=st.lists(st.sampled_from("abcd"), max_size=8), seed=st.integers(0, 9))
def test_metrics_of_any_held_out_labels(true, seed):
    """Labels that a sub-model has never seen, one class only, or no rows at all: finite numbers, or none."""
    chances = np.random.default_rng(seed).dirichlet([1, 1, 1], len(true))
    classes = np.array(["a", "b", "c"], object)
    answers = Answers(np.array(true, object), classes[chances.argmax(axis=1)], classes, chances)

    found = answers.metrics()

    assert set(found) == ({"accuracy", "log_loss"} if true else set())
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.build
@pytest.mark.parametrize("estimator", ["linear_model.LogisticRegression", "ensemble.HistGradientBoostingClassifier"])
def test_classifiers_of_text_report_their_metrics(shops, run, estimator):
    """Labels may be text; the table names each metric, of the sub-model and of the global one."""
    done = run("train", *shops, "train.target=label", f"train.estimator.class=sklearn.{estimator}")

    assert (done.code, done.err) == (0, "")
    for title in ("accuracy", "log loss", "ROC AUC"):
        assert f"holdout {title}" in done.out
        assert f"global's {title}" in done.out
    assert "RMSE" not in done.out


@pytest.mark.build
def test_warnings_are_counted_not_printed(shops, run, recwarn):
    """What a library warns of is one line, whatever the number of fits."""
    few = "+train.estimator.params={max_iter:1}"
    done = run(
        "train", *shops, "train.target=label", "train.estimator.class=sklearn.linear_model.LogisticRegression", few
    )

    assert done.err == "warning: the fits warned 3 times with ConvergenceWarning\n"
    # What other tests left open may be collected now.
    assert {it.category.__name__ for it in recwarn} <= {"ResourceWarning"}


# -- keys that cannot be fitted --------------------------------------------------------------------------------------


@pytest.mark.build
def test_a_key_that_cannot_be_fitted_may_be_skipped(shops, tmp_path, run):
    """With train.on_error=skip it is reported, and the others are trained."""
    table = pd.read_csv(tmp_path / "shops.csv")
    change(tmp_path, x=table["x"].where((table["shop"] != "a") | (table["region"] != 9)))

    with pytest.raises(ConfigError, match="shop 'a' cannot be trained"):
        trained(shops)
    made = trained(shops, "train.on_error=skip")
    shown = run("train", *shops, "train.on_error=skip")

    assert [model.key for model in made.models] == ["b"]
    assert list(made.failed) == ["a", "(all)"]
    assert "shop 'a' cannot be trained: sklearn.linear_model.Ridge raised ValueError, for missing" in made.failed["a"]
    assert "key a got no sub-model: the sub-model of shop 'a' cannot be trained" in shown.out
    assert MlflowClient().search_registered_models("name = 'shops_a'") == []


def test_nothing_that_can_be_fitted_is_an_error(shops, tmp_path):
    """Skipping all is no success."""
    change(tmp_path, x=np.nan)

    with pytest.raises(ConfigError, match="no sub-model can be trained"):
        trained(shops, "train.on_error=skip")


# -- before the first fit --------------------------------------------------------------------------------------------

LOCAL = """
from sklearn.linear_model import Ridge

class Mine(Ridge):
    def fit(self, X, y):
        raise SystemExit("a fit has begun")
"""


@pytest.fixture
def local(tmp_path, monkeypatch):
    """A module that lies on the path and belongs to no distribution."""
    (tmp_path / "local_estimators.py").write_text(LOCAL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MMEFRAME_ALLOW", "local_estimators")
    yield ("train.estimator.class=local_estimators.Mine",)
    sys.modules.pop("local_estimators", None)


def refused(overrides, *more):
    with pytest.raises((ConfigError, ProblemsError)) as caught:
        trained(overrides, *more)
    assert MlflowClient().search_registered_models() == []
    error = caught.value
    return error if isinstance(error, ConfigError) else error.problems[0]


@pytest.mark.parametrize("serialization", ["skops", "cloudpickle"])
def test_a_module_without_a_distribution_is_refused(shops, local, serialization):
    """Nothing could require it, whatever writes the sub-models."""
    error = refused(shops, *local, f"train.serialization={serialization}")

    assert error.where == "train.estimator.class"
    assert error.what == "local_estimators is not installed as a distribution, so a router could not require it."


def test_an_estimator_that_skops_does_not_know_is_refused(shops, local, tmp_path):
    """The cure is another serialization, and it works: the fit begins."""
    home = tmp_path / "local_estimators-1.dist-info"
    home.mkdir()
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: local-estimators\nVersion: 1\n")
    (home / "RECORD").write_text("local_estimators.py,,\n")
    error = refused(shops, *local)

    assert (error.where, error.what) == (
        "train.serialization",
        "a skops file that loads everywhere cannot hold these types: local_estimators.Mine.",
    )
    assert error.hint == "Set train.serialization=cloudpickle, for sub-models whose files can run code."
    with pytest.raises(SystemExit, match="a fit has begun"):
        trained(shops, *local, "train.serialization=cloudpickle")


def test_a_store_that_takes_no_artifacts_is_refused(shops, tmp_path):
    """The run's config is written before the fits."""
    (tmp_path / "file").write_text("no folder")
    MlflowClient().create_experiment("closed", artifact_location=(tmp_path / "file" / "artifacts").as_uri())
    error = refused(shops, "tracking.experiment_name=closed")

    assert error.where == "tracking.uri"
    assert error.what == "the store's artifacts cannot be written: Not a directory."
    (run,) = MlflowClient().search_runs([MlflowClient().get_experiment_by_name("closed").experiment_id])
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_refused(shops, seed):
    """By the config, not by numpy or scikit-learn."""
    with pytest.raises(ProblemsError) as caught:
        trained(shops, f"train.seed={seed}")

    assert [problem.where for problem in caught.value.problems] == ["train.seed"]


def test_whatever_a_store_refuses_names_it(shops, monkeypatch):
    """Also what is no error of the system: libraries that are not here, databases that cannot be written."""
    MlflowClient().create_experiment("elsewhere", artifact_location="nowhere://x")
    error = refused(shops, "tracking.experiment_name=elsewhere")

    assert error.what.startswith("the store's artifacts cannot be written: MlflowException: Could not find")
    monkeypatch.chdir(Path(MlflowClient().tracking_uri.removeprefix("sqlite:///")).parent)
    error = refused(shops, 'tracking.uri="sqlite:///file:mlflow.db?mode=ro&uri=true"')
    assert (error.where, error.what) == (
        "tracking.uri",
        "the store cannot be written: OperationalError: attempt to write a readonly database.",
    )


@pytest.mark.parametrize("known", [False, True], ids=["new-name", "known-name"])
def test_a_registry_that_takes_nothing_is_known_before_the_first_fit(shops, monkeypatch, known):
    """It may be another store than the one that takes the run; what was written to try it is gone."""
    client = MlflowClient()
    if known:
        client.create_registered_model("shops_a")
    file = client.tracking_uri.removeprefix("sqlite:///")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///file:{file}?mode=ro&uri=true")
    with pytest.raises(ConfigError) as caught:
        trained(shops)

    assert caught.value.where == "MLFLOW_REGISTRY_URI"
    assert caught.value.what.startswith("the registry cannot be written: OperationalError: attempt to write a readonly")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    found = MlflowClient().search_registered_models()
    assert [(it.name, it.tags) for it in found] == ([("shops_a", {})] if known else [])


LOUD = """
import os
from sklearn.linear_model import Ridge

class Loud(Ridge):
    def fit(self, X, y):
        print("from Python")
        os.write(1, b"from compiled code\\n")
        return super().fit(X, y)
"""


@pytest.mark.build
def test_what_libraries_print_while_they_fit_is_not_among_the_results(shops, tmp_path, capfd, monkeypatch):
    """Neither Python's nor what is written past it; what is printed before and after is there."""
    (tmp_path / "local_loud.py").write_text(LOUD)
    home = tmp_path / "local_loud-1.dist-info"
    home.mkdir()
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: local-loud\nVersion: 1\n")
    (home / "RECORD").write_text("local_loud.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MMEFRAME_ALLOW", "local_loud")
    print("before")
    trained(shops, "train.estimator.class=local_loud.Loud", "train.serialization=pickle")
    print("after")

    said = capfd.readouterr().out
    assert "from" not in said
    assert said.split() == ["before", "after"]


@pytest.mark.parametrize("estimator", ["decomposition.PCA", "preprocessing.StandardScaler"])
def test_what_answers_no_rows_is_refused_before_the_first_fit(shops, estimator):
    """Scikit-learn has more than estimators."""
    error = refused(shops, f"train.estimator.class=sklearn.{estimator}", "~train.estimator.params")

    assert error.where == "train.estimator.class"
    assert error.what == f"sklearn.{estimator} cannot score rows: it has no predict."


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        pytest.param(
            "train.global_as=shops_a", "train.global_as", "'shops_a' is also the name of a key's", id="a-key's"
        ),
        pytest.param(
            "train.global_as=shops", "train.global_as", "'shops' is also the name of the router", id="the-router's"
        ),
        pytest.param(
            "tracking.register_as=shops_b", "train.register_as", "registered as 'shops_b'", id="a-key's-router"
        ),
    ],
)
def test_names_that_collide_are_refused(shops, override, where, what):
    """One would take the other's alias away."""
    error = refused([it for it in shops if "global_as" not in it], override)

    assert error.where == where
    assert what in error.what


@pytest.mark.build
def test_keys_that_share_a_name_are_refused(shops, tmp_path):
    """1_2 and 3 are not 1 and 2_3."""
    change(tmp_path, shop=np.repeat(["a_b", "a"], 60), region=np.repeat(["c", "b_c"], 60))
    overrides = [it for it in shops if not it.startswith("train.key")]
    error = refused(overrides, "train.key=[shop,region]")

    assert (error.where, error.what) == ("train.register_as", "2 keys would share registered names.")
    assert len(trained(overrides, "train.key=[shop,region]", "train.register_as='{shop}__{region}'").models) == 3


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        pytest.param("train.features.categorical=[z]", "train.features", "'z' is named twice", id="two-roles"),
        pytest.param("train.target=x", "train.features", "'x' is named twice", id="the-target-as-a-feature"),
        pytest.param("train.alias=latest", "train.alias", "MLflow takes letters", id="alias"),
        pytest.param("train.register_as='a/{shop}'", "train.register_as", "MLflow refuses /", id="slash"),
        pytest.param("train.global_as='a:b'", "train.global_as", "MLflow refuses :", id="colon"),
        pytest.param("train.register_as='{shop}{shp}'", "train.register_as", "{shp} is no part of", id="part"),
        pytest.param("train.key=[shop,regio]", "train.key", "'regio' is no key part", id="key"),
        pytest.param("train.register_as=x", "train.register_as", "does not contain {shop}", id="lost"),
    ],
)
def test_what_mlflow_refuses_is_a_problem_of_the_config(shops, override, where, what):
    """Names and aliases are checked with the config."""
    with pytest.raises(ProblemsError) as caught:
        trained([it for it in shops if not it.startswith(override.partition("=")[0])], override)

    assert [(it.where, what in it.what) for it in caught.value.problems] == [(where, True)]


# -- sweeps ----------------------------------------------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize("alias", [None, "candidate"])
def test_a_sweep_labels_its_trials_and_moves_no_alias(shops, run, monkeypatch, alias):
    """What was the champion stays; an alias that the command line names is moved."""
    trained(shops)
    swept = ["+train.estimator.params.alpha=1,2", *([f"train.alias={alias}"] if alias else [])]
    monkeypatch.setattr(sys, "argv", [])
    done = run("train", "-m", *shops, *swept)

    client = MlflowClient()
    assert done.code == 0
    trials = {run.info.run_name: run.data.tags.get("mmeframe.trial") for run in client.search_runs(["0"])}
    assert trials == {
        "train-shops": None,
        "train-shops +train.estimator.params.alpha=1": "+train.estimator.params.alpha=1",
        "train-shops +train.estimator.params.alpha=2": "+train.estimator.params.alpha=2",
    }
    aliases = dict(client.get_registered_model("shops_a").aliases)
    assert aliases == {"champion": 1} | ({"candidate": 3} if alias else {})
    version = client.get_model_version("shops_a", "2")
    assert version.tags["mmeframe.trial"] == "+train.estimator.params.alpha=1"
    assert ("a sweep moves no alias" in done.err) == (alias is None)
