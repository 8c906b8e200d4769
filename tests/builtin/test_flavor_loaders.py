"""Loaders of the flavors that people have: each answers what MLflow's own pyfunc of that flavor answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.models import infer_signature

from mmeframe import api
from mmeframe.errors import BadInputError, CorruptBundleError, MmeframeError, ModelError, ProblemsError
from mmeframe.runtime import Router
from mmeframe.testing import LoaderCase, ModelLoaderConformance
from tests import flavors, fleets
from tests.conftest import Store
from tests.flavors import ALL, GROUPED, ROWS

pytestmark = pytest.mark.build

# The small groups have a sub-model of each library, too.
EVERY = pytest.mark.parametrize(
    ("group", "flavor", "name"),
    [
        pytest.param(*case, id="-".join(case), marks=[] if case[0] in ("numbers", "labels") else [pytest.mark.smoke])
        for case in ALL
    ],
)
ROUTED = ("routing=column", "routing.column=key")
ROOT = Path(__file__).resolve().parents[2]


def saved(group: str, flavor: str, name: str) -> Callable[[Path], str]:
    return lambda folder: GROUPED[group][flavor][name].save(flavor, folder)


def kept(folder: Path) -> str:
    from sklearn.linear_model import LinearRegression

    return fleets.keep(folder, LinearRegression().fit(ROWS, flavors.NUMBER), ROWS)


@pytest.mark.process
@pytest.mark.smoke
class TestBuiltins(ModelLoaderConformance):
    """What every loader promises, on a sub-model of each library."""

    cases = (
        LoaderCase("sklearn", kept, ROWS),
        LoaderCase("pyfunc", kept, ROWS),
        LoaderCase("xgboost", saved("numbers", "xgboost", "booster"), ROWS, id="xgboost"),
        LoaderCase("xgboost", saved("labels", "xgboost", "three"), ROWS, id="xgboost-classifier"),
        LoaderCase("lightgbm", saved("numbers", "lightgbm", "booster"), ROWS, id="lightgbm"),
        LoaderCase("lightgbm", saved("numbers", "lightgbm", "regressor"), ROWS, id="lightgbm-skops"),
        LoaderCase("catboost", saved("numbers", "catboost", "regressor"), ROWS, id="catboost"),
        LoaderCase("statsmodels", saved("numbers", "statsmodels", "ols"), ROWS, id="statsmodels"),
    )


def test_all_loaders_are_checked():
    """A new one joins the list."""
    registered = fleets.plugins().registered["model loader"].items()

    assert {name for name, entry in registered if entry.plugin.name == "builtin"} == {
        case.kind for case in TestBuiltins.cases
    }


@dataclass(frozen=True)
class Group:
    """Sub-models that answer in one shape, in one router that MLflow loaded, and that router's folder."""

    paths: dict[str, str]
    model: Any
    router: Router


@pytest.fixture(scope="module")
def routers(module_store: Store) -> Callable[[str], Group]:
    """The router of a group, built once."""
    built: dict[str, Group] = {}

    def make(name: str) -> Group:
        if name not in built:
            paths = {
                f"{flavor}_{case}": found.save(flavor, module_store.folder)
                for flavor, cases in GROUPED[name].items()
                for case, found in cases.items()
            }
            built[name] = Group(paths, *build(module_store, f"name={name}", flavors.models(paths)))
        return built[name]

    return make


def build(store: Store, *overrides: str) -> tuple[Any, Router]:
    logged = api.build(*ROUTED, *overrides, store.override)
    with fleets.active(store.uri):
        model = flavors.load(logged.model_uri)
    return model, model.unwrap_python_model().router


def ask(model: Any, id_: str) -> np.ndarray[Any, Any]:
    return np.asarray(model.predict(ROWS.assign(key=id_)))


@EVERY
def test_a_sub_model_answers_as_mlflow_has_it(routers, group, flavor, name):
    """Bit for bit what ``mlflow.pyfunc.load_model(...).predict`` answers, through the router that MLflow loads."""
    found = routers(group)
    id_ = f"{flavor}_{name}"
    expected = np.asarray(flavors.load(found.paths[id_]).predict(ROWS))

    np.testing.assert_array_equal(ask(found.model, id_).reshape(expected.shape), expected)


@EVERY
def test_a_bundle_keeps_one_file_and_says_who_takes_arrays(routers, group, flavor, name):
    """Only the model's own file is packed. Those that can are asked with arrays, which answers the same."""
    router = routers(group).router
    record = next(it for it in router.records if it.id == f"{flavor}_{name}")

    assert [ref.path for ref in record.files] == [record.flavor_options.get("data")]
    assert (record.form == "array") is GROUPED[group][flavor][name].arrays


@EVERY
def test_threads_may_ask_one_sub_model_at_once(routers, group, flavor, name):
    """Eight threads get what one thread gets."""
    model, id_ = routers(group).model, f"{flavor}_{name}"
    alone = ask(model, id_)

    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: ask(model, id_), range(24)):
            np.testing.assert_array_equal(answer, alone)


def test_flavors_share_a_batch(routers):
    """Each row is answered by its own sub-model, whichever library that is of."""
    found = routers("numbers")
    ids = sorted(found.paths)
    rows = ROWS.assign(key=[ids[at % len(ids)] for at in range(len(ROWS))])

    answers = np.asarray(found.model.predict(rows))

    for id_ in ids:
        mine = (rows["key"] == id_).to_numpy()
        np.testing.assert_allclose(answers[mine], ask(found.model, id_)[mine], rtol=1e-6)


def test_classes_of_several_flavors_are_aligned(module_store, routers, keep):
    """``output.method=predict_proba`` on classifiers of every library, with two and with three classes."""
    from sklearn.linear_model import LogisticRegression

    paths = dict(routers("labels").paths)
    paths["catboost_three"] = routers("column").paths["catboost_three"]
    paths["sklearn"] = keep(LogisticRegression().fit(ROWS, flavors.THREE), ROWS)
    model, router = build(module_store, "name=proba", flavors.models(paths), "output.method=predict_proba")

    for id_, path in paths.items():
        own = np.asarray(flavors.load(path).get_raw_model().predict_proba(ROWS))
        answer = model.predict(ROWS.assign(key=id_))
        assert list(answer.columns) == ["0", "1", "2"]
        np.testing.assert_array_equal(answer.to_numpy()[:, : own.shape[1]], own)
    assert router.method == "predict_proba"


FILES = ["xgboost_booster", "lightgbm_booster", "lightgbm_regressor", "catboost_json", "statsmodels_ols"]


@pytest.mark.parametrize("id_", FILES)
def test_a_flipped_byte_is_refused_before_the_library_sees_it(routers, tmp_path, id_):
    """Whatever the format, damage is told as such, with the digests."""
    router = routers("numbers").router
    record = next(it for it in router.records if it.id == id_)
    data = bytes(router.bundle.blob(record.files[0].sha256))
    folder = tmp_path / "bundle"
    shutil.copytree(router.bundle.folder, folder)
    pack = folder / "pack.bin"
    raw = bytearray(pack.read_bytes())
    raw[raw.find(data) + len(data) // 2] ^= 1
    pack.write_bytes(raw)

    with pytest.raises(CorruptBundleError, match="its digest does not match"):
        Router.open(folder)


@pytest.mark.parametrize("flavor", ["xgboost", "lightgbm", "catboost", "statsmodels"])
def test_a_library_that_is_not_there_is_named(routers, module_store, monkeypatch, flavor):
    """At load and at build, with the sub-model that needs it and what to do."""
    found = routers("numbers")
    case = next(id_ for id_ in sorted(found.paths) if id_.startswith(flavor))
    # What Python does for a module that is not there.
    monkeypatch.setitem(sys.modules, flavor, None)
    said = f"{case}: it needs {flavor}, which is not installed.\n  Install it: pip install {flavor}"

    with pytest.raises(ProblemsError) as at_build:
        build(module_store, "name=without", flavors.models({case: found.paths[case]}))
    with pytest.raises(ModelError) as at_load:
        Router.open(found.router.bundle.folder)

    assert (str(at_build.value), str(at_load.value)) == (f"models.{said}", said)


def test_a_class_that_a_file_names_is_made_only_if_it_is_the_librarys(routers, module_store, tmp_path):
    """The MLmodel file cannot choose any class of the process."""
    path = copy_with(routers("numbers").paths["xgboost_regressor"], tmp_path, "xgboost", model_class="shutil.Formatter")

    with pytest.raises(MmeframeError, match=r"m: shutil.Formatter is no class of xgboost.\n  Use loader: pyfunc"):
        build(module_store, "name=other", flavors.models({"m": path}))


def copy_with(path: str, folder: Path, flavor: str, **options: Any) -> str:
    """A copy of a model folder whose flavor has other options."""
    target = folder / "model"
    shutil.copytree(path, target)
    described = yaml.safe_load((target / "MLmodel").read_text())
    described["flavors"][flavor].update(options)
    (target / "MLmodel").write_text(yaml.safe_dump(described))
    return str(target)


def test_joblib_files_of_estimators(module_store, keep, tmp_path):
    """Estimators that were dumped with joblib, as many tools do, are read where the flavor says so."""
    estimator = fleets.fitted(1)
    rows = fleets.rows(5)[["x1", "x2"]]
    path = copy_with(keep(estimator, rows), tmp_path, "sklearn", serialization_format="joblib")
    joblib.dump(estimator, Path(path) / "model.pkl", compress=3)

    model, _ = build(module_store, "name=dumped", flavors.models({"m": path}))

    np.testing.assert_array_equal(model.predict(rows.assign(key="m")), estimator.predict(rows))


def test_a_time_series_takes_one_row_as_mlflow_has_it(module_store, tmp_path):
    """Its answer is one number per step from start to end, so a router asks for one step."""
    import mlflow.statsmodels
    from statsmodels.tsa.api import AutoReg

    rows = pd.DataFrame({"start": [62], "end": [62]})
    results = AutoReg(flavors.NUMBER.to_numpy(), lags=2).fit()
    path = str(tmp_path / "series")
    signature = infer_signature(rows, np.array([0.5]))
    mlflow.statsmodels.save_model(
        results, path, signature=signature, pip_requirements=fleets.pins(), input_example=rows
    )
    model, router = build(module_store, "name=series", flavors.models({"m": path}))

    np.testing.assert_array_equal(model.predict(rows.assign(key="m")), flavors.load(path).predict(rows))
    with pytest.raises(BadInputError, match="m: a time series model takes one row, with the columns start and end"):
        router.predict(pd.concat([rows, rows]).assign(key="m"))


@pytest.mark.process
@pytest.mark.parametrize(("kind", "suffix"), [("xgboost", ".ubj"), ("lightgbm", ".txt"), ("catboost", ".cbm")])
def test_what_a_booster_takes_in_memory(tmp_path, kind, suffix):
    """The budget counts what the process grows by, give or take a quarter, though it is outside of Python."""
    command = [sys.executable, "-m", "tests.builtin.booster_memory", kind, str(tmp_path / f"model{suffix}")]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    grown, counted = map(float, done.stdout.split())
    assert 0.75 <= grown / counted <= 1.25
