"""Bare estimator files: described by loading them, or by what config declares, and served like any sub-model."""

from __future__ import annotations

import pickle
import re
import shutil
import types

import cloudpickle
import joblib
import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeClassifier

from mmeframe import api
from mmeframe.builtin.sklearn_loader import SklearnConf
from mmeframe.errors import MissingError, PluginError, ProblemsError
from mmeframe.plugin import ModelLoaderPlugin, hookimpl
from mmeframe.plugin.manager import isolated_plugins
from tests import fleets

ROUTED = ("name=files", "routing=column", "routing.column=dow")
FOLDER = ("+source@sources.f=folder", "sources.f.path=models", "sources.f.pattern='{dow}.*'")


def nameless():
    """A Ridge that was fitted on an array."""
    frame = fleets.rows(20)[["x1", "x2"]].to_numpy()
    return Ridge().fit(frame, frame[:, 0])


def write(folder, name, model):
    folder.mkdir(exist_ok=True)
    path = folder / name
    if path.suffix == ".joblib":
        joblib.dump(model, path)
    elif path.suffix == ".skops":
        skops.io.dump(model, path)
    else:
        path.write_bytes((cloudpickle if path.suffix == ".cloudpickle" else pickle).dumps(model))
    return path


def problems(*overrides):
    with pytest.raises(ProblemsError) as caught:
        api.validate(*ROUTED, *overrides)
    return str(caught.value)


@pytest.mark.build
def test_files_of_all_formats_are_served(store):
    """Their answers are the estimators' own; requirements are those of the loader, as installed."""
    names = ["0.pkl", "1.pickle", "2.cloudpickle", "3.joblib", "4.skops"]
    for seed, name in enumerate(names):
        write(store.folder / "models", name, fleets.fitted(seed))

    logged = api.build(*ROUTED, *FOLDER, store.override)
    router = mlflow.pyfunc.load_model(logged.model_uri)

    rows = pd.DataFrame({"x1": 1.0, "x2": 2.0, "dow": range(5)})
    own = [fleets.fitted(seed).predict(rows.loc[[seed], ["x1", "x2"]])[0] for seed in range(5)]
    assert np.allclose(np.ravel(router.predict(rows)), own)
    needed = mlflow.artifacts.load_text(f"{logged.model_uri}/requirements.txt").split()
    assert {line.split("==")[0] for line in needed} >= {"scikit-learn", "numpy", "joblib", "skops", "cloudpickle"}


def test_what_a_file_does_not_say_is_found_by_asking(store):
    """Columns are those that it was fitted with, as doubles; answers those that it gives."""
    frame = fleets.rows(20)
    write(store.folder / "models", "0.pkl", DecisionTreeClassifier().fit(frame[["x1", "x2"]], ["a", "b"] * 10))

    (model,) = api.validate(*ROUTED, *FOLDER).models

    assert [(column.name, column.type) for column in model.inputs] == [("x1", "double"), ("x2", "double")]
    assert [column.type for column in model.outputs.columns] == ["string"]


@pytest.mark.parametrize(
    "inputs", [pytest.param("{a:long,b:double}", id="types"), pytest.param("[a,b]", id="all-doubles")]
)
def test_a_declared_signature_is_enough(store, inputs):
    """Files without names of columns need one; then nothing is loaded, not even what cannot be."""
    (store.folder / "models").mkdir()
    (store.folder / "models/0.pkl").write_bytes(b"no pickle")

    (model,) = api.validate(*ROUTED, *FOLDER, f"sources.f.signature={{inputs:{inputs},outputs:double}}").models

    assert [column.name for column in model.inputs] == ["a", "b"]
    assert [column.type for column in model.outputs.columns] == ["double"]


def test_an_entrys_signature_wins_over_its_sources(store):
    """As every field of an explicit entry does."""
    write(store.folder / "models", "one.pkl", nameless())
    write(store.folder / "models", "two.pkl", nameless())
    signatures = ("sources.f.signature={inputs:[a,b],outputs:double}", "+models.two.signature={inputs:[c,d]}")

    fleet = api.validate(*ROUTED, *FOLDER, *signatures)

    columns = {model.id: [column.name for column in model.inputs] for model in fleet.models}
    assert columns == {"one": ["a", "b"], "two": ["c", "d"]}


def test_a_model_folder_without_a_signature_takes_the_declared_one(store):
    """What config declares stands in place of what files say."""
    example = fleets.rows(5)[["x1", "x2"]]
    fleets.log_sklearn(fleets.fitted(0), "day_0", example, signature=None)
    model = "+models.a={uri:'models:/day_0/1',key:{dow:0},signature:{inputs:[x1,x2],outputs:double}}"

    (found,) = api.validate(*ROUTED, model).models

    assert [column.name for column in found.inputs] == ["x1", "x2"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(pickle.dumps({"a": 1}), "models/0.pkl holds a dict, which has no predict.", id="no-model"),
        pytest.param(b"no pickle", "models/0.pkl cannot be loaded: UnpicklingError", id="broken"),
        pytest.param(pickle.dumps(nameless()), "it was fitted without names of columns", id="no-names"),
    ],
)
def test_files_that_cannot_be_described(store, content, text):
    """The sub-model is named, and what to declare."""
    (store.folder / "models").mkdir()
    (store.folder / "models/0.pkl").write_bytes(content)

    found = problems(*FOLDER)

    assert f"models.0: {text}" in found


@pytest.mark.build
@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(
            pickle.dumps({"a": 1}), "models.0: models/0.pkl holds a dict, which has no predict.", id="no-model"
        ),
        pytest.param(
            pickle.dumps(nameless())[:-9], "\n  models/0.pkl must be whole, and written by the library", id="truncated"
        ),
    ],
)
def test_files_with_a_declared_signature_are_loaded_too(store, content, text):
    """Nobody asks them what they answer, but what is no model is not registered."""
    (store.folder / "models").mkdir()
    (store.folder / "models/0.pkl").write_bytes(content)
    declared = "+sources.f.signature={inputs:[x1,x2],outputs:double}"

    with pytest.raises(ProblemsError) as caught:
        api.build(*ROUTED, *FOLDER, declared, store.override)

    assert text in str(caught.value)
    assert not mlflow.MlflowClient(store.uri).search_registered_models()


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        pytest.param(
            "gone.pkl",
            "gone.pkl.\n  Relative paths are from the working directory",
            id="gone",
        ),
        pytest.param("a.bin", "or a file: .pkl, .pickle, .cloudpickle, .joblib, .skops", id="unknown-suffix"),
    ],
)
def test_files_that_are_no_models(store, uri, text):
    """What exists, and what would be taken."""
    (store.folder / "a.bin").write_bytes(b"")

    assert text in problems(f"+models.a={{uri:{uri},key:{{dow:0}}}}")


def test_arms_of_a_manifest_have_ids_of_their_own(store):
    """A row of another arm than main has the id <id>~<arm>, and needs the main one of its key."""
    write(store.folder / "models", "0.pkl", fleets.fitted(0))
    path = store.folder / "m.csv"
    path.write_text("id,uri,dow,arm,loader\na,models/0.pkl,0,,sklearn\na,models/0.pkl,0,canary,\n")

    fleet = api.validate(*ROUTED, "+source@sources.m=manifest", f"sources.m.path={path}", "+traffic.arms.canary=0.5")

    assert [(model.id, model.arm) for model in fleet.models] == [("a", "main"), ("a~canary", "canary")]


def test_a_loader_of_a_manifest_that_nobody_offers(store):
    """The row is named, and the nearest loader."""
    path = store.folder / "m.csv"
    path.write_text("id,uri,dow,loader\na,models/0.pkl,0,sklern\n")

    found = problems("+source@sources.m=manifest", f"sources.m.path={path}")

    assert "sources.m row 1.loader: no model loader named 'sklern'.\n  Did you mean 'sklearn'?" in found


@pytest.mark.build
def test_ids_are_any_text(store):
    """Slashes, dots, other scripts and 300 letters are ids as good as any, from the manifest to the answer."""
    ids = ["a/b/../c", ".hidden.", "北京 ü", "x" * 300]
    write(store.folder / "models", "0.pkl", fleets.fitted(0))
    pd.DataFrame({"id": ids, "uri": "models/0.pkl", "dow": range(4)}).to_parquet("m.parquet")

    logged = api.build(*ROUTED, "+source@sources.m=manifest", "sources.m.path=m.parquet", store.override)
    router = mlflow.pyfunc.load_model(logged.model_uri)
    answer = router.predict(pd.DataFrame({"x1": 0.0, "x2": 0.0, "dow": range(4)}), params={"annotate": True})

    assert answer["model_id"].tolist() == ids


@pytest.mark.parametrize("lost", ["models", "mlflow.db"])
def test_what_goes_away_between_plan_and_build(store, lost):
    """The build says what is not there, and registers nothing."""
    write(store.folder / "models", "0.pkl", fleets.fitted(0))
    api.validate(*ROUTED, *FOLDER, store.override)
    path = store.folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    overrides = (*FOLDER, store.override) if lost == "models" else ("+models.a.uri=models:/a/1", store.override)

    with pytest.raises((ProblemsError, MissingError)) as caught:
        api.build(*ROUTED, *overrides)

    assert ("does not exist" in str(caught.value)) or ("there is no store" in str(caught.value))


@pytest.mark.build
def test_files_of_other_libraries(module_store, tmp_path):
    """A booster's own format brings its columns; the answers are what its library gives."""
    import catboost
    import lightgbm
    import xgboost

    frame = fleets.rows(40)[["x1", "x2"]]
    target = frame["x1"] * 2
    tree = xgboost.train({"max_depth": 2}, xgboost.DMatrix(frame, target), 3)
    leaf = lightgbm.train(
        {"verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(frame, target.to_numpy()), num_boost_round=3
    )
    cat = catboost.CatBoost({"iterations": 3, "depth": 2, "logging_level": "Silent", "allow_writing_files": False})
    cat.fit(frame, target)
    tree.save_model(tmp_path / "tree.ubj")
    leaf.save_model(tmp_path / "leaf.txt")
    cat.save_model(str(tmp_path / "cat.cbm"))
    declared = "signature:{inputs:{x1:double,x2:double},outputs:double}"
    models = [f"+models.{path.stem}={{uri:'{path}',{declared}}}" for path in sorted(tmp_path.iterdir())]

    logged = api.build("name=libraries", "routing=column", "routing.column=key", *models, module_store.override)

    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
    expected = {
        "tree": tree.predict(xgboost.DMatrix(frame)),
        "leaf": leaf.predict(frame),
        "cat": cat.predict(frame),
    }
    for name, answer in expected.items():
        np.testing.assert_allclose(router.predict(frame.assign(key=name)), answer, rtol=1e-6)
    assert all(record.memory > 0 for record in router.records)


def reader(name, **record):
    """A plugin with a loader that reads ``.pipe`` files as scikit-learn's reads those of joblib."""
    options = {"pickled_model": "{name}", "serialization_format": record.pop("format", "joblib")}
    record = {"flavors": (name,), "suffixes": {".pipe": options}, **record}

    @hookimpl
    def loaders():
        target = "mmeframe.builtin.sklearn_loader:SklearnLoader"
        return [ModelLoaderPlugin(name, SklearnConf, target, "pipes", **record)]

    return types.SimpleNamespace(__name__=name, mmeframe_model_loaders=loaders)


def test_a_suffix_of_a_plugin(store):
    """A loader of a plugin reads files of its own suffix, in the flavor and with the options that it declares."""
    write(store.folder, "a.joblib", fleets.fitted(0)).rename("a.pipe")
    plugins = isolated_plugins(reader("pipes"))
    entry = "+models.a={uri: a.pipe, key: {dow: 0}}"

    (model,) = api.validate(*ROUTED, entry, plugins=plugins).models

    assert (model.flavor, model.loader.kind, [it.name for it in model.inputs]) == ("pipes", "pipes", ["x1", "x2"])
    assert (model.options["pickled_model"], model.options["serialization_format"]) == ("model.pipe", "joblib")
    with pytest.raises(ProblemsError, match=r"or a file: \.pkl, .*, \.pipe\."):
        api.validate(*ROUTED, "+models.a={uri: a.bin, key: {dow: 0}}", plugins=plugins)


def test_a_suffix_of_two_loaders(store):
    """Where they read it in different ways, a config chooses one."""
    write(store.folder, "a.joblib", fleets.fitted(0)).rename("a.pipe")

    plugins = isolated_plugins(reader("pipes"), reader("other", format="pickle"))
    entry = "+models.a={uri: a.pipe, key: {dow: 0}%s}"

    (model,) = api.validate(*ROUTED, entry % ", loader: pipes", plugins=plugins).models

    assert model.flavor == "pipes"
    with pytest.raises(ProblemsError) as caught:
        api.validate(*ROUTED, entry % "", plugins=plugins)
    assert "models.a: two model loaders read .pipe in different ways: 'pipes' of" in str(caught.value)
    assert "Choose one with models.<id>.loader" in str(caught.value)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        pytest.param({"flavors": ()}, "the files of its suffixes need a flavor: flavors=(...).", id="no-flavor"),
        pytest.param({"suffixes": {"pipe": {}}}, "a suffix is written '.ext', not 'pipe'.", id="no-dot"),
        pytest.param({"suffixes": {".pipe": {"data": "{file}"}}}, "the options of .pipe are texts, with", id="braces"),
    ],
)
def test_suffixes_that_cannot_be_used(record, text):
    """The plugin is broken, and says why."""
    with pytest.raises(PluginError, match=re.escape(f"model loader 'pipes': {text}")):
        isolated_plugins(reader("pipes", **record))
